/* report.c: see report.h. It knows of rules only that they have a name and a version, a watermark,
 * and that their other numbers are counts: so what a worker tells more of them needs nothing here.
 */
#include "supervisor/report.h"

#include "base/escape.h"
#include "base/version.h"
#include "codec/json.h"
#include "codec/msgpack.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const struct msgpack_limits LIMITS = {.depth = 16, .elements = 1u << 24};

/* A worker's answer, read. */
struct answer {
    struct buf packed;
    struct tokens tokens;
};

static bool is_text(const struct token *t, const char *text)
{
    return t->type == TOKEN_STRING && t->len == strlen(text) && memcmp(t->bytes, text, t->len) == 0;
}

static bool is_equal(const struct token *a, const struct token *b)
{
    return a != NULL && b != NULL && a->type == TOKEN_STRING && b->type == TOKEN_STRING &&
           a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0;
}

/* The value of `name` in the map at `map`, or NULL. */
static const struct token *find(const struct token *map, const char *name)
{
    const struct token *t = map + 1;
    for (uint32_t i = 0; map->type == TOKEN_MAP && i < map->len; i++) {
        const struct token *value = t + 1;
        if (is_text(t, name))
            return value;
        t = value + value->size;
    }
    return NULL;
}

/* The list `name` of an answer: its first element, and how many there are. */
static const struct token *rows_of(const struct answer *answer, const char *name, uint32_t *count)
{
    const struct token *list = answer->tokens.count > 0 ? find(answer->tokens.list, name) : NULL;
    *count = list != NULL && list->type == TOKEN_ARRAY ? list->len : 0;
    return *count > 0 ? list + 1 : NULL;
}

static void write_number(struct buf *out, const struct token *t)
{
    if (t->type == TOKEN_INT64)
        buf_printf(out, "%lld", (long long)t->i64);
    else if (t->type == TOKEN_UINT64)
        buf_printf(out, "%llu", (unsigned long long)t->u64);
    else
        buf_printf(out, "%.17g", t->number);
}

static void write_value(struct buf *out, const struct token *t)
{
    const struct token *next = t + 1;
    switch (t->type) {
    case TOKEN_STRING:
        escape_json(out, t->bytes, t->len);
        return;
    case TOKEN_TRUE:
        buf_append_text(out, "true");
        return;
    case TOKEN_FALSE:
        buf_append_text(out, "false");
        return;
    case TOKEN_NUMBER:
    case TOKEN_INT64:
    case TOKEN_UINT64:
        write_number(out, t);
        return;
    case TOKEN_ARRAY:
    case TOKEN_MAP:
        buf_append_text(out, t->type == TOKEN_MAP ? "{" : "[");
        for (uint32_t i = 0; i < t->len; i++) {
            buf_append_text(out, i > 0 ? "," : "");
            write_value(out, next);
            next += next->size;
            if (t->type == TOKEN_MAP) {
                buf_append_text(out, ":");
                write_value(out, next);
                next += next->size;
            }
        }
        buf_append_text(out, t->type == TOKEN_MAP ? "}" : "]");
        return;
    default:
        buf_append_text(out, "null");
    }
}

/* ── rules ──────────────────────────────────────────────────────────────────────────────────── */

/* The row of the same rule in an answer, or NULL. */
static const struct token *find_rule(const struct answer *answer, const struct token *rule)
{
    uint32_t count;
    const struct token *row = rows_of(answer, "rules", &count);
    for (uint32_t i = 0; i < count; i++, row += row->size)
        if (is_equal(find(row, "name"), find(rule, "name")) &&
            is_equal(find(row, "version"), find(rule, "version")))
            return row;
    return NULL;
}

/* Numbers of the workers that make one of all. */
enum merging { MERGE_SUM, MERGE_LEAST, MERGE_MOST };

static enum merging merging_of(const char *name)
{
    return strcmp(name, "watermark") == 0          ? MERGE_LEAST
           : strcmp(name, "watermark_lag_ms") == 0 ? MERGE_MOST
                                                   : MERGE_SUM;
}

static double merge(enum merging merging, double a, double b)
{
    return merging == MERGE_SUM ? a + b : (a < b) == (merging == MERGE_LEAST) ? a : b;
}

/* One field of a rule over all workers: numbers become one, true wins, else the first's. */
static void write_field(struct buf *out, const struct answer *answers, size_t count,
                        const struct token *rule, const char *name, const struct token *first)
{
    double number = 0;
    bool has_number = false, is_true = false;
    for (size_t i = 0; i < count; i++) {
        const struct token *row = find_rule(&answers[i], rule);
        const struct token *value = row != NULL ? find(row, name) : NULL;
        if (value != NULL && value->type == TOKEN_NUMBER) {
            number = has_number ? merge(merging_of(name), number, value->number) : value->number;
            has_number = true;
        }
        is_true |= value != NULL && value->type == TOKEN_TRUE;
    }
    if (has_number)
        buf_printf(out, "%.17g", number);
    else if (is_true)
        buf_append_text(out, "true");
    else
        write_value(out, first);
}

