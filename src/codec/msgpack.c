/* msgpack.c: see msgpack.h. One loop, one pass, a token a turn; what the bytes claim is believed
 * only after a check.
 *
 * There is no stack of open containers: an open container keeps its place in the token itself.
 * `size` is free until the container closes, so it holds the index of the parent; the union is free
 * for good, so it holds how many elements the parent still misses. Hence nesting costs no memory
 * beyond the tokens, however deep the limit allows it.
 *
 * (1) `claimed` counts the tokens that the document has at least: those read and those that
 *     headers promised. The list has room for as many and the limit on elements allows as many:
 *     checked where a header claims, never for one element.
 * (2) What is claimed and not yet read needs a byte each, so a lie of four billion fails at its
 *     header.
 */
#include "codec/msgpack.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

enum { TOKENS_FIRST = 64 };

#define NO_PARENT UINT32_MAX
#define EXACT_MAX ((uint64_t)1 << 53) /* integers up to here are exact in a double */

/* Where the reading is. Errors look at `at`, the first byte of the value being read. What reads a
 * value returns the byte behind it, or NULL and leaves the code in `failed`: a pointer in a
 * register, where an out-parameter costs memory. */
struct scan {
    const uint8_t *start, *at, *end;
    struct token *list; /* of the tokens being filled */
    uint64_t claimed;   /* (1) */
    uint64_t missing;   /* elements due in the innermost open container; scan_value counts a copy */
    uint32_t parent;    /* the innermost open container */
    uint32_t depth;     /* open containers */
    int failed;
    struct error *error;
};

static uint16_t big_u16(const uint8_t *p)
{
    uint16_t n;
    memcpy(&n, p, sizeof n);
    return __builtin_bswap16(n);
}

static uint32_t big_u32(const uint8_t *p)
{
    uint32_t n;
    memcpy(&n, p, sizeof n);
    return __builtin_bswap32(n);
}

static uint64_t big_u64(const uint8_t *p)
{
    uint64_t n;
    memcpy(&n, p, sizeof n);
    return __builtin_bswap64(n);
}

static size_t scan_position(const struct scan *s)
{
    return (size_t)(s->at - s->start);
}

/* Room for `count` tokens. Doubles, so that who keeps a list soon never grows it again. */
static void tokens_reserve(struct tokens *tokens, uint64_t count)
{
    if (count <= tokens->cap)
        return;
    assert(count <= UINT32_MAX);
    uint64_t cap = tokens->cap > TOKENS_FIRST ? tokens->cap : TOKENS_FIRST;
    while (cap < count)
        cap *= 2;
    if (cap > UINT32_MAX)
        cap = UINT32_MAX;
    struct token *list = realloc(tokens->list, cap * sizeof *list);
    if (list == NULL)
        abort();
    tokens->list = list;
    tokens->cap = (uint32_t)cap;
}

static void token_number(struct token *t, double number)
{
    t->number = number;
    t->size = 1;
    t->type = TOKEN_NUMBER;
}

static void token_unsigned(struct token *t, uint64_t n)
{
    if (n <= EXACT_MAX) {
        token_number(t, (double)n);
        return;
    }
    t->u64 = n;
    t->size = 1;
    t->type = n > INT64_MAX ? TOKEN_UINT64 : TOKEN_INT64;
}

static void token_signed(struct token *t, int64_t n)
{
    if (n <= (int64_t)EXACT_MAX && n >= -(int64_t)EXACT_MAX) {
        token_number(t, (double)n);
        return;
    }
    t->i64 = n;
    t->size = 1;
    t->type = TOKEN_INT64;
}

static void token_bytes(struct token *t, const uint8_t *p, uint32_t len)
{
    t->bytes = (const char *)p;
    t->len = len;
    t->size = 1;
    t->type = TOKEN_STRING;
}

static void token_plain(struct token *t, enum token_type type)
{
    t->u64 = 0;
    t->size = 1;
    t->type = (uint8_t)type;
}

