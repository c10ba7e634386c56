/* command.c: formats straight into the output buffer, one reservation an argument: commits are
 * made of these. */
#include "redis/command.h"

#include <assert.h>
#include <stdarg.h>

enum { NUMBER_MOST = 24 }; /* a sign and 19 digits at most, with room */

/* Writes `n` in decimal, returns the end. */
static char *put_number(char *at, unsigned long long n)
{
    char digits[NUMBER_MOST];
    size_t len = 0;
    do
        digits[len++] = (char)('0' + n % 10);
    while ((n /= 10) > 0);
    while (len > 0)
        *at++ = digits[--len];
    return at;
}

/* A header line: `*3` or `$5`. */
static char *put_header(char *at, char kind, size_t n)
{
    *at++ = kind;
    at = put_number(at, n);
    *at++ = '\r';
    *at++ = '\n';
    return at;
}

void command_begin(struct buf *out, size_t argc)
{
    assert(argc > 0);
    buf_reserve(out, NUMBER_MOST + 3);
    out->len = (size_t)(put_header(out->data + out->len, '*', argc) - out->data);
}

void command_argument(struct buf *out, const void *bytes, size_t len)
{
    buf_reserve(out, len + NUMBER_MOST + 5);
    char *at = put_header(out->data + out->len, '$', len);
    if (len > 0)
        memcpy(at, bytes, len);
    at += len;
    *at++ = '\r';
    *at++ = '\n';
    out->len = (size_t)(at - out->data);
}

void command_argument_text(struct buf *out, const char *text)
{
    command_argument(out, text, strlen(text));
}

void command_argument_number(struct buf *out, long long number)
{
    char text[NUMBER_MOST];
    char *at = text;
    if (number < 0)
        *at++ = '-';
    at = put_number(at, number < 0 ? -(unsigned long long)number : (unsigned long long)number);
    command_argument(out, text, (size_t)(at - text));
}

void command_append_argv(struct buf *out, int argc, const char *const *argv, const size_t *lens)
{
    assert(argc > 0);
    command_begin(out, (size_t)argc);
    for (int i = 0; i < argc; i++)
        command_argument(out, argv[i], lens != NULL ? lens[i] : strlen(argv[i]));
}

void command_append(struct buf *out, ...)
{
    va_list arguments;
    size_t argc = 0;
    va_start(arguments, out);
    while (va_arg(arguments, const char *) != NULL)
        argc++;
    va_end(arguments);
    command_begin(out, argc);
    va_start(arguments, out);
    for (size_t i = 0; i < argc; i++)
        command_argument_text(out, va_arg(arguments, const char *));
    va_end(arguments);
}

/* ── entries ─────────────────────────────────────────────────────────────────────────────────── */

void command_begin_entry(struct buf *out, const char *stream, int64_t maxlen, size_t fields)
{
    command_begin(out, 3 + (maxlen > 0 ? 3 : 0) + 2 * fields);
    command_argument_text(out, "XADD");
    command_argument_text(out, stream);
    if (maxlen > 0) {
        command_argument_text(out, "MAXLEN");
        command_argument_text(out, "~");
        command_argument_number(out, maxlen);
    }
    command_argument_text(out, "*");
}

void command_field(struct buf *out, const char *name, const void *bytes, size_t len)
{
    command_argument_text(out, name);
    command_argument(out, bytes, len);
}

void command_field_text(struct buf *out, const char *name, const char *text)
{
    command_field(out, name, text, strlen(text));
}

void command_field_number(struct buf *out, const char *name, long long number)
{
    command_argument_text(out, name);
    command_argument_number(out, number);
}

/* ── reading ─────────────────────────────────────────────────────────────────────────────────── */

/* Of a header line; moves behind it. */
static size_t take_number(const char **at, char kind)
{
    size_t number = 0;
    assert(**at == kind);
    for (++*at; **at != '\r'; ++*at)
        number = number * 10 + (size_t)(**at - '0');
    *at += 2;
    return number;
}

size_t command_count(const char **at)
{
    return take_number(at, '*');
}

struct command_word command_next(const char **at)
{
    struct command_word word = {.len = take_number(at, '$')};
    word.bytes = *at;
    *at += word.len + 2;
    return word;
}

bool command_word_is(struct command_word word, const char *text)
{
    return word.len == strlen(text) && memcmp(word.bytes, text, word.len) == 0;
}

bool command_is_emit(const char *command, size_t len, struct command_word *stream,
                     struct command_word *payload)
{
    enum { LEAST = 5 };
    const char *at = command;
    size_t count = command_count(&at);
    if (count < LEAST || !command_word_is(command_next(&at), "XADD"))
        return false;
    struct command_word second = command_next(&at), last[3] = {{0}};
    for (size_t i = 2; i < count; i++) {
        last[0] = last[1];
        last[1] = last[2];
        last[2] = command_next(&at);
    }
    assert(at == command + len);
    if (!command_word_is(last[0], "*") || !command_word_is(last[1], "data"))
        return false;
    *stream = second;
    *payload = last[2];
    return true;
}
