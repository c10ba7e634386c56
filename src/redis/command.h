/* command.h: commands as bytes of the Redis protocol (RESP 2). */
#ifndef TIDEMILL_REDIS_COMMAND_H
#define TIDEMILL_REDIS_COMMAND_H

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

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

/* XADD of an entry with so many fields, which follow; the stream is trimmed to about `maxlen`
 * entries (0: not trimmed). */
void command_begin_entry(struct buf *out, const char *stream, int64_t maxlen, size_t fields);
void command_field(struct buf *out, const char *name, const void *bytes, size_t len);
void command_field_text(struct buf *out, const char *name, const char *text);
void command_field_number(struct buf *out, const char *name, long long number);

/* The other way: the words of a command that we ourselves have written. */
struct command_word {
    const char *bytes;
    size_t len;
};

/* How many words the command at `*at` has, which moves to the first of them; then word by word. */
size_t command_count(const char **at);
struct command_word command_next(const char **at);
bool command_word_is(struct command_word word, const char *text);

/* Is it an emit: XADD STREAM ... * data PAYLOAD? */
bool command_is_emit(const char *command, size_t len, struct command_word *stream,
                     struct command_word *payload);

#endif
