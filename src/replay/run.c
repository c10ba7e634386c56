/* run.c: see run.h.
 *
 * (1) The bridge stands apart (struct bridge_options): so a batch waits for lookups alone. (2) A
 * batch may end early, in front of an entry that a thousand timers fire before, or that a rule with
 * on_error "stop" fails on: then the rest is put again. (3) At the end of a partition time goes on
 * without entries, until nothing is due any more. */
#include "replay/run.h"

#include "base/clock.h"
#include "replay/wishes.h"
#include "stream/keys.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Rules run so long at most before the others hear of it; nothing waits for the end of a batch. */
enum { BATCH_MS = 500, FEED_PATIENCE_MS = 24 * 3600 * 1000 };

static void *must(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

/* ── batches ─────────────────────────────────────────────────────────────────────────────────── */

/* Runs what was put to its end. */
static int compute(struct run *r, uint32_t *processed, const char **stopped, struct error *error)
{
    enum bridge_status status = BRIDGE_WAIT;
    int code = 0;
    while (code == 0 && status != BRIDGE_DONE) {
        code =
            bridge_run(r->bridge, clock_coarse_ms() + BATCH_MS, &status, processed, stopped, error);
        if (code == 0)
            code = lookups_fault(&r->lookups, error);
        if (code != 0 || status == BRIDGE_DONE)
            break;
        assert(status == BRIDGE_WAIT); /* it is not renewable */
        code = lookups_answer(&r->lookups, error);
        r->shared->lookups = r->lookups.total;
    }
    lookups_forget(&r->lookups);
    return code;
}

/* The batch is done, of which `entries` were put: hands it on. */
static int deliver(struct run *r, const struct batch_entry *entries, uint32_t count,
                   uint32_t processed, struct error *error)
{
    uint32_t effects, letters;
    wishes_count(r->bridge, &effects, &letters);
    if (effects + letters > 0) {
        int code = r->sink.on_batch(r, entries, count, error);
        if (code != 0)
            return code;
    }
    r->shared->effects += effects;
    r->shared->letters += letters;
    r->shared->events += processed;
    r->shared->fired += bridge_fired_count(r->bridge);
    r->shared->beats++;
    double clock_ms = bridge_clock_ms(r->bridge);
    r->clock_ms = clock_ms > r->clock_ms ? clock_ms : r->clock_ms;
    bridge_seal(r->bridge, &r->sealed);
    return 0;
}

/* A rule with on_error "stop" has failed on this entry (NULL: on a timer or window). */
static void stop(struct run *r, const struct batch_entry *entry, const char *sentence)
{
    struct buf text = {0};
    if (entry != NULL)
        buf_printf(&text, "%.0f-%llu of %s: ", entry->ms, (unsigned long long)entry->seq,
                   rulebook_stream_name(r->book, entry->stream));
    else
        buf_append_text(&text, "behind the last entry: ");
    buf_append_text(&text, sentence);
    snprintf(r->stopped_by, sizeof r->stopped_by, "%s", buf_text(&text));
    buf_fini(&text);
}

static int run_batch(struct run *r, struct batch_entry *entries, uint32_t count,
                     struct error *error)
{
    for (uint32_t at = 0; at < count;) {
        uint32_t processed;
        const char *stopped;
        bridge_put_batch(r->bridge, entries + at, count - at, r->clock_ms, 0);
        int code = compute(r, &processed, &stopped, error);
        if (code != 0)
            return code;
        if (processed == 0 && bridge_fired_count(r->bridge) == 0) {
            assert(stopped != NULL); /* (1): nothing else keeps the first entry from being run */
            stop(r, &entries[at], stopped);
            return 0;
        }
        code = deliver(r, entries + at, count - at, processed, error);
        if (code != 0)
            return code;
        at += processed;
    }
    return 0;
}

/* (3) */
static int run_end(struct run *r, struct error *error)
{
    double until_ms = r->plan->end_ms > r->clock_ms ? r->plan->end_ms : r->clock_ms;
    struct bridge_time time = {.until_ms = until_ms, .proven_ms = INFINITY, .is_exact = true};
    bool is_over = until_ms <= 0;
    while (!is_over && r->stopped_by[0] == '\0') {
        uint32_t processed;
        const char *stopped;
        bridge_put_batch(r->bridge, NULL, 0, r->clock_ms, 0);
        bridge_put_time(r->bridge, &time);
        int code = compute(r, &processed, &stopped, error);
        if (code != 0)
            return code;
        uint32_t fired = bridge_fired_count(r->bridge);
        is_over =
            !bridge_has_more(r->bridge) && (fired == 0 || bridge_wake_ms(r->bridge) > until_ms);
        if (fired == 0 && stopped != NULL)
            stop(r, NULL, stopped);
        else
            code = deliver(r, NULL, 0, 0, error);
        if (code != 0)
            return code;
    }
    return 0;
}

/* ── partitions ──────────────────────────────────────────────────────────────────────────────── */

static int open_bridge(struct run *r, const struct plan_partition *p, struct error *error)
{
    struct keys keys;
    const struct config *config = r->config;
    keys_init(&keys, p->tag_len > 0 ? p->tag : NULL, p->tag_len, config->group);
    struct bridge_options options = {
        .event_limits = {.depth = (uint32_t)config->limits.event_depth,
                         .elements = (uint32_t)config->limits.event_elements},
        .event_bytes = (size_t)config->limits.event_kb * 1024,
        .is_apart = true,
        .future_ms = (double)config->future_ms,
        .partition = p->tag_len > 0 ? p->tag : "-",
        .prefix = keys.prefix.data,
        .dlq_key = keys.dlq.data,
    };
    int code = bridge_create(r->book, &options, &r->bridge, error);
    keys_fini(&keys);
    if (code != 0)
        return code;
    lookups_attach(&r->lookups, r->bridge);
    bridge_forget_clocks(r->bridge, 0);
    for (size_t i = 0; i < p->lane_count; i++) {
        r->numbers[i] = rulebook_stream(r->book, p->lanes[i].name, p->lanes[i].name_len);
        bridge_attend(r->bridge, r->numbers[i], 0);
    }
    bridge_tell_clocks(r->bridge);
    r->clock_ms = 0;
    return 0;
}

static int run_feed(struct run *r, struct feed *feed, struct error *error)
{
    for (;;) {
        struct feed_batch batch;
        int code = feed_next(feed, &batch, error);
        if (code != 0 || batch.count == 0)
            return code;
        code = run_batch(r, batch.entries, batch.count, error);
        if (code != 0 || r->stopped_by[0] != '\0')
            return code;
    }
}

static void keep_sums(struct run *r, const struct feed *feed, size_t count)
{
    for (size_t i = 0; i < count; i++)
        r->sums[r->sum_count++] = feed_sum(feed, i);
}

static int run_partition(struct run *r, struct client *client, struct error *error)
{
    const struct plan_partition *p = &r->plan->partitions[r->partition];
    r->numbers = must(realloc(r->numbers, (p->lane_count + 1) * sizeof *r->numbers));
    r->sums = must(realloc(r->sums, (r->sum_count + p->lane_count + 1) * sizeof *r->sums));
    int code = open_bridge(r, p, error);
    if (code != 0)
        return code;
    struct feed_options options = {.partition = p,
                                   .numbers = r->numbers,
                                   .batch_events = (uint32_t)r->config->batch_events,
                                   .client = client,
                                   .events = r->plan->events};
    struct feed *feed = feed_open(&options);
    code = run_feed(r, feed, error);
    if (code == 0)
        code = run_end(r, error);
    keep_sums(r, feed, p->lane_count);
    feed_close(feed);
    bridge_destroy(r->bridge);
    r->bridge = NULL;
    return code;
}

/* ── life ────────────────────────────────────────────────────────────────────────────────────── */

/* The parent has loaded the same texts before, and told of what is wrong with them. */
static int load(struct run *r, struct error *error)
{
    struct rulebook_options options = {.config = r->config, .dir = r->dir, .is_backtest = true};
    int code = rulebook_load(&options, r->edition, &r->book, error);
    if (code == 0 && !rulebook_is_sound(r->book))
        code = error_set(error, ERROR_RULE, "the rules in %s cannot be loaded", r->dir);
    if (code == 0)
        code = rulebook_start(r->book, &r->shared->note, error);
    return code == 0 ? rulebook_wake(r->book, error) : code;
}

int run_go(struct run *r, struct error *error)
{
    struct client *client = NULL;
    lookups_init(&r->lookups, r->config->redis);
    int code = load(r, error);
    if (code == 0 && r->plan->events == NULL)
        code = client_open(r->config->redis, &client, error);
    if (client != NULL)
        client_set_patience(client, FEED_PATIENCE_MS);
    for (r->partition = 0;
         code == 0 && r->partition < r->plan->partition_count && r->stopped_by[0] == '\0';
         r->partition++)
        code = run_partition(r, client, error);
    client_close(client);
    return code;
}

void run_fini(struct run *r)
{
    lookups_fini(&r->lookups);
    rulebook_release(r->book);
    sealed_batch_fini(&r->sealed);
    free(r->numbers);
    free(r->sums);
}
