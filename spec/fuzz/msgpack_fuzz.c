/* msgpack_fuzz.c: any bytes as msgpack. The first byte of the input chooses the limits.
 *
 * What must hold: failure names a byte of the input; success means tokens that fit together, lie
 * inside the input, keep the limits, and say the same as msgpack-c does; and JSON written from them
 * can be read, and is written the same again.
 */
#include "codec/json.h"
#include "codec/msgpack.h"
#include "fuzz.h"

#include <msgpack.h>
#include <stdlib.h>

enum { REFERENCE_DEPTH = 30 }; /* msgpack-c itself gives up at 32 */

static void check_inside(const struct token *t, const uint8_t *data, size_t size)
{
    const uint8_t *bytes = (const uint8_t *)t->bytes;
    assert(bytes >= data && bytes <= data + size && t->len <= (size_t)(data + size - bytes));
}

/* Each container ends where its last element does. Returns the deepest nesting. */
static uint32_t check_tokens(const struct tokens *tokens, const uint8_t *data, size_t size)
{
    uint32_t *depths = calloc(tokens->count, sizeof *depths);
    uint32_t deepest = 0;
    assert(depths != NULL && tokens->count >= 1 && tokens->list[0].size == tokens->count);
    for (uint32_t i = 0; i < tokens->count; i++) {
        const struct token *t = &tokens->list[i];
        bool is_container = t->type == TOKEN_ARRAY || t->type == TOKEN_MAP;
        uint32_t elements = is_container ? t->len * (t->type == TOKEN_MAP ? 2u : 1u) : 0;
        uint32_t depth = depths[i] + is_container, next = i + 1;
        for (uint32_t k = 0; k < elements; k++) {
            assert(next < tokens->count);
            depths[next] = depth;
            next += tokens->list[next].size;
        }
        assert(next == i + t->size && next <= tokens->count);
        if (t->type == TOKEN_STRING || t->type == TOKEN_EXT)
            check_inside(t, data, size);
        deepest = depth > deepest ? depth : deepest;
    }
    free(depths);
    return deepest;
}

static void check_number(const struct token *t, double number)
{
    assert(t->type == TOKEN_NUMBER);
    if (number == number)
        assert(memcmp(&t->number, &number, sizeof number) == 0);
    else
        assert(t->u64 == 0x7ff8000000000000u); /* the one nan that LuaJIT may see */
}

static void check_integer(const struct token *t, const msgpack_object *o)
{
    const uint64_t exact = (uint64_t)1 << 53;
    bool is_negative = o->type == MSGPACK_OBJECT_NEGATIVE_INTEGER;
    uint64_t size = is_negative ? 0 - (uint64_t)o->via.i64 : o->via.u64;
    if (size <= exact)
        check_number(t, is_negative ? (double)o->via.i64 : (double)o->via.u64);
    else if (is_negative || size <= INT64_MAX)
        assert(t->type == TOKEN_INT64 && t->i64 == o->via.i64);
    else
        assert(t->type == TOKEN_UINT64 && t->u64 == o->via.u64);
}

static void check_bytes(const struct token *t, enum token_type type, const char *bytes,
                        uint32_t len)
{
    assert(t->type == type && t->len == len && (len == 0 || memcmp(t->bytes, bytes, len) == 0));
}

/* The token says what msgpack-c's object says. Returns the token behind the value. */
static const struct token *check_object(const struct token *t, const msgpack_object *o)
{
    const struct token *next = t + 1;
    switch (o->type) {
    case MSGPACK_OBJECT_NIL:
        assert(t->type == TOKEN_NIL);
        break;
    case MSGPACK_OBJECT_BOOLEAN:
        assert(t->type == (o->via.boolean ? TOKEN_TRUE : TOKEN_FALSE));
        break;
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        check_integer(t, o);
        break;
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64:
        check_number(t, o->via.f64);
        break;
    case MSGPACK_OBJECT_STR:
        check_bytes(t, TOKEN_STRING, o->via.str.ptr, o->via.str.size);
        break;
    case MSGPACK_OBJECT_BIN:
        check_bytes(t, TOKEN_STRING, o->via.bin.ptr, o->via.bin.size);
        break;
    case MSGPACK_OBJECT_EXT:
        check_bytes(t, TOKEN_EXT, o->via.ext.ptr, o->via.ext.size);
        assert(t->ext_type == o->via.ext.type);
        break;
    case MSGPACK_OBJECT_ARRAY:
        assert(t->type == TOKEN_ARRAY && t->len == o->via.array.size);
        for (uint32_t i = 0; i < o->via.array.size; i++)
            next = check_object(next, &o->via.array.ptr[i]);
        break;
    case MSGPACK_OBJECT_MAP:
        assert(t->type == TOKEN_MAP && t->len == o->via.map.size);
        for (uint32_t i = 0; i < o->via.map.size; i++) {
            next = check_object(next, &o->via.map.ptr[i].key);
            next = check_object(next, &o->via.map.ptr[i].val);
        }
        break;
    }
    assert(next == t + t->size);
    return next;
}

static void check_against_reference(const struct tokens *tokens, const uint8_t *data, size_t size)
{
    msgpack_unpacked unpacked;
    size_t offset = 0;
    msgpack_unpacked_init(&unpacked);
    int outcome = msgpack_unpack_next(&unpacked, (const char *)data, size, &offset);
    assert(outcome == MSGPACK_UNPACK_SUCCESS && offset == size);
    check_object(tokens->list, &unpacked.data);
    msgpack_unpacked_destroy(&unpacked);
}

/* An ext becomes an object, hence one level more on the way back. */
static void check_json(const uint8_t *data, size_t size, unsigned depth)
{
    struct buf text = {0}, again = {0}, packed = {0};
    struct error error = {0};
    int failed = json_from_msgpack(data, size, depth, &text, &error);
    if (failed) {
        assert(failed == ERROR_LIMIT && text.len == 0); /* keys in keys in keys */
    } else {
        assert(json_to_msgpack(text.data, text.len, depth + 1, &packed, &error) == 0);
        assert(json_from_msgpack(packed.data, packed.len, depth + 1, &again, &error) == 0);
        assert(text.len == again.len && memcmp(text.data, again.data, text.len) == 0);
    }
    buf_fini(&text);
    buf_fini(&again);
    buf_fini(&packed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct msgpack_limits limits = {.depth = data[0] & 0x7f,
                                    .elements = data[0] & 0x80 ? 64 : 1u << 20};
    struct tokens tokens = {0};
    struct error error = {0};
    data++;
    size--;
    int failed = msgpack_tokens(data, size, &limits, &tokens, &error);
    if (failed) {
        check_error(&error, failed, size);
        assert(tokens.count == 0 && tokens.cap <= 2 * size + 64);
    } else {
        assert(tokens.count <= limits.elements && tokens.count <= size);
        uint32_t depth = check_tokens(&tokens, data, size);
        assert(depth <= limits.depth);
        if (depth <= REFERENCE_DEPTH)
            check_against_reference(&tokens, data, size);
        check_json(data, size, limits.depth);
    }
    tokens_fini(&tokens);
    return 0;
}
