/* excerpt.h: a line of a source with a caret under the word meant, for people:
 *
 *    12 |   strem = "cart",
 *       |   ^^^^^
 */
#ifndef TIDEMILL_BASE_EXCERPT_H
#define TIDEMILL_BASE_EXCERPT_H

#include "base/buf.h"

#include <stdbool.h>

/* Where a word stands in a source. */
struct excerpt {
    const char *text;  /* of the line, without its end; NULL: unknown */
    int line;          /* from 1 on; 0: unknown */
    int column, width; /* in bytes, from 1 on; 0: unknown */
};

/* Appends the two lines, each with its newline. A line that is too long for a terminal is cut
 * around the word; control characters and bytes that are no UTF-8 are escaped, tabs become spaces,
 * and the caret stays under the word. Without a column there is no caret; without a text, or with a
 * blank one, nothing at all. */
void excerpt_append(struct buf *out, const struct excerpt *e, bool is_coloured);

#endif
