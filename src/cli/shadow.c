/* shadow.c: `tidemill shadow`: what shadow rules would have done. All records of a rule are read,
 * since the sums are over all; of the records themselves the newest are shown. */
#include "base/escape.h"
#include "base/nearest.h"
#include "base/terminal.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/partitions.h"
#include "cli/shadow_sums.h"
#include "redis/client.h"
#include "rules/note.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { PAGE_RECORDS = 500 };

static const char PREFIX[] = "shadow:"; /* of a shadow rule's name, and of the key */
enum { PREFIX_LEN = sizeof PREFIX - 1 };

struct view_list {
    struct shadow_view *list;
    size_t count, room;
};

struct names {
    char (*list)[RULE_NAME]; /* of shadow rules, without the prefix */
    size_t count;
};

struct shadow_command {
    const struct config *config;
    struct client *client;
    struct partitions partitions;
    struct arena texts; /* of rows and halves */
    struct view_list rows, halves;
    struct shadow_sums sums;
};

static void add_view(struct view_list *l, const struct shadow_view *view)
{
    if (l->count == l->room) {
        l->room = l->room > 0 ? l->room * 2 : 64;
        l->list = realloc(l->list, l->room * sizeof *l->list);
        if (l->list == NULL)
            abort();
    }
    l->list[l->count++] = *view;
}

/* -- Which shadow rules there are -- */

static int compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* PREFIX-OF-A-PARTITION shadow:RULE. */
static void add_found(struct names *names, const struct partitions *partitions,
                      const struct reply *key)
{
    for (size_t i = 0; i < partitions->count; i++) {
        const struct buf *prefix = &partitions->list[i].prefix;
        if (key->len <= prefix->len + PREFIX_LEN ||
            memcmp(key->text, prefix->data, prefix->len) != 0 ||
            memcmp(key->text + prefix->len, PREFIX, PREFIX_LEN) != 0 ||
            !cli_is_rule_name(key->text + prefix->len))
            continue;
        const char *name = key->text + prefix->len + PREFIX_LEN;
        for (size_t k = 0; k < names->count; k++)
            if (strcmp(names->list[k], name) == 0)
                return;
        names->list = realloc(names->list, (names->count + 1) * sizeof *names->list);
        if (names->list == NULL)
            abort();
        snprintf(names->list[names->count++], RULE_NAME, "%s", name);
        return;
    }
}

static int find_names(struct shadow_command *s, struct names *names, struct error *error)
{
    struct buf pattern = {0};
    char cursor[32] = "0";
    int code;
    buf_printf(&pattern, "tidemill:*%s:%s*", s->config->group, PREFIX);
    do {
        const struct reply *reply;
        code = client_call(s->client, &reply, error, "SCAN", cursor, "MATCH", buf_text(&pattern),
                           "COUNT", "5000", NULL);
        if (code == 0 && reply->type != REPLY_ARRAY)
            code = error_set(error, ERROR_REPLY,
                             "cannot look for the shadow rules of %s (name one): Redis says %s",
                             s->config->group,
                             reply->type == REPLY_ERROR ? reply->text : "something unexpected");
        if (code != 0)
            break;
        snprintf(cursor, sizeof cursor, "%s", reply->elements[0]->text);
        for (uint32_t i = 0; i < reply->elements[1]->count; i++)
            add_found(names, &s->partitions, reply->elements[1]->elements[i]);
    } while (strcmp(cursor, "0") != 0);
    buf_fini(&pattern);
    if (names->count > 0)
        qsort(names->list, names->count, sizeof *names->list, compare_names);
    return code;
}

/* -- Reading the records of a rule -- */

static bool is_wanted(const struct shadow_command *s, const struct shadow_view *view)
{
    return !s->config->shadow.is_different || shadow_view_verdict(view) != SHADOW_IS_SAME;
}

/* `rows_before`: how many of the partition there are already; what is read is ever older. */
static void take(struct shadow_command *s, const struct shadow_view *view, size_t rows_before)
{
    size_t most = s->config->count > 0 ? (size_t)s->config->count : SIZE_MAX;
    if (shadow_view_is_half(view)) {
        struct shadow_view half = shadow_view_copy(view, &s->texts);
        add_view(&s->halves, &half);
        return;
    }
    shadow_sums_add(&s->sums, view);
    if (!is_wanted(s, view) || s->rows.count - rows_before >= most)
        return;
    struct shadow_view row = shadow_view_copy(view, &s->texts);
    add_view(&s->rows, &row);
}

static int compare_halves(const void *a, const void *b)
{
    return shadow_view_compare_halves(a, b);
}

