/* json.c: JSON text -> msgpack bytes; see json.h. (The other way round is json_write.c.)
 *
 * yajl finds the tokens and calls back; the callbacks pack. Three things yajl leaves to us:
 *
 * - It accepts lone surrogates, overlong UTF-8, form feeds between tokens. A first pass over the
 *   text (eight bytes a step) finds the first such fault. Only the text before it is parsed: an
 *   error there comes first, else the fault is the error.
 * - It knows no depth. Its own stack is on the heap, so the limit in our callbacks is the only one.
 * - It says where an error was noticed, not where it is: token_position walks from the last good
 *   token.
 *
 * A container's header needs its count, known only at its end. One byte is kept free for it, which
 * suffices up to 15 elements, as in nearly every event. Wider ones are noted, and their bodies move
 * once, at the end, back to front.
 */
#include "codec/json.h"
#include "base/escape.h"
#include "codec/word8.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <msgpack.h>
#include <stdlib.h>
#include <yajl/yajl_parse.h>

enum { FIX_MAX = 15 }; /* elements that a header of one byte can count */

#define NO_PARENT UINT32_MAX

/* A container that is open, or wide, or around a wide one; kept in the order of their positions. */
struct container {
    size_t at;       /* of its first header byte in `out` */
    uint32_t count;  /* elements or pairs so far */
    uint32_t parent; /* index of the container around it */
    bool is_map;
};

struct reader {
    yajl_handle yajl;
    msgpack_packer packer;
    struct buf *out;
    struct buf containers; /* of struct container */
    uint32_t current;      /* index of the innermost open one */
    unsigned open, depth;  /* containers open now; allowed */
    size_t wider_bytes;    /* that the headers of wide containers need beyond their one byte */
    size_t text_len;
    size_t good_bytes; /* the text up to the end of the last token that was accepted */
    bool is_at_end;    /* yajl has seen all of the text */
    int failed;
    struct error *error;
};

/* What yajl would let pass. */
struct fault {
    size_t at; /* the length of the text when there is none */
    const char *cause;
};

/* ---- the first pass ---- */

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The code unit of a \uXXXX at `p`, or -1 when there is none. */
static int escaped_unit(const uint8_t *p, const uint8_t *end)
{
    if (end - p < 6 || p[0] != '\\' || p[1] != 'u')
        return -1;
    int unit = 0;
    for (int i = 2; i < 6; i++) {
        int digit = hex_digit(p[i]);
        if (digit < 0)
            return -1;
        unit = unit * 16 + digit;
    }
    return unit;
}

static bool is_high_surrogate(int unit)
{
    return unit >= 0xd800 && unit <= 0xdbff;
}

static bool is_low_surrogate(int unit)
{
    return unit >= 0xdc00 && unit <= 0xdfff;
}

/* The bytes of the escape at `p`, a backslash; 0 when it is half of a surrogate pair. Other
 * mistakes are yajl's to find. */
static size_t escape_len(const uint8_t *p, const uint8_t *end)
{
    int unit = escaped_unit(p, end);
    if (is_low_surrogate(unit))
        return 0;
    if (is_high_surrogate(unit))
        return is_low_surrogate(escaped_unit(p + 6, end)) ? 12 : 0;
    if (unit >= 0)
        return 6;
    return end - p < 2 ? 1 : 2;
}

static struct fault find_fault(const char *text, size_t len)
{
    const uint8_t *start = (const uint8_t *)text, *p = start, *end = len > 0 ? start + len : start;
    const char *cause = NULL;
    while (p < end) {
        while (end - p >= 8 && word8_is_plain(word8_load(p)) && !word8_has(word8_load(p), '\\'))
            p += 8;
        if (p == end)
            break;
        size_t good = 1;
        if (*p >= 0x80) {
            good = escape_utf8_len(p, (size_t)(end - p));
            cause = "invalid UTF-8";
        } else if (*p == '\\') {
            good = escape_len(p, end);
            cause = "half of a surrogate pair";
        } else if (*p < 0x20) {
            good = *p == '\t' || *p == '\n' || *p == '\r';
            cause = *p == 0 ? "a NUL byte" : "a control character";
        }
        if (good == 0)
            break;
        p += good;
    }
    return (struct fault){.at = (size_t)(p - start), .cause = cause};
}

/* ---- errors ---- */

static int reader_fail(struct reader *r, enum error_code code, size_t at, const char *cause)
{
    r->failed = error_set(r->error, code, "at byte %zu: %s", at, cause);
    return 0; /* which makes yajl stop */
}

/* Where the token that yajl just handed over ends. A number that ends with the text is only handed
 * over afterwards. */
static size_t token_end(const struct reader *r)
{
    return r->is_at_end ? r->text_len : yajl_get_bytes_consumed(r->yajl);
}

/* yajl's position is behind the token it did not like. That token begins behind the last good one,
 * after white space and whatever comma or colon is not itself the mistake. */
