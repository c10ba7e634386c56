/* findings.c: see findings.h. As bytes: two counts, then texts that each end with NUL, and numbers
 * as texts. */
#include "supervisor/findings.h"

#include "base/escape.h"
#include "rules/problems.h"

#include <stdlib.h>
#include <string.h>

static const char *keep(struct findings *f, const char *text)
{
    size_t len = strlen(text) + 1;
    return memcpy(arena_alloc(&f->memory, len), text, len);
}

void findings_fini(struct findings *f)
{
    arena_fini(&f->memory);
    free(f->problems);
    free(f->rules);
    *f = (struct findings){0};
}

void findings_add(struct findings *f, const struct rule_problem *problem)
{
    f->problems = realloc(f->problems, (f->problem_count + 1) * sizeof *f->problems);
    if (f->problems == NULL)
        abort();
    f->problems[f->problem_count++] = (struct rule_problem){
        .file = keep(f, problem->file),
        .unit = keep(f, problem->unit),
        .other = keep(f, problem->other),
        .line = problem->line,
        .column = problem->column,
        .width = problem->width,
        .text = keep(f, problem->text != NULL ? problem->text : ""),
        .message = keep(f, problem->message),
        .is_warning = problem->is_warning,
    };
}

static void add_rule(struct findings *f, const char *name, const char *version, const char *file,
                     int state_version)
{
    f->rules = realloc(f->rules, (f->rule_count + 1) * sizeof *f->rules);
    if (f->rules == NULL)
        abort();
    f->rules[f->rule_count++] = (struct finding_rule){
        .name = keep(f, name),
        .version = keep(f, version),
        .file = keep(f, file),
        .state_version = state_version,
    };
}

const struct finding_rule *findings_rule(const struct findings *f, const char *name)
{
    for (size_t i = 0; i < f->rule_count; i++)
        if (strcmp(f->rules[i].name, name) == 0)
            return &f->rules[i];
    return NULL;
}

const struct finding_rule *findings_rule_of_file(const struct findings *f, const char *file)
{
    for (size_t i = 0; i < f->rule_count; i++)
        if (strcmp(f->rules[i].file, file) == 0)
            return &f->rules[i];
    return NULL;
}

void findings_of(const struct rulebook *book, struct findings *out)
{
    size_t count;
    const struct rule_problem *problems = rulebook_problems(book, &count);
    for (size_t i = 0; i < count; i++)
        findings_add(out, &problems[i]);
    for (size_t i = 0; i < rulebook_count(book); i++) {
        const struct rule_info *rule = rulebook_loaded_rule(book, i);
        add_rule(out, rule->name, rule->version, rule->file, rule->state_version);
    }
}

void findings_write_problems(const struct findings *f, struct buf *out)
{
    for (size_t i = 0; i < f->problem_count; i++) {
        const struct rule_problem *p = &f->problems[i];
        buf_append_text(out, i > 0 ? ",{\"file\":" : "{\"file\":");
        escape_json(out, p->file, strlen(p->file));
        buf_printf(out, ",\"line\":%d,\"message\":", p->line);
        escape_json(out, p->message, strlen(p->message));
        buf_append_text(out, "}");
    }
}

bool findings_show(const struct findings *f, FILE *out)
{
    bool is_sound = true;
    for (size_t i = 0; i < f->problem_count; i++) {
        problem_show(&f->problems[i], out);
        is_sound &= f->problems[i].is_warning;
    }
    return is_sound;
}

static void put(struct buf *out, const char *text)
{
    buf_append(out, text, strlen(text) + 1);
}

static void put_number(struct buf *out, size_t number)
{
    buf_printf(out, "%zu", number);
    buf_append(out, "", 1);
}

void findings_write(const struct findings *f, struct buf *out)
{
    put_number(out, f->problem_count);
    put_number(out, f->rule_count);
    for (size_t i = 0; i < f->problem_count; i++) {
        const struct rule_problem *problem = &f->problems[i];
        put(out, problem->file);
        put(out, problem->unit);
        put(out, problem->other);
        put_number(out, (size_t)problem->line);
        put_number(out, (size_t)problem->column);
        put_number(out, (size_t)problem->width);
        put(out, problem->text);
        put(out, problem->message);
        put_number(out, problem->is_warning);
    }
    for (size_t i = 0; i < f->rule_count; i++) {
        put(out, f->rules[i].name);
        put(out, f->rules[i].version);
        put(out, f->rules[i].file);
        put_number(out, (size_t)f->rules[i].state_version);
    }
    put(out, "end");
}

struct texts {
    const char *at, *end;
};

static const char *take(struct texts *from)
{
    const char *text = from->at;
    const char *nul =
        text != NULL && text < from->end ? memchr(text, '\0', (size_t)(from->end - text)) : NULL;
    from->at = nul != NULL ? nul + 1 : NULL;
    return nul != NULL ? text : "";
}

bool findings_parse(const char *bytes, size_t len, struct findings *out)
{
    struct texts from = {.at = bytes, .end = bytes + len};
    struct findings f = {0};
    size_t problems = strtoul(take(&from), NULL, 10), rules = strtoul(take(&from), NULL, 10);
    for (size_t i = 0; i < problems && from.at != NULL; i++) {
        struct rule_problem problem = {0};
        problem.file = take(&from);
        problem.unit = take(&from);
        problem.other = take(&from);
        problem.line = atoi(take(&from));
        problem.column = atoi(take(&from));
        problem.width = atoi(take(&from));
        problem.text = take(&from);
        problem.message = take(&from);
        problem.is_warning = take(&from)[0] == '1';
        findings_add(&f, &problem);
    }
    for (size_t i = 0; i < rules && from.at != NULL; i++) {
        const char *name = take(&from), *version = take(&from), *file = take(&from);
        add_rule(&f, name, version, file, atoi(take(&from)));
    }
    if (from.at == NULL || strcmp(take(&from), "end") != 0) {
        findings_fini(&f);
        return false;
    }
    *out = f;
    return true;
}
