/* timers_drop.c: drops pending timers, as edits (edit.h) beside a running owner, which then reads
 * its queues anew. It needs nothing of the rules, so it works for those that are gone, too.
 *
 *   whole rules          UNLINK of their queues and payloads: one transaction a partition,
 *                        however many timers
 *   of a key or a name   scan ──> a bundle of members ──> ZREM wall, ZREM event, HDEL payloads
 *
 * (1) A member goes from both queues, since its rule may change clocks between the scan and the
 *     transaction, and its payload must not go without it.
 * (2) Bundles are small, because the owner and its timers wait while Redis works on one: a thousand
 *     members of millions take it some ms. */
#include "cli/timers.h"

#include "base/clock.h"
#include "base/terminal.h"
#include "cli/cli.h"
#include "cli/edit.h"
#include "redis/command.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { BUNDLE_TIMERS = 1000, BUNDLE_BYTES = 256 * 1024 }; /* a page of the scan more, perhaps */
enum { PROGRESS_MS = 1000 };

struct drop {
    struct timers_command *command;
    struct edit edit;
    size_t total;
    uint64_t told_ms; /* when progress was told last */

    const struct pending_rule *rules; /* whole rules: those of a partition */
    size_t rule_count, found;
    struct error refusal;

    struct pending_list bundle;
    size_t first, count; /* the part of the bundle that goes now; */
    size_t removed;      /* ... and how many there still were */
};

static void tell_progress(struct drop *d)
{
    uint64_t now_ms = clock_now_ms();
    if (now_ms < d->told_ms + PROGRESS_MS || !terminal_is_watched(STDERR_FILENO))
        return;
    fprintf(stderr, "%zu timers dropped so far\n", d->total);
    d->told_ms = now_ms;
}

static const struct keys *place_of(const struct drop *d, const struct pending_rule *rule)
{
    return &d->command->partitions.list[rule->partition];
}

/* -- Whole rules -- */

static size_t ask_for_counts(void *context, struct buf *out)
{
    struct drop *d = context;
    d->found = 0;
    d->refusal.code = 0;
    for (size_t i = 0; i < d->rule_count * PENDING_CLOCKS; i++) {
        const struct buf *queue = &d->rules[i / PENDING_CLOCKS].queues[i % PENDING_CLOCKS];
        command_begin(out, 2);
        command_argument(out, "ZCARD", 5);
        command_argument(out, queue->data, queue->len);
    }
    return d->rule_count * PENDING_CLOCKS;
}

static void hear_count(void *context, size_t index, const struct reply *reply)
{
    struct drop *d = context;
    if (reply->type == REPLY_INTEGER)
        d->found += (size_t)reply->integer;
    else if (d->refusal.code == 0)
        pending_refuse(&d->rules[index / PENDING_CLOCKS].queues[index % PENDING_CLOCKS], reply,
                       &d->refusal);
}

static size_t unlink_rules(void *context, struct buf *out)
{
    struct drop *d = context;
    if (d->found == 0 || d->refusal.code != 0)
        return 0;
    command_begin(out, 1 + d->rule_count * (PENDING_CLOCKS + 1));
    command_argument(out, "UNLINK", 6);
    for (size_t i = 0; i < d->rule_count; i++) {
        const struct pending_rule *rule = &d->rules[i];
        for (size_t clock = 0; clock < PENDING_CLOCKS; clock++)
            command_argument(out, rule->queues[clock].data, rule->queues[clock].len);
        command_argument(out, rule->payloads.data, rule->payloads.len);
    }
    return 1;
}

static const struct edit_calls rule_calls = {
    .ask = ask_for_counts, .hear = hear_count, .change = unlink_rules};

static int drop_rules(struct drop *d, struct error *error)
{
    const struct pending *pending = &d->command->pending;
    int code = 0;
    for (size_t i = 0; code == 0 && i < pending->count; i += d->rule_count) {
        d->rules = &pending->list[i];
        for (d->rule_count = 1; i + d->rule_count < pending->count &&
                                d->rules[d->rule_count].partition == d->rules[0].partition;)
            d->rule_count++;
        code = edit_apply(&d->edit, place_of(d, d->rules), &rule_calls, d, error);
        if (code == 0 && d->refusal.code != 0) {
            *error = d->refusal;
            code = error->code;
        }
        d->total += code == 0 ? d->found : 0;
        tell_progress(d);
    }
    return code;
}