/* Halves that found each other are one record; the others stay what they are. */
static void take_halves(struct shadow_command *s)
{
    struct view_list *halves = &s->halves;
    if (halves->count > 0)
        qsort(halves->list, halves->count, sizeof *halves->list, compare_halves);
    for (size_t i = 0; i < halves->count; i++) {
        struct shadow_view view = halves->list[i];
        if (i + 1 < halves->count && shadow_view_compare_halves(&view, &halves->list[i + 1]) == 0 &&
            shadow_view_verdict(&view) != shadow_view_verdict(&halves->list[i + 1])) {
            view = shadow_view_join(&view, &halves->list[i + 1]);
            i++;
        }
        shadow_sums_add(&s->sums, &view);
        if (is_wanted(s, &view))
            add_view(&s->rows, &view);
    }
    halves->count = 0;
}

static int read_partition(struct shadow_command *s, const struct keys *keys, const char *rule,
                          struct error *error)
{
    struct buf key = {0};
    char end[64] = "+", count[16];
    size_t rows_before = s->rows.count;
    uint32_t got;
    int code;
    buf_append(&key, keys->prefix.data, keys->prefix.len);
    buf_printf(&key, "%s%s", PREFIX, rule);
    snprintf(count, sizeof count, "%d", PAGE_RECORDS);
    do {
        const struct reply *reply;
        const char *argv[] = {"XREVRANGE", buf_text(&key), end, "-", "COUNT", count};
        size_t lens[] = {9, key.len, strlen(end), 1, 5, strlen(count)};
        code = client_call_argv(s->client, 6, argv, lens, &reply, error);
        if (code == 0 && reply->type != REPLY_ARRAY)
            code = error_set(error, ERROR_REPLY, "cannot read %s: Redis says %s", buf_text(&key),
                             reply->type == REPLY_ERROR ? reply->text : "something unexpected");
        got = code == 0 ? reply->count : 0;
        for (uint32_t i = 0; i < got; i++) {
            struct shadow_view view;
            if (!shadow_view_read(&view, keys, reply->elements[i]))
                continue;
            take(s, &view, rows_before);
            snprintf(end, sizeof end, "(%llu-%llu", view.ms, view.sequence);
        }
    } while (got == PAGE_RECORDS);
    buf_fini(&key);
    take_halves(s);
    return code;
}

static void forget_rule(struct shadow_command *s)
{
    s->rows.count = s->halves.count = 0;
    arena_reset(&s->texts, 1 << 20);
    shadow_sums_fini(&s->sums);
}

static int read_rule(struct shadow_command *s, const char *rule, struct error *error)
{
    int code = 0;
    forget_rule(s);
    for (size_t i = 0; code == 0 && i < s->partitions.count; i++)
        code = read_partition(s, &s->partitions.list[i], rule, error);
    return code;
}

/* -- One rule -- */

static int compare_newest_first(const void *a, const void *b)
{
    const struct shadow_view *x = a, *y = b;
    if (x->ms != y->ms)
        return x->ms > y->ms ? -1 : 1;
    return (x->sequence < y->sequence) - (x->sequence > y->sequence);
}

