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
