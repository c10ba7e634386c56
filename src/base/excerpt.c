/* excerpt.c: see excerpt.h. Bytes and columns of the terminal differ (tabs, UTF-8, escapes), so a
 * line is walked cell by cell: once to see where the word lies, once to show what fits. */
#include "base/excerpt.h"

#include "base/escape.h"
#include "base/terminal.h"

#include <stdio.h>

enum { TAB = 4, WIDE = 90, BEFORE = 30 }; /* columns: of a tab, of a line, before a word */

#define RED "\33[31;1m"
#define DIM "\33[2m"
#define PLAIN "\33[0m"

/* What a terminal shows of one character. */
struct cell {
    char text[8];
    size_t bytes, columns;
};

static struct cell cell_at(const char *at, size_t left, size_t column)
{
    struct cell c = {.bytes = 1};
    size_t size = escape_utf8_len(at, left);
    struct buf escaped = {0};
    if (*at == '\t') {
        c.columns = TAB - column % TAB;
        snprintf(c.text, sizeof c.text, "%*s", (int)c.columns, "");
        return c;
    }
    c.bytes = size == 0 ? 1 : size;
    escape_text(&escaped, at, c.bytes);
    snprintf(c.text, sizeof c.text, "%s", buf_text(&escaped));
    bool is_shown = size > 1 && escaped.len == size; /* else it is plain, or escaped */
    c.columns = is_shown ? terminal_columns(at, size) : strlen(c.text);
    buf_fini(&escaped);
    return c;
}

/* In columns, from 0 on. */
struct span {
    size_t from, to;
};

static struct span word_of(const struct excerpt *e, size_t len, size_t *total)
{
    size_t first = e->column > 0 ? (size_t)e->column - 1 : 0;
    size_t last = first + (size_t)(e->width > 0 ? e->width : 1);
    struct span word = {0};
    size_t column = 0;
    for (size_t i = 0; i < len;) {
        struct cell c = cell_at(e->text + i, len - i, column);
        if (i <= first)
            word.from = column;
        column += c.columns;
        i += c.bytes;
        if (i <= last)
            word.to = column;
    }
    if (first >= len) /* behind the end: what is missing there */
        word.from = column;
    if (word.to <= word.from)
        word.to = word.from + 1;
    *total = column;
    return word;
}

/* The part of the line that is shown: all of it, or what lies around the word. */
static struct span view_of(struct span word, size_t total)
{
    struct span view = {.from = 0, .to = total};
    if (total <= WIDE)
        return view;
    view.from = word.to <= WIDE ? 0 : word.from - (word.from < BEFORE ? word.from : BEFORE);
    if (view.from + WIDE > total)
        view.from = total - WIDE;
    view.to = view.from + WIDE;
    return view;
}

static void append_line(struct buf *out, const struct excerpt *e, size_t len, struct span view,
                        size_t total)
{
    size_t column = 0;
    bool has_base = false; /* for a character of no columns: the one that it joins is shown */
    if (view.from > 0)
        buf_append_text(out, "...");
    for (size_t i = 0; i < len;) {
        struct cell c = cell_at(e->text + i, len - i, column);
        if (column >= view.to && c.columns > 0)
            break;
        if (c.columns > 0)
            has_base = column >= view.from && column + c.columns <= view.to;
        if (has_base)
            buf_append_text(out, c.text);
        else if (column + c.columns > view.from) /* a cell on the edge: as many blanks */
            for (size_t k = column; k < column + c.columns; k++)
                buf_append(out, " ", k >= view.from && k < view.to);
        column += c.columns;
        i += c.bytes;
    }
    buf_append_text(out, view.to < total ? "...\n" : "\n");
}

static void append_carets(struct buf *out, struct span word, struct span view, size_t total)
{
    if (view.from > 0)
        buf_append_text(out, "   ");
    size_t stop = word.to > view.to && view.to < total ? view.to : word.to;
    for (size_t i = view.from; i < stop; i++)
        buf_append(out, i < word.from ? " " : "^", 1);
}

static bool is_blank(const char *text)
{
    return text == NULL || text[strspn(text, " \t\r\n")] == '\0';
}

void excerpt_append(struct buf *out, const struct excerpt *e, bool is_coloured)
{
    if (e->line <= 0 || is_blank(e->text))
        return;
    char number[32];
    size_t len = strlen(e->text), total;
    struct span word = word_of(e, len, &total), view = view_of(word, total);
    const char *dim = is_coloured ? DIM : "", *plain = is_coloured ? PLAIN : "";
    int wide = snprintf(number, sizeof number, "%5d", e->line);
    buf_printf(out, "%s%s |%s ", dim, number, plain);
    append_line(out, e, len, view, total);
    if (e->column <= 0)
        return;
    buf_printf(out, "%s%*s |%s %s", dim, wide, "", plain, is_coloured ? RED : "");
    append_carets(out, word, view, total);
    buf_printf(out, "%s\n", plain);
}
