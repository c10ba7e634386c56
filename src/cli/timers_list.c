/* timers_list.c: pending timers for people: a page of them is read, then their payloads, then it is
 * printed; so ten million need no more memory than five hundred. */
#include "cli/timers.h"

#include "base/escape.h"
#include "base/terminal.h"
#include "base/utc.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/table.h"
#include "codec/json.h"
#include "redis/command.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { PAGE_TIMERS = 500, DEPTH_MOST = 200, PAYLOAD_COLUMNS = 120, SEARCH_SLACK = 10000 };

/* Timers on their way from Redis to standard output. */
struct show {
    const struct timers_command *command;
    const struct pending_list *page; /* whose payloads come */
    size_t heard;
    double *now_ms; /* by rule and clock, what the clock shows; NAN: not known */
    bool has_partition, is_broken;
    struct buf key, payload; /* of the row that is made */
    struct table table;
    struct buf out;
};

/* -- Rows -- */

/* "in 25m 10s", "3s ago": the two largest units. */
static void describe_distance(double ms, char *text, size_t size)
{
    static const struct {
        const char *unit;
        double ms;
    } units[] = {{"d", 86400e3}, {"h", 3600e3}, {"m", 60e3}, {"s", 1e3}};
    double left = fabs(ms);
    char amount[64];
    size_t used = 0, count = sizeof units / sizeof units[0];
    for (size_t i = 0, told = 0; i < count && told < 2; i++) {
        double whole = floor(left / units[i].ms);
        if (whole > 0) {
            used += (size_t)snprintf(amount + used, sizeof amount - used, "%s%.0f%s",
                                     used > 0 ? " " : "", whole, units[i].unit);
            left -= whole * units[i].ms;
        }
        told += used > 0;
    }
    if (used == 0)
        snprintf(amount, sizeof amount, "%.0fms", left);
    snprintf(text, size, ms < 0 ? "%s ago" : "in %s", amount);
}

static double now_of(const struct show *s, const struct pending_timer *timer)
{
    size_t rule = (size_t)(timer->rule - s->command->pending.list);
    return s->now_ms[rule * PENDING_CLOCKS + timer->clock];
}

/* The beginning, so that a table stays one. */
static void shorten(struct buf *text)
{
    size_t columns, len = terminal_fit(text->data, text->len, PAYLOAD_COLUMNS, &columns);
    if (len == text->len)
        return;
    text->len = len;
    buf_append_text(text, "…");
}

static void add_row(struct show *s, const struct pending_timer *timer, const char *name,
                    size_t name_len)
{
    const struct keys *keys = &s->command->partitions.list[timer->rule->partition];
    char moment[UTC_LEN], distance[80] = "";
    double now_ms = now_of(s, timer);
    utc_format(timer->due_ms > 0 ? (uint64_t)fmin(timer->due_ms, 1e18) : 0, moment);
    if (!isnan(now_ms))
        describe_distance(timer->due_ms - now_ms, distance, sizeof distance);
    if (s->has_partition)
        table_add(&s->table, keys->tag.data, keys->tag.len);
    table_add_text(&s->table, timer->rule->rule);
    table_add(&s->table, s->key.data, s->key.len);
    table_add(&s->table, name, name_len);
    table_add_text(&s->table, pending_clock_name(timer->clock));
    table_add_text(&s->table, moment);
    table_add_text(&s->table, distance);
    shorten(&s->payload);
    table_add(&s->table, s->payload.data, s->payload.len);
}

static void add_heading(struct show *s)
{
    static const char *const names[] = {"RULE", "KEY",      "NAME",   "CLOCK",
                                        "DUE",  "FROM NOW", "PAYLOAD"};
    size_t count = sizeof names / sizeof names[0];
    s->table.columns = count + s->has_partition;
    if (s->has_partition)
        table_add_text(&s->table, "PARTITION");
    for (size_t i = 0; i < count; i++)
        table_add_text(&s->table, names[i]);
}

