/* packed.c: see packed.h. Every value begins with a head: its kind, and how much follows. */
#include "replay/packed.h"

#include <string.h>

enum kind { KIND_NONE, KIND_NUMBER, KIND_TEXT, KIND_ARRAY, KIND_MAP, KIND_OTHER };

struct head {
    enum kind kind;
    size_t len;      /* of the head itself */
    uint64_t follow; /* KIND_TEXT, _OTHER: bytes; _ARRAY, _MAP: values */
};

static uint64_t big(const char *bytes, size_t width)
{
    uint64_t number = 0;
    for (size_t i = 0; i < width; i++)
        number = number << 8 | (unsigned char)bytes[i];
    return number;
}

/* Heads with a number behind their first byte: its width, and what follows beyond it. */
static const struct wide {
    uint8_t first, width, kind, extra;
} wide_heads[] = {
    {0xc4, 1, KIND_TEXT, 0},  {0xc5, 2, KIND_TEXT, 0},  {0xc6, 4, KIND_TEXT, 0},
    {0xc7, 1, KIND_OTHER, 1}, {0xc8, 2, KIND_OTHER, 1}, {0xc9, 4, KIND_OTHER, 1},
    {0xd9, 1, KIND_TEXT, 0},  {0xda, 2, KIND_TEXT, 0},  {0xdb, 4, KIND_TEXT, 0},
    {0xdc, 2, KIND_ARRAY, 0}, {0xdd, 4, KIND_ARRAY, 0}, {0xde, 2, KIND_MAP, 0},
    {0xdf, 4, KIND_MAP, 0},
};

/* Heads of a fixed size: so many bytes follow the first one. */
static size_t fixed_bytes(uint8_t first, enum kind *kind)
{
    static const uint8_t numbers[] = {4, 8, 1, 2, 4, 8, 1, 2, 4, 8}; /* 0xca … 0xd3 */
    static const uint8_t exts[] = {2, 3, 5, 9, 17};                  /* 0xd4 … 0xd8 */
    *kind = first >= 0xca && first <= 0xd3 ? KIND_NUMBER : KIND_OTHER;
    if (*kind == KIND_NUMBER)
        return numbers[first - 0xca];
    return first >= 0xd4 && first <= 0xd8 ? exts[first - 0xd4] : 0;
}

static struct head read_head(const char *bytes, size_t len)
{
    struct head none = {.kind = KIND_NONE}, h = {.len = 1};
    if (len == 0)
        return none;
    uint8_t first = (uint8_t)bytes[0];
    if (first < 0x80 || first >= 0xe0) {
        h.kind = KIND_NUMBER;
    } else if (first < 0xa0) {
        h.kind = first < 0x90 ? KIND_MAP : KIND_ARRAY;
        h.follow = (uint64_t)(first & 15) * (first < 0x90 ? 2 : 1);
    } else if (first < 0xc0) {
        h.kind = KIND_TEXT;
        h.follow = first & 31;
    } else {
        for (size_t i = 0; i < sizeof wide_heads / sizeof wide_heads[0]; i++) {
            const struct wide *w = &wide_heads[i];
            if (w->first != first)
                continue;
            if (len < 1 + (size_t)w->width)
                return none;
            h = (struct head){.kind = (enum kind)w->kind,
                              .len = 1 + (size_t)w->width,
                              .follow = big(bytes + 1, w->width) * (w->kind == KIND_MAP ? 2 : 1) +
                                        w->extra};
            return h;
        }
        h.follow = fixed_bytes(first, &h.kind);
        if (h.kind == KIND_NUMBER) {
            h.len += h.follow;
            h.follow = 0;
        }
    }
    return h.len <= len ? h : none;
}

bool span_is(struct span a, struct span b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.bytes, b.bytes, a.len) == 0);
}

bool span_is_text(struct span span, const char *text)
{
    return span_is(span, (struct span){text, strlen(text)});
}

struct span packed_value(const char *bytes, size_t len)
{
    size_t at = 0;
    for (uint64_t missing = 1; missing > 0; missing--) {
        struct head h = read_head(bytes + at, len - at);
        if (h.kind == KIND_NONE)
            return (struct span){0};
        at += h.len;
        if (h.kind == KIND_ARRAY || h.kind == KIND_MAP) {
            if (h.follow > len) /* each takes a byte at least */
                return (struct span){0};
            missing += h.follow;
            continue;
        }
        if (h.follow > len - at)
            return (struct span){0};
        at += h.follow;
    }
    return (struct span){bytes, at};
}