/* The header forms from 0xc0 to 0xdf: how many bytes follow the first one before content or
 * elements begin, and the word that errors use. For str, bin and ext the bytes are a length (for
 * ext then a type); fixext has the type alone. */
static const struct form {
    uint8_t head_bytes;
    const char *word;
} forms[32] = {
    [0x00] = {0, "nil"},      [0x01] = {0, "0xc1"},    [0x02] = {0, "false"},
    [0x03] = {0, "true"},     [0x04] = {1, "bin8"},    [0x05] = {2, "bin16"},
    [0x06] = {4, "bin32"},    [0x07] = {2, "ext8"},    [0x08] = {3, "ext16"},
    [0x09] = {5, "ext32"},    [0x0a] = {4, "float32"}, [0x0b] = {8, "float64"},
    [0x0c] = {1, "uint8"},    [0x0d] = {2, "uint16"},  [0x0e] = {4, "uint32"},
    [0x0f] = {8, "uint64"},   [0x10] = {1, "int8"},    [0x11] = {2, "int16"},
    [0x12] = {4, "int32"},    [0x13] = {8, "int64"},   [0x14] = {1, "fixext1"},
    [0x15] = {1, "fixext2"},  [0x16] = {1, "fixext4"}, [0x17] = {1, "fixext8"},
    [0x18] = {1, "fixext16"}, [0x19] = {1, "str8"},    [0x1a] = {2, "str16"},
    [0x1b] = {4, "str32"},    [0x1c] = {2, "array16"}, [0x1d] = {4, "array32"},
    [0x1e] = {2, "map16"},    [0x1f] = {4, "map32"},
};

#define COLD __attribute__((cold, noinline))

/* "at byte 12: string of 40 bytes, 7 are left" */
static COLD const uint8_t *fail_short(struct scan *s, const char *what, uint64_t len,
                                      const char *unit, size_t left)
{
    s->failed = error_set(s->error, ERROR_FORMAT,
                          "at byte %zu: %s of %" PRIu64 " %s%s, %zu %s left", scan_position(s),
                          what, len, unit, len == 1 ? "" : "s", left, left == 1 ? "is" : "are");
    return NULL;
}

static COLD const uint8_t *fail_form(struct scan *s)
{
    s->failed = error_set(s->error, ERROR_FORMAT, "at byte %zu: 0xc1 begins no msgpack value",
                          scan_position(s));
    return NULL;
}

static COLD const uint8_t *fail_depth(struct scan *s, uint32_t depth)
{
    s->failed = error_set(s->error, ERROR_LIMIT, "at byte %zu: nested deeper than %" PRIu32,
                          scan_position(s), depth);
    return NULL;
}

static COLD const uint8_t *fail_elements(struct scan *s, uint32_t elements)
{
    s->failed = error_set(s->error, ERROR_LIMIT, "at byte %zu: more than %" PRIu32 " element%s",
                          scan_position(s), elements, elements == 1 ? "" : "s");
    return NULL;
}

static COLD int fail_no_value(const struct scan *s)
{
    return error_set(s->error, ERROR_FORMAT, "at byte %zu: the bytes end where a value is due",
                     scan_position(s));
}

static COLD int fail_trailing(const struct scan *s, const uint8_t *p)
{
    size_t left = (size_t)(s->end - p);
    return error_set(s->error, ERROR_FORMAT, "at byte %zu: %zu byte%s behind the value",
                     (size_t)(p - s->start), left, left == 1 ? "" : "s");
}

/* str, bin: `len` bytes of content at `p`. */
static inline const uint8_t *read_string(struct scan *s, struct token *t, const uint8_t *p,
                                         uint32_t len)
{
    if ((size_t)(s->end - p) < len)
        return fail_short(s, "string", len, "byte", (size_t)(s->end - p));
    token_bytes(t, p, len);
    return p + len;
}

