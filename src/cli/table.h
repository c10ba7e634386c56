/* table.h: rows of text in aligned columns, for people. */
#ifndef TIDEMILL_CLI_TABLE_H
#define TIDEMILL_CLI_TABLE_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>

enum { TABLE_COLUMNS_MOST = 12 };

/* Zero it, set the number of columns. */
struct table {
    size_t columns;
    struct buf text; /* all cells, each with a NUL behind it */
    size_t cells;
    size_t widths[TABLE_COLUMNS_MOST];
    bool has_no_heading; /* what is to be printed goes on below an earlier part */
};

/* The next cell, row by row; the first row is the heading. Bytes of others are made safe. Only the
 * first line is taken. */
void table_add(struct table *t, const void *bytes, size_t len);
void table_add_text(struct table *t, const char *text);

/* Appends the table to `out`. `width` columns: the last cell of a row is cut there (0: never). */
void table_print(const struct table *t, struct buf *out, size_t width, bool is_coloured);

/* After printing: more rows of the same table follow, at least as wide as so far. */
void table_go_on(struct table *t);

void table_fini(struct table *t);

#endif
