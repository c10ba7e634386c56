/* lines.h: the lines of a file or pipe, in bounded memory. */
#ifndef TIDEMILL_CLI_LINES_H
#define TIDEMILL_CLI_LINES_H

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

enum { LINES_LONGEST = 16 * 1024 * 1024 };

/* Zero it, set fd. */
struct lines {
    int fd;
    int wake_fd;       /* readable: reading ends with EINTR, also while it waits; 0: none */
    uint64_t number;   /* of the line last given, from 1 */
    struct buf buffer; /* what was read; */
    size_t at;         /* ... so far it was given out */
    size_t searched;   /* ... so far it is known to have no line feed */
    bool is_over;      /* the file has ended */
    bool is_skipping;  /* inside a line that is too long */
};

enum lines_result { LINES_LINE, LINES_TOO_LONG, LINES_END, LINES_FAILED };

/* The next line, without its line feed, valid until the next call. A line over LINES_LONGEST is
 * passed over and counted. FAILED: errno says why; EINTR: it was woken. */
enum lines_result lines_next(struct lines *l, const char **text, size_t *len);

/* Would lines_next have to wait for the writer of a pipe now? */
bool lines_would_wait(const struct lines *l);

void lines_fini(struct lines *l);

#endif
