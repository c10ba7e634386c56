/* json_write.c: msgpack bytes -> JSON text; see json.h. (The other way round is json.c.)
 *
 * The text is written from the list of tokens, left to right; a small stack holds the containers
 * whose end is still to be written. JSON wants strings as map keys: any other key is written like a
 * value, and its text is then quoted in place.
 *
 * (1) Quoting doubles the backslashes of what it quotes, so keys inside of keys inside of keys
 *     would grow without bound: at most KEYS_DEPTH containers that are keys may be open.
 */
#include "base/escape.h"
#include "codec/json.h"
#include "codec/msgpack.h"
#include "codec/word8.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { KEYS_DEPTH = 4 };

/* A container whose end is not yet written. */
struct frame {
    size_t key_at; /* where in `out` the text of the key begins that is being written */
    uint32_t end;  /* index of the token behind its last one */
    bool is_map;
    bool is_key_due; /* in a map: the next value, or the one being written, is a key */
    bool is_empty;   /* nothing written in it yet */
};

struct writer {
    struct buf *out;
    struct buf frames; /* of struct frame */
    unsigned keys_open;
    struct error *error;
};

/* ---- scalars ---- */

/* The letter behind the backslash for characters that have a short escape; 'u' for other control
 * characters. */
static char escape_letter(uint8_t c)
{
    switch (c) {
    case '"':
        return '"';
    case '\\':
        return '\\';
    case '\b':
        return 'b';
    case '\f':
        return 'f';
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case '\t':
        return 't';
    default:
        return 'u';
    }
}

static void write_escape(struct buf *out, uint8_t c)
{
    static const char hex[] = "0123456789abcdef";
    char text[6] = {'\\', escape_letter(c), '0', '0', hex[c >> 4], hex[c & 15]};
    buf_append(out, text, text[1] == 'u' ? 6 : 2);
}

static bool is_plain_word(const uint8_t *p)
{
    uint64_t word = word8_load(p);
    return word8_is_plain(word) && !word8_has(word, '"') && !word8_has(word, '\\');
}

/* The bytes from `p` that need no escape and are valid. */
static size_t plain_len(const uint8_t *p, const uint8_t *end)
{
    const uint8_t *start = p;
    while (p < end) {
        while (end - p >= 8 && is_plain_word(p))
            p += 8;
        if (p == end || *p < 0x20 || *p == '"' || *p == '\\')
            break;
        size_t char_len = *p < 0x80 ? 1 : escape_utf8_len(p, (size_t)(end - p));
        if (char_len == 0)
            break;
        p += char_len;
    }
    return (size_t)(p - start);
}

static void write_string(struct buf *out, const char *bytes, size_t len)
{
    const uint8_t *p = (const uint8_t *)bytes, *end = len > 0 ? p + len : p;
    buf_reserve(out, len + 2);
    buf_append(out, "\"", 1);
    while (p < end) {
        size_t plain = plain_len(p, end);
        buf_append(out, p, plain);
        p += plain;
        if (p == end)
            break;
        if (*p < 0x80)
            write_escape(out, *p);
        else
            buf_append_text(out, "\xef\xbf\xbd");
        p++;
    }
    buf_append(out, "\"", 1);
}

static void write_unsigned(struct buf *out, bool is_negative, uint64_t n)
{
    char text[24];
    char *p = text + sizeof text;
    do {
        *--p = (char)('0' + n % 10);
        n /= 10;
    } while (n > 0);
    if (is_negative)
        *--p = '-';
    buf_append(out, p, (size_t)(text + sizeof text - p));
}

static void write_signed(struct buf *out, int64_t n)
{
    write_unsigned(out, n < 0, n < 0 ? 0 - (uint64_t)n : (uint64_t)n);
}

/* The shortest of 15, 16 or 17 digits that reads back equal; 17 always do. Beyond 2^53 they may be
 * all digits: then ".0" says that it is a double, since digits alone would come back as a 64-bit
 * integer. */
static void write_fraction(struct buf *out, double number)
{
    char text[32];
    int len = 0;
    for (int digits = 15; digits <= 17; digits++) {
        len = snprintf(text, sizeof text, "%.*g", digits, number);
        if (strtod(text, NULL) == number)
            break;
    }
    buf_append(out, text, (size_t)len);
    if (text[strcspn(text, ".e")] == '\0')
        buf_append(out, ".0", 2);
}

static void write_double(struct buf *out, double number)
{
    const double exact_max = 9007199254740992.0; /* 2^53: whole ones up to here are exact */
    if (!isfinite(number))
        buf_append_text(out, "null");
    else if (fabs(number) <= exact_max && number == trunc(number))
        write_unsigned(out, signbit(number), (uint64_t)fabs(number));
    else
        write_fraction(out, number);
}

