/* pack.c: the two leaves of packing that branch on values: a number, a string. Called by pack.lua
 * through FFI.
 *
 * Why not in Lua: every branch on a value is a trace of its own there, and the paths through an
 * event multiply (measured: 548 traces for six fields, and past LuaJIT's 100 side traces a loop
 * falls back to the interpreter). Here it is one call. */
#include "rules/kernel_calls.h"

#include <string.h>

static uint32_t put_big_endian(uint8_t *at, uint8_t head, uint64_t value, unsigned width)
{
    at[0] = head;
    for (unsigned i = 0; i < width; i++)
        at[1 + i] = (uint8_t)(value >> 8 * (width - 1 - i));
    return 1 + width;
}

/* Whole numbers up to 2^53 in their shortest form, all others as a double. Returns the bytes
 * written, at most 9. */
uint32_t pack_number(uint8_t *at, double number)
{
    if (number >= -9007199254740992.0 && number <= 9007199254740992.0) {
        int64_t whole = (int64_t)number;
        if ((double)whole == number) {
            if (whole >= 0) {
                if (whole < 128)
                    return at[0] = (uint8_t)whole, 1;
                if (whole < 256)
                    return put_big_endian(at, 0xcc, (uint64_t)whole, 1);
                if (whole < 65536)
                    return put_big_endian(at, 0xcd, (uint64_t)whole, 2);
                if (whole <= UINT32_MAX)
                    return put_big_endian(at, 0xce, (uint64_t)whole, 4);
                return put_big_endian(at, 0xcf, (uint64_t)whole, 8);
            }
            if (whole >= -32)
                return at[0] = (uint8_t)whole, 1;
            return put_big_endian(at, 0xd3, (uint64_t)whole, 8);
        }
    }
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    at[0] = 0xcb;
    bits = __builtin_bswap64(bits);
    memcpy(at + 1, &bits, sizeof bits);
    return 9;
}

/* Returns the bytes written: len and a head of at most 5. */
uint32_t pack_string(uint8_t *at, const char *text, uint32_t len)
{
    uint32_t head = 1;
    if (len < 32)
        at[0] = (uint8_t)(0xa0 + len);
    else if (len < 256)
        head = put_big_endian(at, 0xd9, len, 1);
    else if (len < 65536)
        head = put_big_endian(at, 0xda, len, 2);
    else
        head = put_big_endian(at, 0xdb, len, 4);
    memcpy(at + head, text, len);
    return head + len;
}
