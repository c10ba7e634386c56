/* answer.h: reads what an engine answers over its control socket. */
#ifndef TIDEMILL_CLI_ANSWER_H
#define TIDEMILL_CLI_ANSWER_H

#include "base/buf.h"
#include "base/error.h"
#include "codec/msgpack.h"

/* JSON into tokens, which live in `packed`. Errors: ERROR_FORMAT. */
int answer_read(const struct buf *json, struct buf *packed, struct tokens *tokens,
                struct error *error);

/* The value of `name` in a map, or NULL. */
const struct token *answer_find(const struct token *map, const char *name);

/* Appends a problem of the answer, "file:line: message". */
void answer_write_problem(struct buf *out, const struct token *problem);

#endif