static size_t terminal_width(void)
{
    struct winsize size;
    if (!terminal_is_watched(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0)
        return 0;
    return size.ws_col;
}

static void append_rows(struct shadow_command *s, size_t count, struct buf *out)
{
    struct table table = {0};
    bool has_partition = false;
    for (size_t i = 0; i < s->partitions.count; i++)
        has_partition = has_partition || s->partitions.list[i].tag.len > 0;
    shadow_view_add_heading(&table, has_partition);
    for (size_t i = 0; i < count; i++)
        shadow_view_add_row(&s->rows.list[i], &table, has_partition);
    if (count > 0)
        table_print(&table, out, terminal_width(), terminal_has_colour(STDOUT_FILENO));
    table_fini(&table);
}

/* "next beside pricing: 20 records: 12 same, 5 different, 3 only would, 0 only did; 1 failed" */
static void append_summary(const struct shadow_sums *sums, const char *rule, size_t shown,
                           struct buf *out)
{
    const char *of = sums->of.len > 0 ? sums->of.bytes : "no rule";
    buf_printf(out, "%s%s beside ", shown > 0 ? "\n" : "", rule);
    escape_text(out, of, strlen(of));
    buf_printf(out, ": %llu %s:", (unsigned long long)sums->kept,
               sums->kept == 1 ? "record" : "records");
    for (enum shadow_verdict v = 0; v < SHADOW_VERDICTS; v++)
        buf_printf(out, "%s %llu %s", v > 0 ? "," : "", (unsigned long long)sums->verdicts[v],
                   shadow_verdict_name(v));
    buf_printf(out, "; %llu failed\n", (unsigned long long)sums->failed);
    shadow_sums_append_table(sums, out, terminal_has_colour(STDOUT_FILENO));
}

static int refuse_rule(struct shadow_command *s, const char *rule, struct error *error)
{
    struct names names = {0};
    struct nearest near;
    int code = find_names(s, &names, error);
    nearest_init(&near, rule);
    for (size_t i = 0; i < names.count; i++)
        nearest_offer(&near, names.list[i]);
    if (code == 0)
        code = error_set(error, ERROR_REPLY, "no records are kept of a shadow rule %s%s%s%s", rule,
                         near.name != NULL ? "; did you mean " : "",
                         near.name != NULL ? near.name : "", near.name != NULL ? "?" : "");
    free(names.list);
    return code;
}

static int show_rule(struct shadow_command *s, const char *rule, struct error *error)
{
    struct buf out = {0};
    int code = read_rule(s, rule, error);
    if (code == 0 && s->sums.kept == 0)
        code = refuse_rule(s, rule, error);
    if (code != 0)
        return code;
    size_t count = s->rows.count;
    if (count > 0)
        qsort(s->rows.list, count, sizeof *s->rows.list, compare_newest_first);
    if (s->config->count > 0 && count > (size_t)s->config->count)
        count = (size_t)s->config->count;
    for (size_t i = 0; s->config->is_json && i < count; i++)
        shadow_view_append_json(&s->rows.list[i], &out);
    if (!s->config->is_json) {
        append_rows(s, count, &out);
        append_summary(&s->sums, rule, count, &out);
    }
    code = output_write(&out, error);
    buf_fini(&out);
    return code;
}

/* -- All of them -- */

static void add_count(struct table *table, uint64_t count)
{
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)count);
    table_add_text(table, text);
}

static void add_rule_row(struct table *table, const char *rule, const struct shadow_sums *sums)
{
    table_add_text(table, rule);
    table_add(table, sums->of.bytes, sums->of.len);
    add_count(table, sums->kept);
    for (enum shadow_verdict v = 0; v < SHADOW_VERDICTS; v++)
        add_count(table, sums->verdicts[v]);
    add_count(table, sums->failed);
}

static int list_rules(struct shadow_command *s, struct error *error)
{
    static const char *const heads[] = {"RULE",      "OF",         "KEPT",     "SAME",
                                        "DIFFERENT", "ONLY WOULD", "ONLY DID", "FAILED"};
    struct names names = {0};
    struct buf out = {0};
    struct table table = {.columns = sizeof heads / sizeof heads[0]};
    int code = find_names(s, &names, error);
    for (size_t i = 0; i < table.columns; i++)
        table_add_text(&table, heads[i]);
    for (size_t i = 0; code == 0 && i < names.count; i++) {
        code = read_rule(s, names.list[i], error);
        if (code == 0 && s->sums.kept > 0 && s->config->is_json)
            shadow_sums_append_json(&s->sums, names.list[i], &out);
        else if (code == 0 && s->sums.kept > 0)
            add_rule_row(&table, names.list[i], &s->sums);
    }
    if (table.cells > table.columns)
        table_print(&table, &out, 0, terminal_has_colour(STDOUT_FILENO));
    if (code == 0 && out.len == 0 && terminal_is_watched(STDERR_FILENO))
        fputs("no records of shadow rules\n", stderr);
    if (code == 0)
        code = output_write(&out, error);
    free(names.list);
    table_fini(&table);
    buf_fini(&out);
    return code;
}

/* -- The command -- */

int cli_shadow(const struct config *config, int argc, char **argv)
{
    struct shadow_command s = {.config = config};
    struct error error;
    const char *rule = argc > 0 ? argv[0] : NULL;
    if (rule != NULL && !cli_is_rule_name(rule))
        return cli_misuse("shadow", "%s is no name of a rule: 1 to 64 of A-Z a-z 0-9 _ -", rule);
    if (rule != NULL && strncmp(rule, PREFIX, PREFIX_LEN) == 0)
        rule += PREFIX_LEN;
    int code = client_open(config->redis, &s.client, &error);
    if (code != 0)
        return cli_fail(&error);
    code = partitions_find(s.client, config, &s.partitions, &error);
    if (code == 0)
        code = rule != NULL ? show_rule(&s, rule, &error) : list_rules(&s, &error);
    partitions_fini(&s.partitions);
    client_close(s.client);
    forget_rule(&s);
    arena_fini(&s.texts);
    free(s.rows.list);
    free(s.halves.list);
    return code == 0 ? EXIT_FINE : cli_fail(&error);
}