static size_t token_position(const struct reader *r, const char *text)
{
    size_t end = token_end(r), at = r->good_bytes;
    for (; at < r->text_len; at++) {
        bool is_space = memchr(" \t\r\n", text[at], 4) != NULL;
        bool is_mark = (text[at] == ',' || text[at] == ':') && at + 1 < end;
        if (!is_space && !is_mark)
            break;
    }
    return at;
}

/* yajl's "lexical error: cause.\n" or "parse error: cause\n" as our one line with the position. */
static void reader_fail_as_yajl(struct reader *r, const char *text)
{
    unsigned char *line = yajl_get_error(r->yajl, 0, NULL, 0);
    if (line == NULL)
        abort();
    char *cause = strstr((char *)line, ": ");
    cause = cause == NULL ? (char *)line : cause + 2;
    cause[strcspn(cause, "\n")] = '\0';
    size_t len = strlen(cause);
    if (len > 0 && cause[len - 1] == '.')
        cause[len - 1] = '\0';

    if (strcmp(cause, "premature EOF") == 0) {
        reader_fail(r, ERROR_FORMAT, r->text_len, "the text ends too early");
    } else if (line[0] != 'l') {
        reader_fail(r, ERROR_FORMAT, token_position(r, text), cause);
    } else {
        /* The one character that yajl does not step back from. */
        bool is_passed = strcmp(cause, "invalid char in json text") == 0;
        reader_fail(r, ERROR_FORMAT, token_end(r) - is_passed, cause);
    }
    yajl_free_error(r->yajl, line);
}

/* ---- the callbacks: each packs one thing ---- */

static struct container *container_at(struct reader *r, uint32_t index)
{
    return (struct container *)(void *)r->containers.data + index;
}

static uint32_t containers_kept(const struct reader *r)
{
    return (uint32_t)(r->containers.len / sizeof(struct container));
}

/* Counts a value that an array holds; those of maps are counted with their keys. */
static void value_begins(struct reader *r)
{
    r->good_bytes = token_end(r);
    if (r->current == NO_PARENT)
        return;
    struct container *c = container_at(r, r->current);
    if (!c->is_map)
        c->count++;
}

static int pack_bytes(void *out, const char *bytes, size_t len)
{
    buf_append(out, bytes, len);
    return 0;
}

static void pack_string(struct reader *r, const unsigned char *bytes, size_t len)
{
    msgpack_pack_str(&r->packer, len);
    msgpack_pack_str_body(&r->packer, bytes, len);
}

static int on_null(void *context)
{
    struct reader *r = context;
    value_begins(r);
    msgpack_pack_nil(&r->packer);
    return 1;
}

static int on_boolean(void *context, int is_true)
{
    struct reader *r = context;
    value_begins(r);
    if (is_true)
        msgpack_pack_true(&r->packer);
    else
        msgpack_pack_false(&r->packer);
    return 1;
}

static int on_string(void *context, const unsigned char *bytes, size_t len)
{
    struct reader *r = context;
    value_begins(r);
    pack_string(r, bytes, len);
    return 1;
}

static int on_map_key(void *context, const unsigned char *bytes, size_t len)
{
    struct reader *r = context;
    r->good_bytes = token_end(r);
    container_at(r, r->current)->count++;
    pack_string(r, bytes, len);
    return 1;
}

/* Packs digits with an optional minus when they fit into 64 bits. -0 does not: only a double keeps
 * its sign. */
static bool pack_integer(msgpack_packer *packer, const char *text, size_t len)
{
    bool is_negative = text[0] == '-';
    uint64_t n = 0;
    for (size_t i = is_negative; i < len; i++) {
        unsigned digit = (unsigned)text[i] - '0';
        if (digit > 9 || __builtin_mul_overflow(n, 10u, &n) || __builtin_add_overflow(n, digit, &n))
            return false;
    }
    if (!is_negative) {
        msgpack_pack_uint64(packer, n);
        return true;
    }
    if (n == 0 || n > (uint64_t)INT64_MAX + 1)
        return false;
    msgpack_pack_int64(packer, (int64_t)(0 - n));
    return true;
}

/* Any other number. strtod wants a NUL behind it, so it is copied to the room behind what is
 * packed. */
static bool pack_double(struct reader *r, const char *text, size_t len)
{
    buf_reserve(r->out, len + 1);
    char *copy = r->out->data + r->out->len;
    memcpy(copy, text, len);
    copy[len] = '\0';
    double number = strtod(copy, NULL);
    if (isinf(number))
        return false;
    msgpack_pack_double(&r->packer, number);
    return true;
}

static int on_number(void *context, const char *text, size_t len)
{
    struct reader *r = context;
    value_begins(r);
    if (pack_integer(&r->packer, text, len) || pack_double(r, text, len))
        return 1;
    return reader_fail(r, ERROR_FORMAT, r->good_bytes - len,
                       "a number beyond the range of a double");
}

