/* timer_member.c: the members of queues: a key and a name as one text that orders as the two do.
 *
 * NUL ends the key, and stands before FF where it is the key's own: so "a" NUL comes before "a" NUL
 * FF, as a key before a longer one. A name does not begin with FF, so the first NUL without FF is
 * the end. */
#include "rules/timer_queue.h"

void timer_member(struct buf *out, const char *key, size_t key_len, const char *name,
                  size_t name_len)
{
    buf_reserve(out, key_len + 1 + name_len);
    while (key_len > 0) {
        const char *nul = memchr(key, 0, key_len);
        size_t part = nul != NULL ? (size_t)(nul - key) + 1 : key_len;
        buf_append(out, key, part);
        if (nul != NULL)
            buf_append(out, "\xff", 1);
        key += part;
        key_len -= part;
    }
    buf_append(out, "", 1);
    buf_append(out, name, name_len);
}

bool timer_member_key_end(const char *member, size_t len, size_t *end, bool *is_escaped)
{
    const char *from = member, *nul;
    *is_escaped = false;
    for (;;) {
        size_t rest = len - (size_t)(from - member);
        nul = rest > 0 ? memchr(from, 0, rest) : NULL;
        if (nul == NULL)
            return false;
        if (nul + 1 == member + len || (unsigned char)nul[1] != 0xff)
            break;
        *is_escaped = true;
        from = nul + 2;
    }
    *end = (size_t)(nul - member);
    size_t name_len = len - *end - 1;
    return name_len == 0 || memchr(nul + 1, 0, name_len) == NULL;
}

size_t timer_member_unescape(char *into, const char *escaped, size_t len)
{
    size_t made = 0;
    for (size_t i = 0; i < len; i++) {
        into[made++] = escaped[i];
        if (escaped[i] == 0)
            i++; /* its FF */
    }
    return made;
}

bool timer_member_parse(const char *member, size_t len, struct buf *key, const char **name,
                        size_t *name_len)
{
    size_t end;
    bool is_escaped;
    if (!timer_member_key_end(member, len, &end, &is_escaped))
        return false;
    buf_reserve(key, end);
    if (end > 0)
        key->len += timer_member_unescape(key->data + key->len, member, end);
    *name = member + end + 1;
    *name_len = len - end - 1;
    return true;
}
