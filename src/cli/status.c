/* status.c: `tidemill status`: asks the running engine over its control socket (supervisor/report.h
 * says what it answers). */
#include "base/terminal.h"
#include "base/utc.h"
#include "cli/answer.h"
#include "cli/cli.h"
#include "cli/table.h"
#include "supervisor/socket.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { ANSWER_SECONDS = 5 };

static void add_cell(struct table *table, const struct token *map, const char *name)
{
    const struct token *value = answer_find(map, name);
    char text[64] = "-";
    if (value != NULL && value->type == TOKEN_STRING) {
        table_add(table, value->bytes, value->len);
        return;
    }
    if (value != NULL && value->type == TOKEN_NUMBER && strcmp(name, "watermark") == 0)
        utc_format(value->number > 0 ? (uint64_t)value->number : 0, text);
    else if (value != NULL && value->type == TOKEN_NUMBER)
        snprintf(text, sizeof text, "%.0f", value->number);
    else if (value != NULL && (value->type == TOKEN_TRUE || value->type == TOKEN_FALSE))
        snprintf(text, sizeof text, "%s", value->type == TOKEN_TRUE ? "yes" : "no");
    table_add_text(table, text);
}

static void add_head(struct table *table, const char *const *names, const char *const *heads)
{
    while (names[table->columns] != NULL)
        table->columns++;
    for (size_t i = 0; i < table->columns; i++)
        table_add_text(table, heads[i]);
}

static void add_row(struct table *table, const struct token *map, const char *const *names)
{
    for (size_t i = 0; names[i] != NULL; i++)
        add_cell(table, map, names[i]);
}

/* Appends the table of all maps of a list. */
static void show_list(struct buf *out, const struct token *list, const char *const *names,
                      const char *const *heads)
{
    struct table table = {0};
    const struct token *item = list + 1;
    add_head(&table, names, heads);
    for (uint32_t i = 0; list != NULL && i < list->len; i++, item += item->size)
        add_row(&table, item, names);
    table_print(&table, out, 0, terminal_has_colour(STDOUT_FILENO));
    table_fini(&table);
}

static bool has_time(const struct token *rules)
{
    const struct token *rule = rules + 1;
    for (uint32_t i = 0; rules != NULL && i < rules->len; i++, rule += rule->size) {
        const struct token *watermark = answer_find(rule, "watermark"),
                           *late = answer_find(rule, "late");
        if ((watermark != NULL && watermark->type == TOKEN_NUMBER) ||
            (late != NULL && late->type == TOKEN_NUMBER && late->number > 0))
            return true;
    }
    return false;
}

/* A row a rule; what it says of event time only when one has any. */
static void show_rules(struct buf *out, const struct token *rules)
{
    static const char *const names[] = {
        "name",     "version",     "file", "events",    "failed",           "skipped", "failing",
        "fed_back", "rolled_back", "late", "watermark", "watermark_lag_ms", NULL};
    static const char *const heads[] = {"RULE",        "VERSION", "FILE",      "EVENTS",
                                        "FAILED",      "SKIPPED", "FAILING",   "FED BACK",
                                        "ROLLED BACK", "LATE",    "WATERMARK", "BEHIND MS"};
    static const char *const timeless[] = {"name",        "version", "file",    "events",
                                           "failed",      "skipped", "failing", "fed_back",
                                           "rolled_back", NULL};
    show_list(out, rules, has_time(rules) ? names : timeless, heads);
}

/* What shadow rules would have done, beside what was done; nothing where there is none. */
static void show_shadows(struct buf *out, const struct token *rules)
{
    static const char *const names[] = {
        "name",        "shadow_of",        "shadow_effects",    "failed",
        "shadow_same", "shadow_different", "shadow_only_would", "shadow_only_did",
        NULL};
    static const char *const heads[] = {"SHADOW", "OF",        "EFFECTS",    "FAILED",
                                        "SAME",   "DIFFERENT", "ONLY WOULD", "ONLY DID"};
    struct table table = {0};
    const struct token *rule = rules + 1;
    add_head(&table, names, heads);
    for (uint32_t i = 0; rules != NULL && i < rules->len; i++, rule += rule->size)
        if (answer_find(rule, "shadow_of") != NULL)
            add_row(&table, rule, names);
    if (table.cells > table.columns) {
        buf_append_text(out, "\n");
        table_print(&table, out, 0, terminal_has_colour(STDOUT_FILENO));
    }
    table_fini(&table);
}