/* An extension: content at `p`, its type in the byte before. */
static const uint8_t *read_ext(struct scan *s, struct token *t, const uint8_t *p, uint32_t len)
{
    if ((size_t)(s->end - p) < len)
        return fail_short(s, "ext", len, "byte", (size_t)(s->end - p));
    token_bytes(t, p, len);
    t->type = TOKEN_EXT;
    t->ext_type = (int8_t)p[-1];
    return p + len;
}

/* Why every nan becomes the plain one: LuaJIT keeps types and pointers in the other bits of a nan,
 * and its FFI does not look when it loads a double. A nan with chosen bits would be a forged Lua
 * object. */
static void token_float(struct token *t, double number)
{
    token_number(t, number == number ? number : __builtin_nan(""));
}

static void token_float32(struct token *t, const uint8_t *p)
{
    uint32_t bits = big_u32(p);
    float number;
    memcpy(&number, &bits, sizeof number);
    token_float(t, (double)number);
}

static void token_float64(struct token *t, const uint8_t *p)
{
    uint64_t bits = big_u64(p);
    double number;
    memcpy(&number, &bits, sizeof number);
    token_float(t, number);
}

/* The value whose first byte, at `s->at`, is 0xc0 to 0xdb: the forms there without elements. */
static const uint8_t *read_scalar(struct scan *s, struct token *t)
{
    const struct form *form = &forms[*s->at - 0xc0];
    const uint8_t *head = s->at + 1;
    if ((size_t)(s->end - head) < form->head_bytes)
        return fail_short(s, form->word, form->head_bytes + 1u, "byte", (size_t)(s->end - s->at));
    const uint8_t *content = head + form->head_bytes;

    switch (*s->at) {
    case 0xc0:
        token_plain(t, TOKEN_NIL);
        break;
    case 0xc2:
        token_plain(t, TOKEN_FALSE);
        break;
    case 0xc3:
        token_plain(t, TOKEN_TRUE);
        break;
    case 0xca:
        token_float32(t, head);
        break;
    case 0xcb:
        token_float64(t, head);
        break;
    case 0xcc:
        token_number(t, head[0]);
        break;
    case 0xcd:
        token_number(t, big_u16(head));
        break;
    case 0xce:
        token_number(t, big_u32(head));
        break;
    case 0xcf:
        token_unsigned(t, big_u64(head));
        break;
    case 0xd0:
        token_number(t, (int8_t)head[0]);
        break;
    case 0xd1:
        token_number(t, (int16_t)big_u16(head));
        break;
    case 0xd2:
        token_number(t, (int32_t)big_u32(head));
        break;
    case 0xd3:
        token_signed(t, (int64_t)big_u64(head));
        break;
    case 0xc4:
    case 0xd9:
        return read_string(s, t, content, head[0]);
    case 0xc5:
    case 0xda:
        return read_string(s, t, content, big_u16(head));
    case 0xc6:
    case 0xdb:
        return read_string(s, t, content, big_u32(head));
    case 0xc7:
        return read_ext(s, t, content, head[0]);
    case 0xc8:
        return read_ext(s, t, content, big_u16(head));
    case 0xc9:
        return read_ext(s, t, content, big_u32(head));
    case 0xd4:
    case 0xd5:
    case 0xd6:
    case 0xd7:
    case 0xd8:
        return read_ext(s, t, content, 1u << (*s->at - 0xd4));
    default:
        return fail_form(s);
    }
    return content;
}

/* How many elements or pairs the array or map at `s->at` claims. Returns where the first of them
 * would begin. */
static inline const uint8_t *read_claim(struct scan *s, uint32_t *len)
{
    uint8_t first = *s->at;
    const uint8_t *head = s->at + 1;
    if (first < 0xa0) {
        *len = first & 0x0f;
        return head;
    }
    const struct form *form = &forms[first - 0xc0];
    if ((size_t)(s->end - head) < form->head_bytes)
        return fail_short(s, form->word, form->head_bytes + 1u, "byte", (size_t)(s->end - s->at));
    *len = form->head_bytes == 2 ? big_u16(head) : big_u32(head);
    return head + form->head_bytes;
}

