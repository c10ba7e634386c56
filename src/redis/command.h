/* command.h: commands as bytes of the Redis protocol (RESP 2). */
#ifndef TIDEMILL_REDIS_COMMAND_H
#define TIDEMILL_REDIS_COMMAND_H

#include "base/buf.h"

/* Appends one command. `argv[i]` has `lens[i]` bytes; lens NULL: all are C strings. */
void command_append_argv(struct buf *out, int argc, const char *const *argv, const size_t *lens);

/* Appends one command of C strings, ended by NULL: command_append(out, "XINFO", "STREAM", name,
 * NULL). */
void command_append(struct buf *out, ...) __attribute__((sentinel));

/* Piece by piece, for long commands: the number of arguments first, then each argument. */
void command_begin(struct buf *out, size_t argc);
void command_argument(struct buf *out, const void *bytes, size_t len);
void command_argument_text(struct buf *out, const char *text);
void command_argument_number(struct buf *out, long long number);

#endif