/* A row a stream, of all partitions. */
static void show_streams(struct buf *out, const struct token *partitions)
{
    static const char *const names[] = {"name", "position", "lag", "lost", "left_out", NULL};
    static const char *const heads[] = {"STREAM", "POSITION", "LAG", "LOST", "LEFT OUT"};
    struct table table = {0};
    const struct token *partition = partitions + 1;
    add_head(&table, names, heads);
    for (uint32_t i = 0; i < partitions->len; i++, partition += partition->size) {
        const struct token *streams = answer_find(partition, "streams");
        const struct token *stream = streams + 1;
        for (uint32_t k = 0; streams != NULL && k < streams->len; k++, stream += stream->size)
            add_row(&table, stream, names);
    }
    table_print(&table, out, 0, terminal_has_colour(STDOUT_FILENO));
    table_fini(&table);
}

/* Why the folder is not what runs, as `check` says it. */
static void show_problems(struct buf *out, const struct token *problems)
{
    struct table table = {.columns = 1};
    const struct token *problem = problems + 1;
    if (problems == NULL || problems->len == 0)
        return;
    table_add_text(&table, "REFUSED");
    for (uint32_t i = 0; i < problems->len; i++, problem += problem->size) {
        struct buf line = {0};
        answer_write_problem(&line, problem);
        table_add(&table, line.data, line.len);
        buf_fini(&line);
    }
    buf_append_text(out, "\n");
    table_print(&table, out, 0, terminal_has_colour(STDOUT_FILENO));
    table_fini(&table);
}

static void show(struct buf *out, const struct token *status)
{
    static const char *const partition_names[] = {"name",    "state",      "events_per_s",
                                                  "events",  "effects",    "letters",
                                                  "commits", "state_keys", NULL};
    static const char *const partition_heads[] = {"PARTITION", "STATE",   "EVENTS/S", "EVENTS",
                                                  "EFFECTS",   "LETTERS", "COMMITS",  "STATES"};
    static const char *const worker_names[] = {"pid",        "up_ms",      "restarts",
                                               "partitions", "responding", NULL};
    static const char *const worker_heads[] = {"WORKER", "UP MS", "RESTARTS", "PARTITIONS",
                                               "RESPONDING"};
    static const char *const line[] = {"group", "redis", "connected", "pid", "version"};
    for (size_t i = 0; i < sizeof line / sizeof *line; i++) {
        const struct token *value = answer_find(status, line[i]);
        if (value == NULL)
            continue;
        buf_printf(out, "%s%s ", i > 0 ? "   " : "", line[i]);
        if (value->type == TOKEN_STRING)
            buf_append(out, value->bytes, value->len);
        else if (value->type == TOKEN_NUMBER)
            buf_printf(out, "%.0f", value->number);
        else
            buf_append_text(out, value->type == TOKEN_TRUE ? "yes" : "no");
    }
    buf_append_text(out, "\n\n");
    show_list(out, answer_find(status, "workers"), worker_names, worker_heads);
    buf_append_text(out, "\n");
    show_rules(out, answer_find(status, "rules"));
    show_shadows(out, answer_find(status, "rules"));
    show_problems(out, answer_find(status, "problems"));
    buf_append_text(out, "\n");
    const struct token *partitions = answer_find(status, "partitions");
    show_list(out, partitions, partition_names, partition_heads);
    buf_append_text(out, "\n");
    if (partitions != NULL)
        show_streams(out, partitions);
}

int cli_status(const struct config *config, int argc, char **argv)
{
    struct buf answer = {0}, packed = {0}, out = {0};
    struct tokens tokens = {0};
    struct error error;
    (void)argc;
    (void)argv;
    int failed = control_socket_ask(config->control, "status", ANSWER_SECONDS, &answer, &error);
    if (failed != 0)
        goto out;
    if (config->is_json) {
        buf_append(&out, answer.data, answer.len);
    } else {
        failed = answer_read(&answer, &packed, &tokens, &error);
        if (failed == 0)
            show(&out, tokens.list);
    }
    if (failed == 0 && (fwrite(out.data, 1, out.len, stdout) != out.len || fflush(stdout) != 0))
        failed = error_set(&error, ERROR_SYSTEM, "cannot write to standard output");
out:
    buf_fini(&answer);
    buf_fini(&packed);
    buf_fini(&out);
    tokens_fini(&tokens);
    return failed != 0 ? cli_fail(&error) : EXIT_FINE;
}
