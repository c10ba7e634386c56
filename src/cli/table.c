/* table.c: see table.h. */
#include "cli/table.h"

#include "base/escape.h"
#include "base/terminal.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

enum { SPACE = 2, CUT_LEAST = 8 };

static size_t columns_of(const char *text)
{
    size_t columns;
    (void)terminal_fit(text, strlen(text), SIZE_MAX, &columns);
    return columns;
}

void table_add(struct table *t, const void *bytes, size_t len)
{
    size_t begin = t->text.len;
    const char *line_end = len == 0 ? NULL : memchr(bytes, '\n', len);
    assert(t->columns > 0 && t->columns <= TABLE_COLUMNS_MOST);
    if (len == 0)
        buf_append(&t->text, "-", 1);
    escape_text(&t->text, bytes, line_end == NULL ? len : (size_t)(line_end - (const char *)bytes));
    buf_append(&t->text, "", 1);
    size_t wide = columns_of(t->text.data + begin), column = t->cells++ % t->columns;
    if (wide > t->widths[column])
        t->widths[column] = wide;
}

void table_add_text(struct table *t, const char *text)
{
    table_add(t, text, strlen(text));
}

static void print_last(struct buf *out, const char *cell, size_t used, size_t width)
{
    if (width < used + CUT_LEAST || columns_of(cell) <= width - used) {
        buf_append_text(out, cell);
        return;
    }
    size_t columns;
    buf_append(out, cell, terminal_fit(cell, strlen(cell), width - used - 1, &columns));
    buf_append_text(out, "…");
}

/* What fills columns in front of an empty last cell is not printed. */
static void drop_blanks(struct buf *out, size_t begin)
{
    while (out->len > begin && out->data[out->len - 1] == ' ')
        out->len--;
}

void table_print(const struct table *t, struct buf *out, size_t width, bool is_coloured)
{
    const char *cell = t->text.data;
    size_t used = 0, begin = out->len;
    for (size_t i = 0; i < t->cells; i++, cell += strlen(cell) + 1) {
        size_t column = i % t->columns;
        bool is_heading = is_coloured && !t->has_no_heading && i < t->columns;
        if (is_heading && column == 0)
            buf_append_text(out, "\033[1m");
        if (column + 1 < t->columns) {
            size_t wide = t->widths[column] + SPACE;
            buf_printf(out, "%s%*s", cell, (int)(wide - columns_of(cell)), "");
            used += wide;
            continue;
        }
        print_last(out, cell, used, width);
        drop_blanks(out, begin);
        buf_append_text(out, is_heading ? "\033[0m\n" : "\n");
        used = 0;
        begin = out->len;
    }
}

void table_go_on(struct table *t)
{
    t->text.len = 0;
    t->cells = 0;
    t->has_no_heading = true;
}

void table_fini(struct table *t)
{
    buf_fini(&t->text);
}