static int container_open(struct reader *r, bool is_map)
{
    value_begins(r);
    if (r->open == r->depth) {
        r->failed = error_set(r->error, ERROR_LIMIT, "at byte %zu: nested deeper than %u",
                              r->good_bytes - 1, r->depth);
        return 0;
    }
    struct container c = {.at = r->out->len, .parent = r->current, .is_map = is_map};
    r->current = containers_kept(r);
    r->open++;
    buf_append(&r->containers, &c, sizeof c);
    buf_append(r->out, "", 1);
    return 1;
}

/* Writes the header when its one byte suffices, and forgets the container unless a wide one inside
 * is noted behind it. */
static int container_close(struct reader *r)
{
    r->good_bytes = token_end(r);
    struct container *c = container_at(r, r->current);
    uint32_t index = r->current;
    r->current = c->parent;
    r->open--;
    if (c->count > FIX_MAX) {
        r->wider_bytes += c->count > UINT16_MAX ? 4 : 2;
        return 1;
    }
    r->out->data[c->at] = (char)((c->is_map ? 0x80 : 0x90) | c->count);
    if (index + 1 == containers_kept(r))
        r->containers.len -= sizeof *c;
    return 1;
}

static int on_start_map(void *context)
{
    return container_open(context, true);
}

static int on_start_array(void *context)
{
    return container_open(context, false);
}

static int on_end(void *context)
{
    return container_close(context);
}

static const yajl_callbacks callbacks = {
    .yajl_null = on_null,
    .yajl_boolean = on_boolean,
    .yajl_number = on_number,
    .yajl_string = on_string,
    .yajl_start_map = on_start_map,
    .yajl_map_key = on_map_key,
    .yajl_end_map = on_end,
    .yajl_start_array = on_start_array,
    .yajl_end_array = on_end,
};

/* ---- the wide headers ---- */

/* Writes a header of 3 or 5 bytes. Returns how many. */
static size_t write_wide_header(char *to, const struct container *c)
{
    uint8_t first = c->is_map ? 0xde : 0xdc;
    if (c->count <= UINT16_MAX) {
        uint8_t header[3] = {first, (uint8_t)(c->count >> 8), (uint8_t)c->count};
        memcpy(to, header, sizeof header);
        return sizeof header;
    }
    uint32_t count = __builtin_bswap32(c->count);
    to[0] = (char)(first + 1);
    memcpy(to + 1, &count, sizeof count);
    return 1 + sizeof count;
}

/* Moves what follows each wide header to its place, from the last to the first, so that each byte
 * moves once. */
static void widen_headers(struct reader *r)
{
    if (r->wider_bytes == 0)
        return;
    buf_reserve(r->out, r->wider_bytes);
    char *data = r->out->data;
    size_t end = r->out->len, shift = r->wider_bytes;
    r->out->len += shift;
    for (uint32_t i = containers_kept(r); i-- > 0;) {
        const struct container *c = container_at(r, i);
        if (c->count <= FIX_MAX)
            continue;
        size_t body = c->at + 1;
        memmove(data + body + shift, data + body, end - body);
        shift -= c->count > UINT16_MAX ? 4 : 2;
        write_wide_header(data + c->at + shift, c);
        end = c->at;
    }
    assert(shift == 0);
}

/* ---- the whole ---- */

static int reader_run(struct reader *r, const char *text, size_t len)
{
    struct fault fault = find_fault(text, len);
    yajl_status status = yajl_parse(r->yajl, (const unsigned char *)text, fault.at);
    if (status == yajl_status_ok && fault.at < len) {
        reader_fail(r, ERROR_FORMAT, fault.at, fault.cause);
        return r->failed;
    }
    if (status == yajl_status_ok) {
        r->is_at_end = true;
        status = yajl_complete_parse(r->yajl);
    }
    if (status == yajl_status_error)
        reader_fail_as_yajl(r, text);
    else if (status == yajl_status_ok && token_position(r, text) < len)
        /* a string without an end, which yajl passes over */
        reader_fail(r, ERROR_FORMAT, token_position(r, text), "trailing garbage");
    return r->failed;
}

int json_to_msgpack(const char *text, size_t len, unsigned depth, struct buf *out,
                    struct error *error)
{
    if (len > UINT32_MAX)
        return error_set(error, ERROR_LIMIT, "at byte 0: text of %zu bytes, %" PRIu32 " at most",
                         len, UINT32_MAX);
    struct reader r = {
        .out = out,
        .current = NO_PARENT,
        .depth = depth,
        .text_len = len,
        .error = error,
    };
    size_t before = out->len;
    msgpack_packer_init(&r.packer, out, pack_bytes);
    r.yajl = yajl_alloc(&callbacks, NULL, &r);
    if (r.yajl == NULL)
        abort();
    yajl_config(r.yajl, yajl_dont_validate_strings, 1); /* the first pass does, and more strictly */

    int failed = reader_run(&r, text, len);
    if (failed)
        out->len = before;
    else
        widen_headers(&r);
    yajl_free(r.yajl);
    buf_fini(&r.containers);
    return failed;
}
