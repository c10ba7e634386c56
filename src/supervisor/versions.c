/* versions.c: see versions.h. */
#include "supervisor/versions.h"

#include "base/nearest.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *must(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

/* ── versions of before ─────────────────────────────────────────────────────────────────────── */

static struct version_history *find_history(const struct versions *v, const char *rule)
{
    for (size_t i = 0; i < v->history_count; i++)
        if (strcmp(v->histories[i].name, rule) == 0)
            return &v->histories[i];
    return NULL;
}

static const struct version *peek(const struct versions *v, const char *rule)
{
    const struct version_history *h = find_history(v, rule);
    return h != NULL && h->count > 0 ? &h->list[h->count - 1] : NULL;
}

static void push(struct versions *v, const struct finding_rule *rule,
                 const struct edition_unit *unit)
{
    struct version_history *h = find_history(v, rule->name);
    if (h == NULL) {
        v->histories = must(realloc(v->histories, (v->history_count + 1) * sizeof *v->histories));
        h = &v->histories[v->history_count++];
        *h = (struct version_history){0};
        snprintf(h->name, sizeof h->name, "%s", rule->name);
    }
    if (h->count == VERSIONS_KEPT) {
        edition_destroy(h->list[0].unit);
        memmove(h->list, h->list + 1, --h->count * sizeof *h->list);
    }
    struct version *kept = &h->list[h->count++];
    *kept = (struct version){.unit = edition_create(0), .state_version = rule->state_version};
    edition_put(kept->unit, unit);
    snprintf(kept->version, sizeof kept->version, "%s", rule->version);
}

static void pop(struct versions *v, const char *rule)
{
    struct version_history *h = find_history(v, rule);
    assert(h != NULL && h->count > 0);
    edition_destroy(h->list[--h->count].unit);
}

void versions_fini(struct versions *v)
{
    edition_destroy(v->current);
    edition_destroy(v->folder);
    findings_fini(&v->facts);
    findings_fini(&v->problems);
    for (size_t i = 0; i < v->history_count; i++)
        while (v->histories[i].count > 0)
            pop(v, v->histories[i].name);
    free(v->histories);
    *v = (struct versions){0};
}

/* ── proposing ──────────────────────────────────────────────────────────────────────────────── */

bool versions_is_tried(const struct versions *v, const struct edition *folder)
{
    return v->folder != NULL && edition_matches(v->folder, folder);
}

static bool has_same_text(const struct edition_unit *a, const struct edition_unit *b)
{
    return a != NULL && b != NULL && a->file.len == b->file.len &&
           memcmp(a->file.text, b->file.text, a->file.len) == 0;
}

struct edition *versions_propose(struct versions *v, struct edition *folder)
{
    struct edition *candidate = edition_copy(folder);
    for (size_t i = 0; i < folder->count; i++) {
        const char *name = folder->units[i].file.name;
        const struct edition_unit *runs =
            v->current != NULL ? edition_find(v->current, name) : NULL;
        if (runs != NULL && runs->is_pinned &&
            has_same_text(edition_find(v->folder, name), &folder->units[i]))
            edition_put(candidate, runs); /* (4) */
    }
    edition_destroy(v->folder);
    v->folder = folder;
    return candidate;
}

int versions_roll_back(struct versions *v, const char *rule, struct edition **candidate,
                       struct error *error)
{
    const struct finding_rule *runs = findings_rule(&v->facts, rule);
    if (runs == NULL) {
        struct nearest near;
        nearest_init(&near, rule);
        for (size_t i = 0; i < v->facts.rule_count; i++)
            nearest_offer(&near, v->facts.rules[i].name);
        return error_set(error, ERROR_USAGE, "there is no rule named '%s'%s%s%s", rule,
                         near.name != NULL ? "; did you mean '" : "",
                         near.name != NULL ? near.name : "", near.name != NULL ? "'?" : "");
    }
    const struct version *before = peek(v, rule);
    if (before == NULL)
        return error_set(error, ERROR_USAGE,
                         "rule %s has no version before %s: none has run since the engine started",
                         rule, runs->version);
    if (before->state_version != runs->state_version)
        return error_set(error, ERROR_USAGE,
                         "rule %s keeps its states as version %d, and the version before (%s) as "
                         "%d: it could not read them; edit the rule instead",
                         rule, runs->state_version, before->version, before->state_version);
    struct edition_unit unit = before->unit->units[0];
    if (strcmp(unit.file.name, runs->file) != 0)
        return error_set(error, ERROR_USAGE,
                         "rule %s was in %s then and is in %s now; edit the rule instead", rule,
                         unit.file.name, runs->file);
    *candidate = edition_copy(v->current);
    unit.is_pinned = true;
    edition_put(*candidate, &unit);
    return 0;
}

