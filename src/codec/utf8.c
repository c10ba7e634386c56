/* utf8.c: see utf8.h. Text is mostly ASCII, so eight bytes are asked at once; the rest goes character by character. */
#include "codec/utf8.h"

static bool is_tail(uint8_t byte)
{
    return (byte & 0xc0) == 0x80;
}

/* The least and the greatest second byte that may follow `first`: what rules out overlong forms, surrogates and values
 * beyond U+10FFFF. */
static bool may_follow(uint8_t first, uint8_t second)
{
    switch (first) {
    case 0xe0: return second >= 0xa0 && second <= 0xbf;
    case 0xed: return second >= 0x80 && second <= 0x9f;
    case 0xf0: return second >= 0x90 && second <= 0xbf;
    case 0xf4: return second >= 0x80 && second <= 0x8f;
    default: return is_tail(second);
    }
}

unsigned utf8_char_len(const uint8_t *p, const uint8_t *end)
{
    if (*p < 0x80)
        return 1;
    if (*p < 0xc2 || *p > 0xf4)
        return 0;
    unsigned len = *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : 4;
    if ((size_t)(end - p) < len || !may_follow(p[0], p[1]))
        return 0;
    for (unsigned i = 2; i < len; i++) {
        if (!is_tail(p[i]))
            return 0;
    }
    return len;
}

size_t utf8_valid_len(const void *bytes, size_t len)
{
    if (len == 0)
        return 0;
    const uint8_t *start = bytes, *p = start, *end = start + len;
    while (p < end) {
        while (end - p >= 8 && (utf8_word(p) & UTF8_HIGH) == 0)
            p += 8;
        if (p == end)
            break;
        unsigned char_len = utf8_char_len(p, end);
        if (char_len == 0)
            break;
        p += char_len;
    }
    return (size_t)(p - start);
}
