/* word8.h: eight bytes at once, for loops that look for the first byte of a text that needs care.
 */
#ifndef TIDEMILL_CODEC_WORD8_H
#define TIDEMILL_CODEC_WORD8_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define WORD8_EACH 0x0101010101010101u /* times a byte: that byte eight times */
#define WORD8_HIGH 0x8080808080808080u /* the high bit of each byte */

/* The eight bytes at `p`, which need no alignment. */
static inline uint64_t word8_load(const uint8_t *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

static inline bool word8_is_ascii(uint64_t word)
{
    return (word & WORD8_HIGH) == 0;
}

/* Are all eight bytes ASCII and no control characters (0x20 to 0x7f)? */
static inline bool word8_is_plain(uint64_t word)
{
    return (((word - WORD8_EACH * 0x20) | word) & WORD8_HIGH) == 0;
}

/* Does one of the eight bytes equal `byte` (below 0x80)? */
static inline bool word8_has(uint64_t word, uint8_t byte)
{
    uint64_t zeroed = word ^ (WORD8_EACH * byte);
    return ((zeroed - WORD8_EACH) & ~zeroed & WORD8_HIGH) != 0;
}

#endif
