/* problems.c: see problems.h. */
#include "rules/problems.h"

#include <string.h>

void problem_show(const struct rule_problem *p, FILE *out)
{
    const char *kind = p->is_warning ? "warning: " : "";
    if (p->line > 0)
        fprintf(out, "%s:%d: %s%s\n", p->file, p->line, kind, p->message);
    else
        fprintf(out, "%s: %s%s\n", p->file, kind, p->message);
}

/* A mistake in a file that several rules require is one of each of them; people are told once. In
 * the order of files and lines. */
static bool is_repeated(const struct rule_problem *problems, size_t i)
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
        if (!is_repeated(problems, i))
            problem_show(&problems[i], out);
    return rulebook_is_sound(book);
}