/* What the supervisor knows of the version that is to run. */
static void write_version(struct buf *out, const struct versions *versions,
                          const struct token *rule)
{
    const struct token *name = find(rule, "name"), *version = find(rule, "version");
    char text[72];
    if (name == NULL || version == NULL)
        return;
    snprintf(text, sizeof text, "%.*s", (int)name->len, name->bytes);
    const struct finding_rule *facts = findings_rule(&versions->facts, text);
    if (facts == NULL || !is_text(version, facts->version))
        return;
    buf_printf(out, ",\"rolled_back\":%s,\"previous\":",
               versions_is_rolled_back(versions, text) ? "true" : "false");
    const char *previous = versions_previous(versions, text);
    escape_json(out, previous, strlen(previous));
}

static void write_rule(struct buf *out, const struct answer *answers, size_t count,
                       const struct token *rule, const struct versions *versions)
{
    const struct token *t = rule + 1;
    buf_append_text(out, "{");
    for (uint32_t i = 0; i < rule->len; i++) {
        const struct token *value = t + 1;
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)t->len, t->bytes);
        buf_append_text(out, i > 0 ? "," : "");
        write_value(out, t);
        buf_append_text(out, ":");
        write_field(out, answers, count, rule, name, value);
        t = value + value->size;
    }
    write_version(out, versions, rule);
    buf_append_text(out, "}");
}

static void write_rules(struct buf *out, const struct answer *answers, size_t count,
                        const struct versions *versions)
{
    bool is_first = true;
    for (size_t i = 0; i < count; i++) {
        uint32_t rules;
        const struct token *row = rows_of(&answers[i], "rules", &rules);
        for (uint32_t k = 0; k < rules; k++, row += row->size) {
            bool is_told = false;
            for (size_t before = 0; before < i && !is_told; before++)
                is_told = find_rule(&answers[before], row) != NULL;
            if (is_told)
                continue;
            buf_append_text(out, is_first ? "" : ",");
            write_rule(out, answers, count, row, versions);
            is_first = false;
        }
    }
}

/* ── the whole ──────────────────────────────────────────────────────────────────────────────── */

static void write_partitions(struct buf *out, const struct report *r, const struct answer *answers)
{
    bool is_first = true;
    for (size_t i = 0; i < r->count; i++) {
        uint32_t partitions;
        const struct token *row = rows_of(&answers[i], "partitions", &partitions);
        for (uint32_t k = 0; r->workers[i].is_responding && k < partitions; k++) {
            buf_append_text(out, is_first ? "" : ",");
            write_value(out, row);
            row += row->size;
            is_first = false;
        }
    }
}

static bool is_connected(const struct report *r, const struct answer *answers)
{
    bool is_any = false;
    for (size_t i = 0; i < r->count; i++) {
        if (!r->workers[i].is_responding || answers[i].tokens.count == 0)
            continue;
        const struct token *t = find(answers[i].tokens.list, "connected");
        if (t == NULL || t->type != TOKEN_TRUE)
            return false;
        is_any = true;
    }
    return is_any;
}

static void write_workers(struct buf *out, const struct report *r)
{
    for (size_t i = 0; i < r->count; i++) {
        const struct report_worker *w = &r->workers[i];
        buf_printf(out,
                   "%s{\"pid\":%d,\"up_ms\":%llu,\"restarts\":%llu,\"partitions\":%llu,"
                   "\"responding\":%s",
                   i > 0 ? "," : "", w->pid, (unsigned long long)w->up_ms,
                   (unsigned long long)w->restarts, (unsigned long long)w->partitions,
                   w->is_responding ? "true" : "false");
        if (w->refused != NULL) {
            buf_append_text(out, ",\"refused\":");
            escape_json(out, w->refused, strlen(w->refused));
        }
        buf_append_text(out, "}");
    }
}

void report_write(const struct report *r, struct buf *out)
{
    struct answer *answers = calloc(r->count + 1, sizeof *answers);
    if (answers == NULL)
        abort();
    for (size_t i = 0; i < r->count; i++) {
        const struct report_worker *w = &r->workers[i];
        if (w->len > 0 &&
            json_to_msgpack(w->json, w->len, LIMITS.depth, &answers[i].packed, NULL) == 0)
            (void)msgpack_tokens(answers[i].packed.data, answers[i].packed.len, &LIMITS,
                                 &answers[i].tokens, NULL);
    }
    buf_append_text(out, "{\"group\":");
    escape_json(out, r->config->group, strlen(r->config->group));
    buf_append_text(out, ",\"redis\":");
    escape_json(out, r->redis, strlen(r->redis));
    buf_printf(out,
               ",\"connected\":%s,\"pid\":%d,\"version\":\"" TIDEMILL_VERSION
               "\",\"up_ms\":%llu,\"workers\":[",
               is_connected(r, answers) ? "true" : "false", (int)getpid(),
               (unsigned long long)r->up_ms);
    write_workers(out, r);
    buf_append_text(out, "],\"rules\":[");
    write_rules(out, answers, r->count, r->versions);
    buf_append_text(out, "],\"problems\":[");
    findings_write_problems(&r->versions->problems, out);
    buf_append_text(out, "],\"partitions\":[");
    write_partitions(out, r, answers);
    buf_append_text(out, "]}");
    for (size_t i = 0; i < r->count; i++) {
        buf_fini(&answers[i].packed);
        tokens_fini(&answers[i].tokens);
    }
    free(answers);
}