static void write_ext(struct buf *out, const struct token *t)
{
    static const char hex[] = "0123456789abcdef";
    buf_append_text(out, "{\"ext\":");
    write_signed(out, t->ext_type);
    buf_append_text(out, ",\"data\":\"");
    buf_reserve(out, (size_t)t->len * 2);
    for (uint32_t i = 0; i < t->len; i++) {
        uint8_t byte = (uint8_t)t->bytes[i];
        out->data[out->len++] = hex[byte >> 4];
        out->data[out->len++] = hex[byte & 15];
    }
    buf_append_text(out, "\"}");
}

static void write_scalar(struct buf *out, const struct token *t)
{
    switch ((enum token_type)t->type) {
    case TOKEN_NIL:
        buf_append_text(out, "null");
        return;
    case TOKEN_TRUE:
        buf_append_text(out, "true");
        return;
    case TOKEN_FALSE:
        buf_append_text(out, "false");
        return;
    case TOKEN_NUMBER:
        write_double(out, t->number);
        return;
    case TOKEN_INT64:
        write_signed(out, t->i64);
        return;
    case TOKEN_UINT64:
        write_unsigned(out, false, t->u64);
        return;
    case TOKEN_STRING:
        write_string(out, t->bytes, t->len);
        return;
    case TOKEN_EXT:
        write_ext(out, t);
        return;
    case TOKEN_ARRAY:
    case TOKEN_MAP:
        break;
    }
    assert(!"a container is no scalar");
}

/* ---- containers ---- */

static struct frame *innermost(const struct writer *w)
{
    if (w->frames.len == 0)
        return NULL;
    return (struct frame *)(void *)(w->frames.data + w->frames.len) - 1;
}

/* What stands between the last value and the next one. */
static void write_separator(struct writer *w)
{
    struct frame *f = innermost(w);
    if (f == NULL)
        return;
    if (f->is_map && !f->is_key_due)
        buf_append(w->out, ":", 1);
    else if (!f->is_empty)
        buf_append(w->out, ",", 1);
    f->is_empty = false;
    if (f->is_key_due)
        f->key_at = w->out->len;
}

/* Quotes the text from `at` on, unless it is a string already. */
static void quote_key(struct buf *out, size_t at)
{
    if (out->data[at] == '"')
        return;
    struct buf text = {0};
    buf_append(&text, out->data + at, out->len - at);
    out->len = at;
    write_string(out, text.data, text.len);
    buf_fini(&text);
}

static int container_open(struct writer *w, const struct token *t, uint32_t index)
{
    const struct frame *around = innermost(w);
    if (around != NULL && around->is_key_due && ++w->keys_open > KEYS_DEPTH) /* (1) */
        return error_set(w->error, ERROR_LIMIT, "map keys nested deeper than %d", KEYS_DEPTH);
    bool is_map = t->type == TOKEN_MAP;
    struct frame f = {
        .end = index + t->size,
        .is_map = is_map,
        .is_key_due = is_map,
        .is_empty = true,
    };
    buf_append(w->out, is_map ? "{" : "[", 1);
    buf_append(&w->frames, &f, sizeof f);
    return 0;
}

static void container_close(struct writer *w)
{
    buf_append(w->out, innermost(w)->is_map ? "}" : "]", 1);
    w->frames.len -= sizeof(struct frame);
    const struct frame *around = innermost(w);
    if (around != NULL && around->is_key_due)
        w->keys_open--;
}

/* A value is complete and `next` is the token behind it: so may be the containers around it. */
static void value_ends(struct writer *w, uint32_t next)
{
    for (struct frame *f = innermost(w); f != NULL; f = innermost(w)) {
        if (f->is_key_due)
            quote_key(w->out, f->key_at);
        if (f->is_map)
            f->is_key_due = !f->is_key_due;
        if (next < f->end)
            return;
        container_close(w);
    }
}

static int write_tokens(struct writer *w, const struct tokens *tokens)
{
    for (uint32_t i = 0; i < tokens->count; i++) {
        const struct token *t = &tokens->list[i];
        write_separator(w);
        if (t->type != TOKEN_ARRAY && t->type != TOKEN_MAP) {
            write_scalar(w->out, t);
        } else if (t->len == 0) {
            buf_append_text(w->out, t->type == TOKEN_MAP ? "{}" : "[]");
        } else {
            int failed = container_open(w, t, i);
            if (failed)
                return failed;
            continue;
        }
        value_ends(w, i + 1);
    }
    return 0;
}

int json_from_msgpack(const void *bytes, size_t len, unsigned depth, struct buf *out,
                      struct error *error)
{
    struct msgpack_limits limits = {.depth = depth, .elements = UINT32_MAX};
    struct tokens tokens = {0};
    struct writer w = {.out = out, .error = error};
    size_t before = out->len;
    int failed = msgpack_tokens(bytes, len, &limits, &tokens, error);
    if (!failed)
        failed = write_tokens(&w, &tokens);
    if (failed)
        out->len = before;
    buf_fini(&w.frames);
    tokens_fini(&tokens);
    return failed;
}
