/* output.h: results to standard output, whole or with an error. */
#ifndef TIDEMILL_CLI_OUTPUT_H
#define TIDEMILL_CLI_OUTPUT_H

#include "base/buf.h"
#include "base/error.h"

/* Writes all of `out` and empties it. When the reader has gone the process ends by SIGPIPE, as a
 * filter should. Error: ERROR_SYSTEM (disk full). */
int output_write(struct buf *out, struct error *error);

#endif