/* ── judging ────────────────────────────────────────────────────────────────────────────────── */

static bool is_changed(const struct versions *v, const struct edition *candidate, const char *name)
{
    const struct edition_unit *new = edition_find(candidate, name);
    const struct edition_unit *runs = v->current != NULL ? edition_find(v->current, name) : NULL;
    return new != NULL && (runs == NULL || !edition_units_match(new, runs));
}

enum versions_verdict versions_judge(const struct versions *v, struct edition *candidate,
                                     const struct findings *found, struct findings *problems)
{
    enum versions_verdict verdict = VERSIONS_SOUND;
    struct edition *as_it_was = edition_copy(candidate);
    for (size_t i = 0; i < found->problem_count; i++) {
        struct rule_problem problem = found->problems[i];
        char message[512], file[4096];
        if (problem.is_warning)
            continue;
        const char *refused = problem.unit;
        if (problem.other[0] != '\0' && !is_changed(v, as_it_was, problem.unit) &&
            is_changed(v, as_it_was, problem.other)) { /* (2) */
            size_t folder = strlen(problem.file) - strlen(problem.unit);
            const struct finding_rule *rule = findings_rule_of_file(found, problem.other);
            refused = problem.other;
            snprintf(file, sizeof file, "%.*s%s", (int)folder, problem.file, refused);
            snprintf(message, sizeof message, "a rule named '%s' is already in %s",
                     rule != NULL ? rule->name : "", problem.unit);
            problem.other = problem.unit;
            problem.unit = refused;
            problem.file = file;
            problem.message = message;
            problem.line = 1;
            problem.column = problem.width = 0;
            problem.text = NULL; /* it is of the other file */
        }
        findings_add(problems, &problem);
        if (!is_changed(v, as_it_was, refused)) { /* (3), or it is of no file */
            verdict = VERSIONS_REFUSED;
            continue;
        }
        const struct edition_unit *runs =
            v->current != NULL ? edition_find(v->current, refused) : NULL;
        if (runs != NULL)
            edition_put(candidate, runs);
        else
            edition_remove(candidate, refused);
        if (verdict == VERSIONS_SOUND)
            verdict = VERSIONS_AGAIN;
    }
    edition_destroy(as_it_was);
    return verdict;
}

/* ── accepting ──────────────────────────────────────────────────────────────────────────────── */

static void add_change(struct version_change **list, size_t *count, const char *name,
                       const char *from, const char *to)
{
    *list = must(realloc(*list, (*count + 1) * sizeof **list));
    struct version_change *change = &(*list)[(*count)++];
    snprintf(change->name, sizeof change->name, "%s", name);
    snprintf(change->from, sizeof change->from, "%s", from);
    snprintf(change->to, sizeof change->to, "%s", to);
}

struct version_change *versions_accept(struct versions *v, struct edition *candidate,
                                       struct findings *found, bool is_rollback, size_t *count)
{
    struct version_change *changes = NULL;
    *count = 0;
    for (size_t i = 0; i < v->facts.rule_count; i++) {
        const struct finding_rule *was = &v->facts.rules[i];
        const struct finding_rule *is = findings_rule(found, was->name);
        if (is != NULL && strcmp(is->version, was->version) == 0)
            continue;
        add_change(&changes, count, was->name, was->version, is != NULL ? is->version : "");
        if (is_rollback)
            pop(v, was->name);
        else
            push(v, was, edition_find(v->current, was->file));
    }
    for (size_t i = 0; i < found->rule_count; i++)
        if (findings_rule(&v->facts, found->rules[i].name) == NULL)
            add_change(&changes, count, found->rules[i].name, "", found->rules[i].version);
    candidate->number = ++v->number;
    edition_destroy(v->current);
    v->current = candidate;
    findings_fini(&v->facts);
    v->facts = *found;
    *found = (struct findings){0};
    return changes;
}

void versions_set_problems(struct versions *v, struct findings *problems)
{
    findings_fini(&v->problems);
    v->problems = *problems;
    *problems = (struct findings){0};
}

bool versions_is_rolled_back(const struct versions *v, const char *rule)
{
    const struct finding_rule *runs = findings_rule(&v->facts, rule);
    const struct edition_unit *unit = runs != NULL ? edition_find(v->current, runs->file) : NULL;
    return unit != NULL && unit->is_pinned;
}

const char *versions_previous(const struct versions *v, const char *rule)
{
    const struct version *before = peek(v, rule);
    return before != NULL ? before->version : "";
}
