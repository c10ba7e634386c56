/* findings.h: what loading an edition found: its rules and its problems, as one process can tell
 * another. */
#ifndef TIDEMILL_SUPERVISOR_FINDINGS_H
#define TIDEMILL_SUPERVISOR_FINDINGS_H

#include "base/arena.h"
#include "base/buf.h"
#include "rules/rulebook.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct finding_rule {
    const char *name, *version, *file;
    int state_version;
};

/* Begins as zeroes. */
struct findings {
    struct arena memory;
    struct rule_problem *problems; /* and warnings, behind them */
    size_t problem_count;
    struct finding_rule *rules;
    size_t rule_count;
};

void findings_fini(struct findings *f);

/* Adds a copy. */
void findings_add(struct findings *f, const struct rule_problem *problem);

const struct finding_rule *findings_rule(const struct findings *f, const char *name);
const struct finding_rule *findings_rule_of_file(const struct findings *f, const char *file);

/* All that a book tells. */
void findings_of(const struct rulebook *book, struct findings *out);

/* Problems and warnings as lines for people. True when there are no problems but warnings. */
bool findings_show(const struct findings *f, FILE *out);

/* The problems as objects of JSON with commas between: { "file", "line", "message" }. */
void findings_write_problems(const struct findings *f, struct buf *out);

void findings_write(const struct findings *f, struct buf *out);

/* False: these are no whole findings; `out` is then as it was. */
bool findings_parse(const char *bytes, size_t len, struct findings *out);

#endif