/* -- Of a key or a name -- */

static size_t ask_nothing(void *context, struct buf *out)
{
    struct drop *d = context;
    (void)out;
    d->removed = 0;
    return 0;
}

static void append_removal(struct drop *d, struct buf *out, const char *command,
                           const struct buf *key)
{
    command_begin(out, 2 + d->count);
    command_argument_text(out, command);
    command_argument(out, key->data, key->len);
    for (size_t i = d->first; i < d->first + d->count; i++)
        command_argument(out, d->bundle.members.data + d->bundle.list[i].at, d->bundle.list[i].len);
}

static size_t remove_bundle(void *context, struct buf *out)
{
    struct drop *d = context;
    const struct pending_rule *rule = d->bundle.list[d->first].rule;
    append_removal(d, out, "ZREM", &rule->queues[TIMER_WALL]);
    append_removal(d, out, "ZREM", &rule->queues[TIMER_EVENT]);
    append_removal(d, out, "HDEL", &rule->payloads);
    return 3;
}

static void count_removed(void *context, size_t index, const struct reply *reply)
{
    struct drop *d = context;
    if (index < 2)
        d->removed += (size_t)reply_number(reply, 0);
}

/* A small bundle slips between two commits. */
static void on_missed(void *context)
{
    struct drop *d = context;
    d->count = d->count > 1 ? d->count / 2 : 1;
}

static const struct edit_calls bundle_calls = {.ask = ask_nothing,
                                               .hear = NULL,
                                               .change = remove_bundle,
                                               .settle = count_removed,
                                               .on_missed = on_missed};

/* Those of one rule that were found so far. */
static int drop_bundle(struct drop *d, struct error *error)
{
    int code = 0;
    for (d->first = 0; code == 0 && d->first < d->bundle.count; d->first += d->count) {
        d->count = d->bundle.count - d->first;
        code = edit_apply(&d->edit, place_of(d, d->bundle.list[d->first].rule), &bundle_calls, d,
                          error);
        d->total += code == 0 ? d->removed : 0;
        tell_progress(d);
    }
    pending_list_clear(&d->bundle);
    return code;
}

/* What a scan promises holds also while members go: what is there all the time is found. */
static int drop_found(struct drop *d, struct error *error)
{
    const struct timers_command *t = d->command;
    int code = 0;
    for (size_t i = 0; code == 0 && i < t->pending.count * PENDING_CLOCKS; i++) {
        struct pending_scan scan = {.client = t->client,
                                    .rule = &t->pending.list[i / PENDING_CLOCKS],
                                    .clock = (enum timer_kind)(i % PENDING_CLOCKS),
                                    .key = t->config->timers.key,
                                    .name = t->config->timers.name};
        while (code == 0 && !scan.is_over) {
            code = pending_scan_next(&scan, &d->bundle, error);
            if (code == 0 && (scan.is_over || d->bundle.count >= BUNDLE_TIMERS ||
                              d->bundle.members.len >= BUNDLE_BYTES))
                code = drop_bundle(d, error);
        }
        pending_scan_fini(&scan);
    }
    return code;
}

int timers_drop_selected(struct timers_command *t, struct error *error)
{
    struct drop d = {
        .command = t, .edit = {.client = t->client}, .told_ms = clock_now_ms() /* not at once */};
    struct error why;
    bool is_filtered = t->config->timers.key != NULL || t->config->timers.name != NULL;
    int code = is_filtered ? drop_found(&d, &why) : drop_rules(&d, &why);
    pending_list_fini(&d.bundle);
    if (code != 0 && d.total > 0)
        return error_set(error, code, "%s (%zu timers were dropped before)", why.text, d.total);
    if (code != 0) {
        *error = why;
        return code;
    }
    printf("%zu timer%s dropped\n", d.total, d.total == 1 ? "" : "s");
    return fflush(stdout) == 0 ? 0
                               : error_set(error, ERROR_SYSTEM, "cannot write to standard output");
}