/* The array or map at `s->at` becomes token `index` and the innermost open container, unless its
 * claim is too much. */
static const uint8_t *open_container(struct scan *s, const struct msgpack_limits *limits,
                                     struct tokens *tokens, uint32_t index)
{
    bool is_map = *s->at < 0x90 || *s->at >= 0xde;
    uint32_t len = 0;
    const uint8_t *p = read_claim(s, &len);
    if (p == NULL)
        return NULL;
    uint64_t elements = is_map ? (uint64_t)len * 2 : len;
    uint64_t claimed = s->claimed + elements;
    size_t left = (size_t)(s->end - p);
    if (s->depth == limits->depth)
        return fail_depth(s, limits->depth);
    if (claimed - index - 1 > left) /* (2) */
        return fail_short(s, is_map ? "map" : "array", len, is_map ? "pair" : "element", left);
    if (claimed > limits->elements)
        return fail_elements(s, limits->elements);
    tokens_reserve(tokens, claimed); /* (1) */
    s->list = tokens->list;
    s->claimed = claimed;

    struct token *t = &s->list[index];
    t->type = is_map ? TOKEN_MAP : TOKEN_ARRAY;
    t->len = len;
    t->size = s->parent;
    t->u64 = s->missing;
    s->parent = index;
    s->missing = elements;
    s->depth++;
    return p;
}

/* Closes every container that is complete when `count` tokens are there. */
static void close_containers(struct scan *s, uint32_t count)
{
    while (s->missing == 0 && s->parent != NO_PARENT) {
        struct token *t = &s->list[s->parent];
        uint32_t grandparent = t->size;
        s->missing = t->u64;
        t->size = count - s->parent;
        s->parent = grandparent;
        s->depth--;
    }
}

/* The forms are asked for in the order in which events use them: keys and small texts, small
 * numbers, the rest. */
static int scan_value(struct scan *s, const struct msgpack_limits *limits, struct tokens *tokens)
{
    const uint8_t *p = s->start;
    uint32_t count = 0;
    uint64_t missing = s->missing;

    while (missing > 0) {
        s->at = p;
        if (p == s->end)
            return fail_no_value(s);
        struct token *t = &s->list[count++];
        uint8_t first = *p;
        missing--;

        if ((first & 0xe0) == 0xa0) {
            p = read_string(s, t, p + 1, first & 0x1f);
        } else if (first < 0x80) {
            token_number(t, first);
            p++;
        } else if (first >= 0xe0) {
            token_number(t, (int8_t)first);
            p++;
        } else if (first >= 0xc0 && first <= 0xdb) {
            p = read_scalar(s, t);
        } else {
            s->missing = missing;
            p = open_container(s, limits, tokens, count - 1);
            missing = s->missing;
        }
        if (p == NULL)
            return s->failed;
        if (missing == 0) {
            s->missing = 0;
            close_containers(s, count);
            missing = s->missing;
        }
    }
    if (p != s->end)
        return fail_trailing(s, p);
    tokens->count = count;
    return 0;
}

int msgpack_tokens(const void *bytes, size_t len, const struct msgpack_limits *limits,
                   struct tokens *tokens, struct error *error)
{
    const uint8_t *start = bytes;
    struct scan s = {
        .start = start,
        .at = start,
        .end = len > 0 ? start + len : start,
        .claimed = 1,
        .missing = 1,
        .parent = NO_PARENT,
        .error = error,
    };
    tokens->count = 0;
    if (limits->elements == 0) {
        fail_elements(&s, 0);
        return s.failed;
    }
    tokens_reserve(tokens, 1);
    s.list = tokens->list;
    return scan_value(&s, limits, tokens);
}

void tokens_fini(struct tokens *tokens)
{
    free(tokens->list);
    *tokens = (struct tokens){0};
}