bool packed_is_map(struct span value)
{
    return read_head(value.bytes, value.len).kind == KIND_MAP;
}

/* The next value of an array or map of whole values. */
static struct span next_inside(struct packed_walk *walk, struct span whole)
{
    struct span value = packed_value(whole.bytes + walk->at, whole.len - walk->at);
    walk->at += value.len;
    return value;
}

bool packed_next(struct packed_walk *walk, struct span map, struct span *key, struct span *value)
{
    if (!walk->is_begun) {
        struct head h = read_head(map.bytes, map.len);
        *walk = (struct packed_walk){
            .at = h.len, .left = h.kind == KIND_MAP ? h.follow / 2 : 0, .is_begun = true};
    }
    if (walk->left == 0)
        return false;
    walk->left--;
    *key = next_inside(walk, map);
    *value = next_inside(walk, map);
    return value->len > 0;
}

bool packed_text(struct span value, struct span *text)
{
    struct head h = read_head(value.bytes, value.len);
    if (h.kind != KIND_TEXT)
        return false;
    *text = (struct span){value.bytes + h.len, (size_t)h.follow};
    return true;
}

static bool read_number(struct span value, long double *number)
{
    struct head h = read_head(value.bytes, value.len);
    if (h.kind != KIND_NUMBER)
        return false;
    uint8_t first = (uint8_t)value.bytes[0];
    size_t width = h.len - 1;
    uint64_t bits = big(value.bytes + 1, width);
    if (width == 0) {
        *number = (int8_t)first;
    } else if (first == 0xca) {
        uint32_t half = (uint32_t)bits;
        float small;
        memcpy(&small, &half, sizeof small);
        *number = small;
    } else if (first == 0xcb) {
        double whole;
        memcpy(&whole, &bits, sizeof whole);
        *number = whole;
    } else if (first <= 0xcf) {
        *number = bits;
    } else { /* two's complement of that width */
        unsigned shift = (unsigned)(64 - 8 * width);
        *number = ((int64_t)(bits << shift) >> shift);
    }
    return true;
}

bool packed_number(struct span value, double *number)
{
    long double exact;
    if (!read_number(value, &exact))
        return false;
    *number = (double)exact;
    return true;
}

static bool maps_equal(struct span a, struct span b)
{
    struct packed_walk walk = {0};
    struct span key, value;
    if (read_head(a.bytes, a.len).follow != read_head(b.bytes, b.len).follow)
        return false;
    while (packed_next(&walk, a, &key, &value)) {
        struct packed_walk other_walk = {0};
        struct span other_key, other_value;
        bool is_found = false;
        while (!is_found && packed_next(&other_walk, b, &other_key, &other_value))
            is_found = packed_equal(key, other_key);
        if (!is_found || !packed_equal(value, other_value))
            return false;
    }
    return true;
}

static bool arrays_equal(struct span a, struct span b)
{
    struct head h = read_head(a.bytes, a.len), other = read_head(b.bytes, b.len);
    struct packed_walk walk = {.at = h.len}, other_walk = {.at = other.len};
    if (h.follow != other.follow)
        return false;
    for (uint64_t left = h.follow; left > 0; left--)
        if (!packed_equal(next_inside(&walk, a), next_inside(&other_walk, b)))
            return false;
    return true;
}

/* Do they have the same value? A long double holds all integers of 64 bits, and a double does not.
 */
static bool numbers_equal(struct span a, struct span b)
{
    long double x = 0, y = 0;
    return read_number(a, &x) && read_number(b, &y) && x == y;
}

/* As deep as the packer of the rules goes (limits of it): a few hundred calls at most. */
bool packed_equal(struct span a, struct span b)
{
    struct span text, other_text;
    if (span_is(a, b))
        return true;
    enum kind kind = read_head(a.bytes, a.len).kind;
    if (kind == KIND_NONE || kind != read_head(b.bytes, b.len).kind)
        return false;
    switch (kind) {
    case KIND_NUMBER:
        return numbers_equal(a, b);
    case KIND_TEXT:
        return packed_text(a, &text) && packed_text(b, &other_text) && span_is(text, other_text);
    case KIND_ARRAY:
        return arrays_equal(a, b);
    case KIND_MAP:
        return maps_equal(a, b);
    default:
        return false;
    }
}
