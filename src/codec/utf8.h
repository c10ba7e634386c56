/* utf8.h: which bytes are UTF-8 text. Strict, as in RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef TIDEMILL_CODEC_UTF8_H
#define TIDEMILL_CODEC_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The bytes of the one character that begins at `p`, 1 to 4; 0 when no valid one begins there. `p` is before `end`. */
unsigned utf8_char_len(const uint8_t *p, const uint8_t *end);

/* How many bytes from the start are whole valid characters: `len` when all are. */
size_t utf8_valid_len(const void *bytes, size_t len);

/* Eight bytes at once, for loops that look for the first byte that needs care. */
#define UTF8_EACH 0x0101010101010101u
#define UTF8_HIGH 0x8080808080808080u

static inline uint64_t utf8_word(const uint8_t *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

/* Does one of the eight bytes equal `byte` (below 0x80)? */
static inline bool utf8_word_has(uint64_t word, uint8_t byte)
{
    uint64_t zeroed = word ^ (UTF8_EACH * byte);
    return ((zeroed - UTF8_EACH) & ~zeroed & UTF8_HIGH) != 0;
}

/* Is one of the eight bytes no printable ASCII: below 0x20, or 0x80 and above? */
static inline bool utf8_word_is_odd(uint64_t word)
{
    return (((word - UTF8_EACH * 0x20) | word) & UTF8_HIGH) != 0;
}

#endif
