/* problems.c: see problems.h. */
#include "rules/problems.h"

#include "base/escape.h"
#include "base/excerpt.h"
#include "base/terminal.h"

#include <string.h>

#define BOLD "\33[1m"
#define YELLOW "\33[33;1m"
#define PLAIN "\33[0m"

static void append_safe(struct buf *out, const char *text)
{
    escape_text(out, text, strlen(text));
}

/* One line, whatever names and messages hold. */
static void append_sentence(struct buf *out, const struct rule_problem *p, bool is_coloured)
{
    buf_append_text(out, is_coloured ? BOLD : "");
    append_safe(out, p->file);
    if (p->line > 0)
        buf_printf(out, ":%d", p->line);
    buf_append_text(out, is_coloured ? ":" PLAIN " " : ": ");
    if (p->is_warning)
        buf_append_text(out, is_coloured ? YELLOW "warning:" PLAIN " " : "warning: ");
    append_safe(out, p->message);
    buf_append(out, "\n", 1);
}

void problem_show(const struct rule_problem *p, FILE *out)
{
    struct buf text = {0};
    bool is_coloured = terminal_has_colour(fileno(out));
    struct excerpt excerpt = {
        .text = p->text, .line = p->line, .column = p->column, .width = p->width};
    append_sentence(&text, p, is_coloured);
    excerpt_append(&text, &excerpt, is_coloured);
    fwrite(text.data, 1, text.len, out);
    buf_fini(&text);
}

bool problem_is_repeated(const struct rule_problem *problems, size_t i)
{
    const struct rule_problem *p = &problems[i];
    for (size_t k = i; k-- > 0;) {
        const struct rule_problem *other = &problems[k];
        if (other->line != p->line || strcmp(other->file, p->file) != 0)
            return false;
        if (other->is_warning == p->is_warning && strcmp(other->message, p->message) == 0)
            return true;
    }
    return false;
}

bool problems_show(const struct rulebook *book, FILE *out)
{
    size_t count;
    const struct rule_problem *problems = rulebook_problems(book, &count);
    for (size_t i = 0; i < count; i++)
        if (!problem_is_repeated(problems, i))
            problem_show(&problems[i], out);
    return rulebook_is_sound(book);
}

void problem_write(const struct rule_problem *p, struct buf *out)
{
    buf_append_text(out, "{\"file\":");
    escape_json(out, p->file, strlen(p->file));
    buf_printf(out, ",\"line\":%d", p->line);
    if (p->column > 0)
        buf_printf(out, ",\"column\":%d,\"end_column\":%d", p->column, p->column + p->width);
    buf_printf(out, ",\"severity\":\"%s\",\"message\":", p->is_warning ? "warning" : "error");
    escape_json(out, p->message, strlen(p->message));
    buf_append(out, "}", 1);
}
