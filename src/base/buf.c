/* buf.c: see buf.h. Growth doubles, so that appending stays linear. */
#include "base/buf.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { BUF_SMALLEST = 256 };

void buf_reserve(struct buf *b, size_t more)
{
    assert(b->len <= b->cap);
    if (b->cap - b->len >= more)
        return;
    size_t cap = b->cap > BUF_SMALLEST ? b->cap : BUF_SMALLEST;
    while (cap - b->len < more) {
        assert(cap <= SIZE_MAX / 2);
        cap *= 2;
    }
    char *data = realloc(b->data, cap);
    if (data == NULL)
        abort();
    b->data = data;
    b->cap = cap;
}

void buf_append(struct buf *b, const void *bytes, size_t len)
{
    if (len == 0)
        return;
    buf_reserve(b, len);
    memcpy(b->data + b->len, bytes, len);
    b->len += len;
}

void buf_append_text(struct buf *b, const char *text)
{
    buf_append(b, text, strlen(text));
}

void buf_printf(struct buf *b, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int len = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    assert(len >= 0);
    buf_reserve(b, (size_t)len + 1);
    va_start(arguments, format);
    vsnprintf(b->data + b->len, (size_t)len + 1, format, arguments);
    va_end(arguments);
    b->len += (size_t)len;
}

void buf_consume(struct buf *b, size_t len)
{
    assert(len <= b->len);
    if (len == 0)
        return;
    memmove(b->data, b->data + len, b->len - len);
    b->len -= len;
}

void buf_reset(struct buf *b, size_t keep)
{
    b->len = 0;
    if (b->cap > keep)
        buf_fini(b);
}

void buf_fini(struct buf *b)
{
    free(b->data);
    *b = (struct buf){0};
}

const char *buf_text(struct buf *b)
{
    buf_reserve(b, 1);
    b->data[b->len] = '\0';
    return b->data;
}
