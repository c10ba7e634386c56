/* json_fuzz.c: any bytes as JSON text. The first byte of the input chooses the depth allowed.
 *
 * What must hold: failure names a byte of the text in one line and leaves the output as it was;
 * success means whole msgpack within the depth, UTF-8 in its strings, whose JSON says the same
 * values and stays the same from then on.
 */
#include "base/escape.h"
#include "codec/json.h"
#include "codec/msgpack.h"
#include "fuzz.h"

static struct tokens read_tokens(const struct buf *packed, unsigned depth)
{
    struct msgpack_limits limits = {.depth = depth, .elements = UINT32_MAX};
    struct tokens tokens = {0};
    struct error error = {0};
    assert(msgpack_tokens(packed->data, packed->len, &limits, &tokens, &error) == 0);
    assert(tokens.count >= 1 && tokens.list[0].size == tokens.count);
    return tokens;
}

static bool is_same_token(const struct token *a, const struct token *b)
{
    if (a->type != b->type || a->size != b->size)
        return false;
    switch ((enum token_type)a->type) {
    case TOKEN_NUMBER:
    case TOKEN_INT64:
    case TOKEN_UINT64:
        return a->u64 == b->u64; /* to the last bit, and the sign of zero */
    case TOKEN_STRING:
        return a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0;
    case TOKEN_ARRAY:
    case TOKEN_MAP:
        return a->len == b->len;
    default:
        return true;
    }
}

/* Text that was packed, written and packed again says what it said at first. */
static void check_same_values(const struct tokens *first, const struct buf *packed, unsigned depth)
{
    struct tokens again = read_tokens(packed, depth);
    assert(first->count == again.count);
    for (uint32_t i = 0; i < again.count; i++)
        assert(is_same_token(&first->list[i], &again.list[i]));
    tokens_fini(&again);
}

static bool is_same(const struct buf *a, const struct buf *b)
{
    return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

/* From the first writing on nothing changes any more: text -> packed -> text -> packed. */
static void check_fixpoint(const struct tokens *tokens, const struct buf *packed, unsigned depth)
{
    struct buf text = {0}, packed_again = {0}, text_again = {0}, packed_last = {0};
    struct error error = {0};
    assert(json_from_msgpack(packed->data, packed->len, depth, &text, &error) == 0);
    assert(json_to_msgpack(text.data, text.len, depth, &packed_again, &error) == 0);
    check_same_values(tokens, &packed_again, depth);
    assert(json_from_msgpack(packed_again.data, packed_again.len, depth, &text_again, &error) == 0);
    assert(json_to_msgpack(text_again.data, text_again.len, depth, &packed_last, &error) == 0);
    assert(is_same(&text, &text_again) && is_same(&packed_again, &packed_last));
    buf_fini(&text);
    buf_fini(&packed_again);
    buf_fini(&text_again);
    buf_fini(&packed_last);
}

/* Strings are UTF-8, and a header is wide only where it must be. */
static void check_tokens(const struct tokens *tokens, const struct buf *packed)
{
    for (uint32_t i = 0; i < tokens->count; i++) {
        const struct token *t = &tokens->list[i];
        assert(t->type != TOKEN_STRING || escape_is_utf8(t->bytes, t->len));
    }
    const struct token *root = tokens->list;
    uint8_t first = (uint8_t)packed->data[0];
    if (root->type == TOKEN_ARRAY)
        assert(first == (root->len < 16 ? 0x90 + root->len : root->len < 65536 ? 0xdc : 0xdd));
    if (root->type == TOKEN_MAP)
        assert(first == (root->len < 16 ? 0x80 + root->len : root->len < 65536 ? 0xde : 0xdf));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    unsigned depth = data[0] & 0x7f;
    struct buf packed = {0};
    struct error error = {0};
    const char *text = (const char *)data + 1;
    size--;
    int failed = json_to_msgpack(text, size, depth, &packed, &error);
    if (failed) {
        check_error(&error, failed, size);
        assert(packed.len == 0);
    } else {
        struct tokens tokens = read_tokens(&packed, depth);
        check_tokens(&tokens, &packed);
        check_fixpoint(&tokens, &packed, depth);
        tokens_fini(&tokens);
    }
    buf_fini(&packed);
    return 0;
}
