/* keys.c: see keys.h. The tag stands in braces in the key, so that all keys of a partition and its
 * streams share a slot of Redis Cluster. */
#include "stream/keys.h"

#include <string.h>

static const char ours[] = "tidemill:";
enum { OURS_LEN = sizeof ours - 1 };

static void name_key(struct buf *key, const struct buf *prefix, const char *name)
{
    buf_append(key, prefix->data, prefix->len);
    buf_append_text(key, name);
    buf_text(key);
}

void keys_init(struct keys *k, const void *tag, size_t tag_len, const char *group)
{
    *k = (struct keys){0};
    buf_append_text(&k->prefix, ours);
    if (tag != NULL) {
        buf_append(&k->tag, tag, tag_len);
        buf_append(&k->prefix, "{", 1);
        buf_append(&k->prefix, tag, tag_len);
        buf_append(&k->prefix, "}:", 2);
    }
    buf_printf(&k->prefix, "%s:", group);
    buf_text(&k->tag);
    buf_text(&k->prefix);
    name_key(&k->ctl, &k->prefix, "ctl");
    name_key(&k->lease, &k->prefix, "lease");
    name_key(&k->dlq, &k->prefix, "dlq");
    name_key(&k->inbox, &k->prefix, "inbox");
    name_key(&k->decisions, &k->prefix, "decisions");
}

void keys_fini(struct keys *k)
{
    buf_fini(&k->tag);
    buf_fini(&k->prefix);
    buf_fini(&k->ctl);
    buf_fini(&k->lease);
    buf_fini(&k->dlq);
    buf_fini(&k->inbox);
    buf_fini(&k->decisions);
}

void keys_state(const struct keys *k, const char *rule, struct buf *out)
{
    out->len = 0;
    buf_append(out, k->prefix.data, k->prefix.len);
    buf_append_text(out, "state:");
    buf_append_text(out, rule);
    buf_text(out);
}

void keys_append_ctl_pattern(struct buf *out, const char *group)
{
    buf_printf(
        out, "%s*%s:ctl", ours,
        group); /* a group's name holds nothing that a glob would take for more than itself */
}

void keys_tag_of(const char *name, size_t len, bool untagged_alone, const char **tag,
                 size_t *tag_len)
{
    const char *open = memchr(name, '{', len);
    const char *close = open != NULL ? memchr(open, '}', len - (size_t)(open - name)) : NULL;
    if (close != NULL && close > open + 1) {
        *tag = open + 1;
        *tag_len = (size_t)(close - open - 1);
        return;
    }
    *tag = name;
    *tag_len = untagged_alone ? len : 0;
}

bool keys_is_ours(const void *key, size_t len)
{
    return len >= OURS_LEN && memcmp(key, ours, OURS_LEN) == 0;
}

bool keys_is_ctl(const void *key, size_t len, const char *group, const char **tag, size_t *tag_len)
{
    const char *middle = (const char *)key + OURS_LEN;
    size_t group_len = strlen(group), tail_len = group_len + sizeof ":ctl" - 1;
    if (!keys_is_ours(key, len) || len < OURS_LEN + tail_len)
        return false;
    const char *tail = (const char *)key + len - tail_len;
    size_t middle_len = (size_t)(tail - middle);
    if (memcmp(tail, group, group_len) != 0 || memcmp(tail + group_len, ":ctl", 4) != 0)
        return false;
    if (middle_len == 0) {
        *tag = NULL;
        *tag_len = 0;
        return true;
    }
    if (middle_len < 4 || middle[0] != '{' || memcmp(tail - 2, "}:", 2) != 0)
        return false;
    *tag = middle + 1;
    *tag_len = middle_len - 3;
    return true;
}
