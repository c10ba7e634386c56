/* problems.c: see problems.h. */
#include "rules/problems.h"

void problem_show(const struct rule_problem *p, FILE *out)
{
    const char *kind = p->is_warning ? "warning: " : "";
    if (p->line > 0)
        fprintf(out, "%s:%d: %s%s\n", p->file, p->line, kind, p->message);
    else
        fprintf(out, "%s: %s%s\n", p->file, kind, p->message);
}

bool problems_show(const struct rulebook *book, FILE *out)
{
    size_t count;
    const struct rule_problem *problems = rulebook_problems(book, &count);
    for (size_t i = 0; i < count; i++)
        problem_show(&problems[i], out);
    return rulebook_is_sound(book);
}
