/* json.h: JSON text <-> msgpack bytes. Inside the engine an event is always msgpack; JSON exists
 * only at the edge.
 *
 * Integers between -2^63 and 2^64-1 stay exact; other numbers are doubles (1e999 is an error).
 * Strings must be UTF-8. A duplicate name in an object: the last one wins on decoding into Lua,
 * both are kept in the msgpack. */
#ifndef TIDEMILL_CODEC_JSON_H
#define TIDEMILL_CODEC_JSON_H

#include "base/buf.h"
#include "base/error.h"

/* Appends one msgpack value, in the shortest form of each header. The text must be one JSON value
 * and white space around it. Errors: ERROR_FORMAT with what and at which byte ("at byte 17: ..."),
 * ERROR_LIMIT when nested deeper than `depth`. On failure `out` is as long as before. Nesting deep
 * enough to hurt costs no C stack. */
int json_to_msgpack(const char *text, size_t len, unsigned depth, struct buf *out,
                    struct error *error);

/* Appends the JSON text of one msgpack value, without white space. Doubles are written so that they
 * read back equal, and as doubles: whole ones up to 2^53 are plain digits, as integers are; beyond
 * it they keep a fraction or an exponent. str and bin that are not UTF-8 have their bad bytes
 * replaced by U+FFFD; ext is {"ext":type,"data":"hex"}; nan and infinities are null; map keys that
 * are no strings become their JSON text as a string. Errors: ERROR_FORMAT (not one whole msgpack
 * value), ERROR_LIMIT (`depth`; or arrays and maps as keys inside of such keys, more than 4 deep,
 * whose quoting would grow without bound). On failure `out` is as long as before. */
int json_from_msgpack(const void *bytes, size_t len, unsigned depth, struct buf *out,
                      struct error *error);

#endif