static void append_object(struct show *s, const struct pending_timer *timer, const char *name,
                          size_t name_len)
{
    const struct keys *keys = &s->command->partitions.list[timer->rule->partition];
    buf_printf(&s->out, "{\"rule\":\"%s\",\"key\":", timer->rule->rule);
    escape_json(&s->out, s->key.data, s->key.len);
    buf_append_text(&s->out, ",\"name\":");
    escape_json(&s->out, name, name_len);
    buf_printf(&s->out,
               ",\"clock\":\"%s\",\"due\":%.0f,\"partition\":", pending_clock_name(timer->clock),
               timer->due_ms);
    if (keys->tag.len == 0)
        buf_append_text(&s->out, "null");
    else
        escape_json(&s->out, keys->tag.data, keys->tag.len);
    buf_append_text(&s->out, ",\"payload\":");
    if (s->payload.len == 0)
        buf_append_text(&s->out, "null");
    buf_append(&s->out, s->payload.data, s->payload.len);
    buf_append_text(&s->out, "}\n");
}

/* What the engine would not have written is said on standard error and does not stop the rest. */
static void tell_stranger(struct show *s, const struct pending_timer *timer)
{
    struct error error;
    error_set(&error, ERROR_FORMAT, "%s holds something that is no timer",
              timer->rule->queues[timer->clock].data);
    if (!s->is_broken)
        cli_fail(&error);
    s->is_broken = true;
}

static void on_payload(void *context, const struct reply *reply)
{
    struct show *s = context;
    const struct pending_timer *timer = &s->page->list[s->heard++];
    const char *name;
    size_t name_len;
    s->key.len = s->payload.len = 0;
    if (!timer_member_parse(s->page->members.data + timer->at, timer->len, &s->key, &name,
                            &name_len) ||
        !isfinite(timer->due_ms)) {
        tell_stranger(s, timer);
        return;
    }
    if (reply->type == REPLY_STRING &&
        json_from_msgpack(reply->text, reply->len, DEPTH_MOST, &s->payload, NULL) != 0) {
        s->payload.len = 0;
        escape_json(&s->payload, reply->text, reply->len);
    }
    if (s->command->config->is_json)
        append_object(s, timer, name, name_len);
    else
        add_row(s, timer, name, name_len);
}

/* -- Pages -- */

