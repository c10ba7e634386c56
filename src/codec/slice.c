/* slice.c: see slice.h. Nested values are counted, not entered: no depth costs any stack. */
#include "codec/slice.h"

#include <string.h>

/* What the head of a value says. */
struct head {
    size_t len;      /* of head and body; of arrays and maps of the head alone */
    uint64_t inside; /* values that follow: of an array or map */
    size_t body;     /* where the bytes of a string begin; 0: it is none */
};

static uint64_t big_endian(const uint8_t *p, size_t len)
{
    uint64_t number = 0;
    for (size_t i = 0; i < len; i++)
        number = number << 8 | p[i];
    return number;
}

/* Heads 0xc0 to 0xdf: how many bytes of length or value stand behind the first one. */
static const uint8_t behind[32] = {
    [0x04] = 1, [0x05] = 2, [0x06] = 4,                          /* bin */
    [0x07] = 1, [0x08] = 2, [0x09] = 4,                          /* ext */
    [0x0a] = 4, [0x0b] = 8,                                      /* float */
    [0x0c] = 1, [0x0d] = 2, [0x0e] = 4, [0x0f] = 8,              /* uint */
    [0x10] = 1, [0x11] = 2, [0x12] = 4, [0x13] = 8,              /* int */
    [0x14] = 2, [0x15] = 3, [0x16] = 5, [0x17] = 9, [0x18] = 17, /* fixext, type included */
    [0x19] = 1, [0x1a] = 2, [0x1b] = 4,                          /* str */
    [0x1c] = 2, [0x1d] = 4,                                      /* array */
    [0x1e] = 2, [0x1f] = 4,                                      /* map */
};

/* False: the bytes end before. */
static bool read_head(struct slice s, struct head *h)
{
    const uint8_t *p = (const uint8_t *)s.bytes;
    if (s.len == 0)
        return false;
    *h = (struct head){.len = 1};
    if (p[0] >= 0x80 && p[0] <= 0x8f) {
        h->inside = 2u * (p[0] & 0x0f);
    } else if (p[0] >= 0x90 && p[0] <= 0x9f) {
        h->inside = p[0] & 0x0f;
    } else if (p[0] >= 0xa0 && p[0] <= 0xbf) {
        h->body = 1;
        h->len = 1u + (p[0] & 0x1f);
    } else if (p[0] >= 0xc0 && p[0] <= 0xdf) {
        size_t more = behind[p[0] - 0xc0];
        h->len = 1 + more;
        if (s.len < h->len)
            return false;
        uint64_t number = big_endian(p + 1, more <= 8 ? more : 0);
        bool is_text = (p[0] >= 0xc4 && p[0] <= 0xc6) || (p[0] >= 0xd9 && p[0] <= 0xdb);
        if (is_text || (p[0] >= 0xc7 && p[0] <= 0xc9)) {
            h->body = is_text ? h->len : 0;
            h->len += number + !is_text; /* an ext has its type in front */
        } else if (p[0] >= 0xdc) {
            h->inside = p[0] >= 0xde ? 2 * number : number;
        }
    }
    return s.len >= h->len;
}

bool slice_next(struct slice *rest, struct slice *value)
{
    struct slice at = *rest;
    struct head h;
    for (uint64_t left = 1; left > 0; left--) {
        if (!read_head(at, &h))
            return false;
        at.bytes += h.len;
        at.len -= h.len;
        left += h.inside;
    }
    *value = (struct slice){rest->bytes, rest->len - at.len};
    *rest = at;
    return true;
}

/* Maps have an even number of values inside. */
static bool open(struct slice s, bool is_map, struct slice *items, uint32_t *count)
{
    struct head h;
    uint8_t first = s.len > 0 ? (uint8_t)s.bytes[0] : 0;
    bool maps = (first >= 0x80 && first <= 0x8f) || first == 0xde || first == 0xdf;
    bool arrays = (first >= 0x90 && first <= 0x9f) || first == 0xdc || first == 0xdd;
    if (!(is_map ? maps : arrays) || !read_head(s, &h))
        return false;
    *items = (struct slice){s.bytes + h.len, s.len - h.len};
    *count = (uint32_t)(is_map ? h.inside / 2 : h.inside);
    return true;
}

bool slice_open_map(struct slice map, struct slice *items, uint32_t *count)
{
    return open(map, true, items, count);
}

bool slice_open_array(struct slice array, struct slice *items, uint32_t *count)
{
    return open(array, false, items, count);
}

struct slice slice_text(struct slice value)
{
    struct head h;
    if (!read_head(value, &h) || h.body == 0)
        return (struct slice){0};
    return (struct slice){value.bytes + h.body, h.len - h.body};
}

struct slice slice_find(struct slice map, const char *name)
{
    struct slice items, key, value;
    uint32_t count;
    size_t len = strlen(name);
    if (!slice_open_map(map, &items, &count))
        return (struct slice){0};
    while (count-- > 0 && slice_next(&items, &key) && slice_next(&items, &value)) {
        struct slice text = slice_text(key);
        if (text.len == len && memcmp(text.bytes, name, len) == 0)
            return value;
    }
    return (struct slice){0};
}

double slice_number(struct slice value, double otherwise)
{
    const uint8_t *p = (const uint8_t *)value.bytes;
    struct head h;
    if (!read_head(value, &h))
        return otherwise;
    if (p[0] < 0x80)
        return p[0];
    if (p[0] >= 0xcc && p[0] <= 0xcf)
        return (double)big_endian(p + 1, h.len - 1);
    if (p[0] == 0xcb) {
        uint64_t bits = big_endian(p + 1, 8);
        double number;
        memcpy(&number, &bits, sizeof number);
        return number >= 0 ? number : otherwise;
    }
    bool is_signed = p[0] >= 0xd0 && p[0] <= 0xd3;
    return is_signed && p[1] < 0x80 ? (double)big_endian(p + 1, h.len - 1) : otherwise;
}

bool slice_is_same(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.bytes, b.bytes, a.len) == 0);
}

bool slice_is_nil(struct slice value)
{
    return value.len == 0 || (value.len == 1 && (uint8_t)value.bytes[0] == 0xc0);
}
