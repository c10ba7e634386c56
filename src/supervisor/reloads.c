/* reloads.c: see reloads.h. */
#include "supervisor/reloads.h"

#include "base/clock.h"
#include "base/escape.h"
#include "base/log.h"
#include "supervisor/folder.h"
#include "supervisor/validate.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAMES_SHOWN = 10 };

enum reloads_state { RELOADS_RESTING, RELOADS_VALIDATING, RELOADS_SENT };

struct request {
    struct request *next;
    char *rule;     /* to roll back; NULL: to look at the folder */
    bool is_forced; /* somebody asked, not only the folder */
    struct asker **askers;
    size_t asker_count;
};

struct reloads {
    struct loop *loop;
    const struct config *config;
    struct reloads_callbacks callbacks;
    void *context;
    struct folder *folder;
    struct versions versions;
    enum reloads_state state;
    struct request *now, *waiting, **last;
    struct validation *validation;
    struct edition *candidate;
    struct findings problems; /* of the candidate so far */
    struct version_change *changes;
    size_t change_count;
    uint64_t began_ms;
};

static void *must(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

static void begin_next(struct reloads *r);

/* ── telling ────────────────────────────────────────────────────────────────────────────────── */

static void request_destroy(struct request *request)
{
    if (request == NULL)
        return;
    free(request->askers);
    free(request->rule);
    free(request);
}

static void answer(struct reloads *r, const struct buf *json)
{
    for (size_t i = 0; i < r->now->asker_count; i++)
        control_answer(r->now->askers[i], json->data, json->len);
    request_destroy(r->now);
    r->now = NULL;
    r->state = RELOADS_RESTING;
    edition_destroy(r->candidate);
    r->candidate = NULL;
    findings_fini(&r->problems);
    free(r->changes);
    r->changes = NULL;
    r->change_count = 0;
    begin_next(r);
}

static void answer_error(struct reloads *r, const char *text)
{
    struct buf json = {0};
    buf_append_text(&json, "{\"error\":");
    escape_json(&json, text, strlen(text));
    buf_append_text(&json, "}");
    if (r->now->asker_count == 0)
        log_line(LOG_ERROR, "reload_failed", text, NULL);
    answer(r, &json);
    buf_fini(&json);
}

static void write_text(struct buf *json, const char *before, const char *text)
{
    buf_append_text(json, before);
    escape_json(json, text, strlen(text));
}

static void show_problem(const struct rule_problem *problem, char *out, size_t size)
{
    char line[16] = ""; /* none: it is about the whole folder */
    if (problem->line > 0)
        snprintf(line, sizeof line, "%d: ", problem->line);
    snprintf(out, size, "%s:%s%s%s", problem->file, line[0] != '\0' ? "" : " ", line,
             problem->message);
}

static void answer_outcome(struct reloads *r, const struct buf *refusals)
{
    struct buf json = {0};
    buf_printf(&json, "{\"edition\":%llu,\"ms\":%llu,\"changes\":[",
               (unsigned long long)r->versions.number,
               (unsigned long long)(clock_now_ms() - r->began_ms));
    for (size_t i = 0; i < r->change_count; i++) {
        write_text(&json, i > 0 ? ",{\"rule\":" : "{\"rule\":", r->changes[i].name);
        write_text(&json, ",\"from\":", r->changes[i].from);
        write_text(&json, ",\"to\":", r->changes[i].to);
        buf_append_text(&json, "}");
    }
    buf_append_text(&json, "],\"problems\":[");
    /* A rollback is about one rule; what is wrong with the folder is another matter. */
    if (r->now->rule == NULL)
        findings_write_problems(&r->versions.problems, &json);
    buf_append_text(&json, "],\"refusals\":[");
    buf_append(&json, refusals->data, refusals->len);
    buf_append_text(&json, "]}");
    answer(r, &json);
    buf_fini(&json);
}

/* Which rules: those that `want` asks for, a few of many by name. */
static void list_changes(const struct reloads *r, char want, struct buf *out)
{
    size_t count = 0;
    out->len = 0;
    for (size_t i = 0; i < r->change_count; i++) {
        const struct version_change *c = &r->changes[i];
        char kind = c->from[0] == '\0' ? '+' : c->to[0] == '\0' ? '-' : '=';
        if (kind != want || ++count > NAMES_SHOWN)
            continue;
        buf_printf(out, "%s%s", count > 1 ? ", " : "", c->name);
        if (kind == '=')
            buf_printf(out, " %s -> %s", c->from, c->to);
        else
            buf_printf(out, " %s", kind == '+' ? c->to : c->from);
    }
    if (count > NAMES_SHOWN)
        buf_printf(out, " and %zu more", count - NAMES_SHOWN);
}

/* Of the three kinds of change those that there are. */
static void log_changes(const struct reloads *r)
{
    static const char KINDS[] = {'=', '+', '-'};
    static const char *const KEYS[] = {"changed", "added", "removed"};
    struct buf texts[3] = {{0}};
    const char *pairs[6] = {NULL}; /* the first NULL ends the line's */
    size_t count = 0;
    for (size_t i = 0; i < 3; i++) {
        list_changes(r, KINDS[i], &texts[i]);
        if (texts[i].len == 0)
            continue;
        pairs[count++] = KEYS[i];
        pairs[count++] = buf_text(&texts[i]);
    }
    log_line(LOG_INFO, r->now->rule != NULL ? "rolled_back" : "reloaded",
             r->now->rule != NULL ? "the version before runs" : "other rules run", "edition",
             log_number((long long)r->versions.number), "ms",
             log_number((long long)(clock_now_ms() - r->began_ms)), pairs[0], pairs[1], pairs[2],
             pairs[3], pairs[4], pairs[5], NULL);
    for (size_t i = 0; i < 3; i++)
        buf_fini(&texts[i]);
}

static bool is_known_problem(const struct findings *known, const struct rule_problem *problem)
{
    for (size_t i = 0; i < known->problem_count; i++)
        if (strcmp(known->problems[i].file, problem->file) == 0 &&
            strcmp(known->problems[i].message, problem->message) == 0 &&
            known->problems[i].line == problem->line)
            return true;
    return false;
}

/* Each is logged once, until it is mended. */
static void log_problems(const struct reloads *r)
{
    for (size_t i = 0; i < r->problems.problem_count; i++) {
        const struct rule_problem *problem = &r->problems.problems[i];
        char text[2048];
        if (is_known_problem(&r->versions.problems, problem) && !r->now->is_forced)
            continue;
        const struct finding_rule *kept = findings_rule_of_file(&r->versions.facts, problem->unit);
        show_problem(problem, text, sizeof text);
        log_line(LOG_ERROR, "rule_refused", text, "file", problem->unit, "stays",
                 kept != NULL ? kept->version : "nothing", NULL);
    }
}

/* ── the steps ──────────────────────────────────────────────────────────────────────────────── */

void reloads_told(struct reloads *r)
{
    struct buf refusals = {0};
    if (r->state == RELOADS_SENT &&
        r->callbacks.is_everywhere(r->context, r->versions.number, &refusals)) {
        log_changes(r);
        answer_outcome(r, &refusals);
    }
    buf_fini(&refusals);
}

static bool has_same_pins(const struct edition *a, const struct edition *b)
{
    for (size_t i = 0; i < a->count; i++)
        if (a->units[i].is_pinned != b->units[i].is_pinned)
            return false;
    return true;
}

static void set_problems(struct reloads *r)
{
    log_problems(r);
    if (r->now->rule == NULL)
        versions_set_problems(&r->versions, &r->problems);
}

static void run(struct reloads *r, struct findings *found)
{
    static const struct buf nothing = {0};
    struct versions *v = &r->versions;
    set_problems(r);
    if (edition_matches(r->candidate, v->current) && has_same_pins(r->candidate, v->current)) {
        answer_outcome(r, &nothing);
        return;
    }
    r->changes = versions_accept(v, r->candidate, found, r->now->rule != NULL, &r->change_count);
    r->candidate = NULL;
    r->state = RELOADS_SENT;
    r->callbacks.send(r->context, v->current);
}

static void on_validated(void *context, struct findings *found, const struct error *why);

static void validate(struct reloads *r)
{
    r->state = RELOADS_VALIDATING;
    r->validation = validate_begin(r->loop, r->config, r->candidate, on_validated, r);
}

/* The text of before ran, and cannot be loaded now: too little memory, or its name is taken. */
static void answer_no_way_back(struct reloads *r)
{
    char problem[2048], text[2304];
    show_problem(&r->problems.problems[0], problem, sizeof problem);
    snprintf(text, sizeof text, "rule %s stays as it is; with its version before: %s", r->now->rule,
             problem);
    answer_error(r, text);
}

static void on_validated(void *context, struct findings *found, const struct error *why)
{
    static const struct buf nothing = {0};
    struct reloads *r = context;
    r->validation = NULL;
    if (why != NULL) {
        answer_error(r, why->text);
        return;
    }
    enum versions_verdict verdict = versions_judge(&r->versions, r->candidate, found, &r->problems);
    if (verdict != VERSIONS_SOUND && r->now->rule != NULL) {
        answer_no_way_back(r);
        return;
    }
    switch (verdict) {
    case VERSIONS_SOUND:
        run(r, found);
        return;
    case VERSIONS_AGAIN:
        validate(r);
        return;
    case VERSIONS_REFUSED:
        set_problems(r);
        answer_outcome(r, &nothing);
        return;
    }
}

static void look(struct reloads *r)
{
    static const struct buf nothing = {0};
    struct edition *folder;
    struct error why;
    if (r->folder != NULL && r->now->is_forced)
        folder_look(r->folder);
    if (edition_read(r->config->rules, &folder, &why) != 0) {
        struct rule_problem problem = {
            .file = r->config->rules, .unit = "", .other = "", .line = 0, .message = why.text};
        findings_add(&r->problems, &problem);
        set_problems(r);
        answer_outcome(r, &nothing);
        return;
    }
    /* One who asks may know that a mistake was none of the text: memory, or time. */
    if (versions_is_tried(&r->versions, folder) &&
        !(r->now->is_forced && r->versions.problems.problem_count > 0)) {
        edition_destroy(folder);
        if (r->versions.problems.problem_count > 0 &&
            r->versions.problems.problems[0].unit[0] == '\0')
            findings_fini(&r->versions.problems); /* the folder is back as it was */
        answer_outcome(r, &nothing);
        return;
    }
    r->candidate = versions_propose(&r->versions, folder);
    validate(r);
}

static void roll_back(struct reloads *r)
{
    struct error why;
    if (versions_roll_back(&r->versions, r->now->rule, &r->candidate, &why) != 0)
        answer_error(r, why.text);
    else
        validate(r);
}

static void begin_next(struct reloads *r)
{
    if (r->state != RELOADS_RESTING || r->now != NULL || r->waiting == NULL)
        return;
    r->now = r->waiting;
    r->waiting = r->now->next;
    if (r->waiting == NULL)
        r->last = &r->waiting;
    r->began_ms = clock_now_ms();
    r->now->rule != NULL ? roll_back(r) : look(r);
}

/* ── asking ─────────────────────────────────────────────────────────────────────────────────── */

static void add_asker(struct request *request, struct asker *asker)
{
    request->askers =
        must(realloc(request->askers, (request->asker_count + 1) * sizeof(struct asker *)));
    request->askers[request->asker_count++] = asker;
}

static struct request *add_request(struct reloads *r, const char *rule)
{
    struct request *request = must(calloc(1, sizeof *request));
    request->rule = rule != NULL ? must(strdup(rule)) : NULL;
    *r->last = request;
    r->last = &request->next;
    return request;
}

static void ask_to_look(struct reloads *r, bool is_forced, struct asker *asker)
{
    struct request *request = r->waiting;
    while (request != NULL && (request->rule != NULL || request->next != NULL))
        request = request->next; /* the last one, when it is a look, is as good as another */
    if (request == NULL)
        request = add_request(r, NULL);
    request->is_forced |= is_forced;
    if (asker != NULL)
        add_asker(request, asker);
    begin_next(r);
}

void reloads_look(struct reloads *r, struct asker *asker)
{
    ask_to_look(r, true, asker);
}

static void on_change(void *context)
{
    ask_to_look(context, false, NULL);
}

void reloads_roll_back(struct reloads *r, const char *rule, struct asker *asker)
{
    add_asker(add_request(r, rule), asker);
    begin_next(r);
}

const struct versions *reloads_versions(const struct reloads *r)
{
    return &r->versions;
}

/* ── life ───────────────────────────────────────────────────────────────────────────────────── */

struct reloads *reloads_create(struct loop *loop, const struct config *config,
                               struct edition *edition, struct findings *found,
                               const struct reloads_callbacks *callbacks, void *context)
{
    struct reloads *r = must(calloc(1, sizeof *r));
    size_t count;
    *r = (struct reloads){
        .loop = loop, .config = config, .callbacks = *callbacks, .context = context};
    r->last = &r->waiting;
    struct edition *first = versions_propose(&r->versions, edition);
    free(versions_accept(&r->versions, first, found, false, &count));
    return r;
}

void reloads_watch(struct reloads *r)
{
    assert(r->folder == NULL);
    r->folder = folder_open(r->loop, r->config->rules, on_change, r);
    on_change(r); /* what was saved since the start */
}

static void destroy(struct reloads *r)
{
    folder_close(r->folder);
    request_destroy(r->now);
    while (r->waiting != NULL) {
        struct request *next = r->waiting->next;
        request_destroy(r->waiting);
        r->waiting = next;
    }
    edition_destroy(r->candidate);
    findings_fini(&r->problems);
    versions_fini(&r->versions);
    free(r->changes);
    free(r);
}

void reloads_destroy(struct reloads *r)
{
    if (r == NULL)
        return;
    validate_cancel(r->validation);
    destroy(r);
}

void reloads_leave(struct reloads *r)
{
    if (r == NULL)
        return;
    validate_leave(r->validation);
    destroy(r);
}