static size_t terminal_width(void)
{
    struct winsize size;
    if (!terminal_is_watched(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0)
        return 0;
    return size.ws_col;
}

/* Asks for the payloads and prints. */
static int show_page(struct show *s, const struct pending_list *page, struct error *error)
{
    struct buf *commands = client_out(s->command->client);
    s->page = page;
    s->heard = 0;
    for (size_t i = 0; i < page->count; i++) {
        const struct pending_timer *timer = &page->list[i];
        command_begin(commands, 3);
        command_argument(commands, "HGET", 4);
        command_argument(commands, timer->rule->payloads.data, timer->rule->payloads.len);
        command_argument(commands, page->members.data + timer->at, timer->len);
    }
    if (!s->command->config->is_json && s->table.columns == 0)
        add_heading(s);
    int code = client_run(s->command->client, page->count, on_payload, s, error);
    if (code != 0)
        return code;
    table_print(&s->table, &s->out, terminal_width(), terminal_has_colour(STDOUT_FILENO));
    table_go_on(&s->table);
    return output_write(&s->out, error);
}

/* All of them, the earliest first. `*shown`: how many. */
static int list_all(struct show *s, size_t most, size_t *shown, struct error *error)
{
    struct pending_walk *walk = pending_walk_open(s->command->client, &s->command->pending);
    struct pending_list page = {0};
    int code;
    do {
        size_t wanted = most - *shown < PAGE_TIMERS ? most - *shown : PAGE_TIMERS;
        pending_list_clear(&page);
        code = pending_walk_next(walk, wanted, &page, error);
        if (code == 0 && page.count > 0)
            code = show_page(s, &page, error);
        *shown += page.count;
    } while (code == 0 && page.count == PAGE_TIMERS);
    pending_walk_close(walk);
    pending_list_fini(&page);
    return code;
}

/* Finds them all, keeps what is to be shown. */
static int search(struct show *s, size_t most, struct pending_list *found, struct error *error)
{
    const struct timers_command *t = s->command;
    int code = 0;
    for (size_t i = 0; code == 0 && i < t->pending.count * PENDING_CLOCKS; i++) {
        struct pending_scan scan = {.client = t->client,
                                    .rule = &t->pending.list[i / PENDING_CLOCKS],
                                    .clock = (enum timer_kind)(i % PENDING_CLOCKS),
                                    .key = t->config->timers.key,
                                    .name = t->config->timers.name};
        while (code == 0 && !scan.is_over) {
            code = pending_scan_next(&scan, found, error);
            if (most < SIZE_MAX && found->count > most + SEARCH_SLACK)
                pending_list_sort(found, most);
        }
        pending_scan_fini(&scan);
    }
    pending_list_sort(found, most == SIZE_MAX ? 0 : most);
    return code;
}

static int list_found(struct show *s, size_t most, size_t *shown, struct error *error)
{
    struct pending_list found = {0}, page = {0};
    int code = search(s, most, &found, error);
    while (code == 0 && *shown < found.count) {
        pending_list_clear(&page);
        for (; *shown < found.count && page.count < PAGE_TIMERS; ++*shown)
            pending_list_add(&page, &found.list[*shown],
                             found.members.data + found.list[*shown].at);
        code = show_page(s, &page, error);
    }
    pending_list_fini(&found);
    pending_list_fini(&page);
    return code;
}

/* -- Clocks -- */

static void on_clock(void *context, const struct reply *reply)
{
    struct show *s = context;
    size_t count = s->command->pending.count;
    if (s->heard == 0) { /* TIME */
        double ms = reply->type == REPLY_ARRAY && reply->count == 2
                        ? (double)reply_number(reply->elements[0], 0) * 1000 +
                              floor((double)reply_number(reply->elements[1], 0) / 1000)
                        : NAN;
        for (size_t i = 0; i < count; i++)
            s->now_ms[i * PENDING_CLOCKS + TIMER_WALL] = ms;
    } else {
        s->now_ms[(s->heard - 1) * PENDING_CLOCKS + TIMER_EVENT] =
            reply->type == REPLY_STRING ? strtod(reply->text, NULL) : NAN;
    }
    s->heard++;
}

/* The wall clock is Redis' TIME, that of an event timer its rule's watermark (design 3.5). */
static int read_clocks(struct show *s, struct error *error)
{
    const struct timers_command *t = s->command;
    struct buf *out = client_out(t->client);
    s->now_ms = calloc(t->pending.count * PENDING_CLOCKS + 1, sizeof *s->now_ms);
    if (s->now_ms == NULL)
        abort();
    command_append(out, "TIME", NULL);
    for (size_t i = 0; i < t->pending.count; i++) {
        const struct pending_rule *rule = &t->pending.list[i];
        char field[sizeof "watermark:" + RULE_NAME];
        snprintf(field, sizeof field, "watermark:%s", rule->rule);
        command_append(out, "HGET", t->partitions.list[rule->partition].ctl.data, field, NULL);
    }
    s->heard = 0;
    return client_run(t->client, t->pending.count + 1, on_clock, s, error);
}

/* -- List -- */

int timers_list(struct timers_command *t, bool *is_broken, struct error *error)
{
    struct show s = {.command = t};
    const struct config *config = t->config;
    bool is_searched = config->timers.key != NULL || config->timers.name != NULL;
    size_t most = config->count > 0 ? (size_t)config->count : SIZE_MAX, shown = 0;
    for (size_t i = 0; i < t->partitions.count; i++)
        s.has_partition = s.has_partition || t->partitions.list[i].tag.len > 0;
    int code = read_clocks(&s, error);
    if (code == 0)
        code = (is_searched ? list_found : list_all)(&s, most, &shown, error);
    if (code == 0 && shown >= most && terminal_is_watched(STDERR_FILENO))
        fprintf(stderr, "the earliest %zu timers; --count 0 lists all\n", most);
    if (code == 0 && shown == 0 && terminal_is_watched(STDERR_FILENO))
        fputs("no pending timers\n", stderr);
    *is_broken = s.is_broken;
    free(s.now_ms);
    buf_fini(&s.key);
    buf_fini(&s.payload);
    buf_fini(&s.out);
    table_fini(&s.table);
    return code;
}
