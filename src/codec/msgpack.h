/* msgpack.h: msgpack bytes as a flat list of tokens, the form in which the kernel builds Lua values
 * from them.
 *
 * A token is a value or the head of an array or map; the tokens of its elements follow it, so that
 * a document is read from left to right without a stack. Why not msgpack-c's object tree: one
 * allocation and one pointer walk a value more, 120 ns an event against 45. Packing in C (letters,
 * JSON) is done with msgpack-c's packer. */
#ifndef TIDEMILL_CODEC_MSGPACK_H
#define TIDEMILL_CODEC_MSGPACK_H

#include "base/buf.h"
#include "base/error.h"

#include <stdbool.h>

enum token_type {
    TOKEN_NIL = 'z',
    TOKEN_TRUE = 't',
    TOKEN_FALSE = 'f',
    TOKEN_NUMBER =
        'n', /* in `number`: a double (any nan is the plain one), or an integer of at most 2^53 */
    TOKEN_INT64 = 'i',  /* in `i64`: an integer beyond 2^53 */
    TOKEN_UINT64 = 'u', /* in `u64`: an integer beyond 2^63 - 1 */
    TOKEN_STRING = 's', /* str or bin: bytes, len */
    TOKEN_EXT = 'x',    /* bytes, len, ext_type (timestamps too: type -1) */
    TOKEN_ARRAY = 'a',  /* len elements follow */
    TOKEN_MAP = 'm',    /* len pairs follow: key, value */
};

struct token {
    union {
        double number;
        int64_t i64;
        uint64_t u64;
        const char *bytes; /* inside the input */
    };
    uint32_t len;
    uint32_t size; /* tokens of this value, itself included: the next sibling is `size` further */
    uint8_t type;  /* enum token_type */
    int8_t ext_type;
};

struct msgpack_limits {
    uint32_t depth;    /* nested arrays and maps; a scalar is 0, [] is 1 */
    uint32_t elements; /* tokens in all */
};

struct tokens {
    struct token *list;
    uint32_t count, cap;
};

/* Reads exactly one value. Results replace what `tokens` held. Errors: ERROR_FORMAT ("at byte 12:
 * string of 40 bytes, 7 are left"), ERROR_LIMIT ("at byte 12: nested deeper than 32"). Never reads
 * beyond len, never recurses. */
int msgpack_tokens(const void *bytes, size_t len, const struct msgpack_limits *limits,
                   struct tokens *tokens, struct error *error);
void tokens_fini(struct tokens *tokens);

#endif
