/* buf.h: bytes that grow. The layout is public because the kernel (Lua, through FFI) writes into it
 * directly. */
#ifndef TIDEMILL_BASE_BUF_H
#define TIDEMILL_BASE_BUF_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct buf {
    char *data; /* NULL until the first byte */
    size_t len; /* bytes in use */
    size_t cap; /* bytes allocated */
};

/* Makes room for `more` bytes behind `len`; data may move. Aborts when the machine is out of
 * memory. */
void buf_reserve(struct buf *b, size_t more);

void buf_append(struct buf *b, const void *bytes, size_t len);
void buf_append_text(struct buf *b, const char *text);
void buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Drops the first `len` bytes (at most all of them). */
void buf_consume(struct buf *b, size_t len);

/* Empties it and keeps at most `keep` bytes of room. */
void buf_reset(struct buf *b, size_t keep);

/* Gives the memory back; the struct is as good as zeroed afterwards. */
void buf_fini(struct buf *b);

/* A NUL behind the last byte, not counted in len: lets text be used as a C string. */
const char *buf_text(struct buf *b);

#endif
