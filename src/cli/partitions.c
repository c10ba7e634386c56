/* partitions.c: see partitions.h. */
#include "cli/partitions.h"

#include "base/escape.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void add(struct partitions *p, const char *tag, size_t tag_len, const char *group)
{
    struct keys *list = realloc(p->list, (p->count + 1) * sizeof *list);
    if (list == NULL)
        abort();
    p->list = list;
    keys_init(&p->list[p->count++], tag, tag_len, group);
}

/* SCAN may give a key twice. */
static bool is_known(const struct partitions *p, const char *tag, size_t tag_len)
{
    for (size_t i = 0; i < p->count; i++) {
        const struct buf *known = &p->list[i].tag;
        if (known->len == tag_len && (tag_len == 0 || memcmp(known->data, tag, tag_len) == 0))
            return true;
    }
    return false;
}

static void add_found(struct partitions *p, const struct reply *keys, const char *group)
{
    const char *tag;
    size_t tag_len;
    for (uint32_t i = 0; i < keys->count; i++) {
        const struct reply *key = keys->elements[i];
        if (keys_is_ctl(key->text, key->len, group, &tag, &tag_len) && !is_known(p, tag, tag_len))
            add(p, tag, tag_len, group);
    }
}

static int scan(struct client *client, const char *group, struct partitions *p, struct error *error)
{
    struct buf pattern = {0};
    char cursor[32] = "0";
    int code;
    keys_append_ctl_pattern(&pattern, group);
    do {
        const struct reply *reply;
        code = client_call(client, &reply, error, "SCAN", cursor, "MATCH", buf_text(&pattern),
                           "COUNT", "5000", NULL);
        if (code != 0)
            break;
        if (reply->type != REPLY_ARRAY) {
            code = error_set(
                error, ERROR_REPLY,
                "cannot look for the partitions of %s (give one with --tag): Redis says %s", group,
                reply->type == REPLY_ERROR ? reply->text : "something unexpected");
            break;
        }
        snprintf(cursor, sizeof cursor, "%s", reply->elements[0]->text);
        add_found(p, reply->elements[1], group);
    } while (strcmp(cursor, "0") != 0);
    buf_fini(&pattern);
    return code;
}

/* By tag, so that tables and refusals do not depend on the order of SCAN; untagged first. */
static int compare(const void *a, const void *b)
{
    const struct buf *x = &((const struct keys *)a)->tag, *y = &((const struct keys *)b)->tag;
    size_t common = x->len < y->len ? x->len : y->len;
    int order = common == 0 ? 0 : memcmp(x->data, y->data, common);
    return order != 0 ? order : (x->len > y->len) - (x->len < y->len);
}

static int confirm(struct client *client, const char *group, const struct keys *keys,
                   struct error *error)
{
    const struct reply *reply;
    const char *argv[] = {"EXISTS", keys->ctl.data};
    size_t lens[] = {6, keys->ctl.len};
    int code = client_call_argv(client, 2, argv, lens, &reply, error);
    if (code != 0)
        return code;
    if (reply->type == REPLY_ERROR)
        return error_set(error, ERROR_REPLY, "cannot look for %s: Redis says %s", keys->ctl.data,
                         reply->text);
    if (reply_number(reply, 0) == 0)
        return error_set(error, ERROR_REPLY, "group %s has no partition %s on this Redis", group,
                         partitions_name(keys));
    return 0;
}

int partitions_find(struct client *client, const struct config *config, struct partitions *out,
                    struct error *error)
{
    struct partitions found = {0};
    int code;
    if (config->tag != NULL) {
        bool is_untagged = config->tag[0] == '\0';
        add(&found, is_untagged ? NULL : config->tag, strlen(config->tag), config->group);
        code = confirm(client, config->group, &found.list[0], error);
    } else {
        code = scan(client, config->group, &found, error);
        if (code == 0 && found.count == 0)
            code = error_set(error, ERROR_REPLY,
                             "nothing was ever run as group %s on this Redis; see --group, --redis "
                             "and the number of the db",
                             config->group);
    }
    if (code != 0) {
        partitions_fini(&found);
        return code;
    }
    qsort(found.list, found.count, sizeof found.list[0], compare);
    *out = found;
    return 0;
}

void partitions_fini(struct partitions *p)
{
    for (size_t i = 0; i < p->count; i++)
        keys_fini(&p->list[i]);
    free(p->list);
    *p = (struct partitions){0};
}

const char *partitions_name(const struct keys *keys)
{
    static char name[128];
    struct buf shown = {0};
    if (keys->tag.len == 0)
        return "untagged";
    escape_text(&shown, keys->tag.data, keys->tag.len);
    snprintf(name, sizeof name, "{%s}", buf_text(&shown));
    buf_fini(&shown);
    return name;
}
