/* problems.c: see problems.h. */
#include "cli/problems.h"

bool problems_show(const struct rulebook *book, FILE *out)
{
    size_t count;
    const struct rule_problem *problems = rulebook_problems(book, &count);
    for (size_t i = 0; i < count; i++) {
        const struct rule_problem *p = &problems[i];
        if (p->line > 0)
            fprintf(out, "%s:%d: %s%s\n", p->file, p->line, p->is_warning ? "warning: " : "",
                    p->message);
        else
            fprintf(out, "%s: %s%s\n", p->file, p->is_warning ? "warning: " : "", p->message);
    }
    return rulebook_is_sound(book);
}
