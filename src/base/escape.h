/* escape.h: bytes of others made safe for a terminal, a log line and JSON. */
#ifndef TIDEMILL_BASE_ESCAPE_H
#define TIDEMILL_BASE_ESCAPE_H

#include "base/buf.h"

#include <stdbool.h>

/* Appends the bytes so that one line of a terminal shows them and obeys none of them: control
 * characters (C1 as well) become \n, \t, \r or \xNN, and so does each byte that is not part of
 * valid UTF-8. A backslash stays one backslash. */
void escape_text(struct buf *out, const void *bytes, size_t len);

/* Appends "..." with quotes inside and backslashes escaped as well: can be read back. */
void escape_quoted(struct buf *out, const void *bytes, size_t len);

/* Appends a JSON string with its quotes. Bytes that are not UTF-8 become the text \xNN, since JSON
 * has no word for them. */
void escape_json(struct buf *out, const void *bytes, size_t len);

/* The bytes of the UTF-8 character at `bytes` (1 to 4), or 0 when none begins there. `len` is at
 * least 1. */
size_t escape_utf8_len(const void *bytes, size_t len);

bool escape_is_utf8(const void *bytes, size_t len);

#endif
