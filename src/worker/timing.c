/* timing.c: see timing.h. */
#include "worker/timing.h"

#include "base/clock.h"
#include "base/log.h"

#include <assert.h>

static void on_loaded(void *context);
static void on_refused_page(void *context, const struct reply *error);
static void on_foreign(void *context);
static void on_due(void *context);
static void on_looked(void *context);
static void on_time(void *context, double redis_ms);
static void on_no_time(void *context, const struct reply *reply);

/* ── life ────────────────────────────────────────────────────────────────────────────────────── */

void timing_init(struct timing *t, const struct timing_options *options,
                 const struct timing_callbacks *callbacks, void *context)
{
    static const struct tick_callbacks tick_callbacks = {
        .on_due = on_due, .on_looked = on_looked, .on_time = on_time, .on_trouble = on_no_time};
    static const struct pages_callbacks pages_callbacks = {
        .on_loaded = on_loaded, .on_refused = on_refused_page, .on_foreign = on_foreign};
    *t = (struct timing){.partition = options->partition,
                         .owner = options->owner,
                         .bridge = options->bridge,
                         .callbacks = *callbacks,
                         .context = context};
    tick_init(&t->tick, options->loop, options->link, options->owner, &tick_callbacks, t);
    pages_init(&t->pages, options->link, options->bridge, &pages_callbacks, t);
}

void timing_fini(struct timing *t)
{
    if (t->tick.timer != NULL)
        tick_fini(&t->tick);
}

/* What ctl says of the event time of a rule. */
static void know_clock(struct timing *t, struct rulebook *book, const struct owner_clock *clock)
{
    struct names *rules = rulebook_registry(book)->rules;
    struct seen seen = {.rule = names_number(rules, clock->rule, strlen(clock->rule)),
                        .ms = clock->ms};
    if (clock->stream[0] != '\0') {
        const struct source *s = owner_find_source(t->owner, clock->stream, strlen(clock->stream));
        if (s == NULL || s->number == 0)
            return; /* no rule reads it; when one does, a new acquire comes first */
        seen.stream = s->number;
    }
    bridge_know_seen(t->bridge, &seen);
}

static void tell_clocks(struct timing *t)
{
    for (size_t i = 0; i < t->owner->source_count; i++) {
        const struct source *s = t->owner->sources[i];
        if (s->number == 0 || !s->is_known)
            continue;
        const struct stream_id *at = s->sent_count > 0 ? &s->sent : &s->committed;
        bridge_attend(t->bridge, s->number, (double)at->ms);
    }
    bridge_tell_clocks(t->bridge);
}

void timing_begin(struct timing *t, struct rulebook *book, double clock_ms)
{
    bridge_forget_clocks(t->bridge, clock_ms);
    for (size_t i = 0; i < t->owner->clock_count; i++)
        know_clock(t, book, &t->owner->clocks[i]);
    timing_go_on(t);
}

void timing_go_on(struct timing *t)
{
    tell_clocks(t);
    t->pages.is_wanted = true;
    t->is_starved = t->is_early = false;
}

void timing_rest(struct timing *t)
{
    tick_rest(&t->tick);
    pages_rest(&t->pages);
    t->is_starved = t->is_early = false;
}

void timing_set_ahead(struct timing *t, double redis_ahead_ms)
{
    t->redis_ahead_ms = redis_ahead_ms;
}

double timing_redis_ms(const struct timing *t)
{
    return t->redis_ahead_ms == 0 ? 0 : (double)clock_now_us() / 1000 + t->redis_ahead_ms;
}

/* Not later than it is. */
static double proven_ms(const struct timing *t)
{
    double now_ms = timing_redis_ms(t);
    if (now_ms > 0)
        return now_ms;
    return (double)t->owner->redis_ms + (double)(clock_now_us() - t->owner->acquired_us) / 1000;
}

/* As far as is known, and not for long: what is in the streams was looked at by the probe. */
static bool is_all_read(const struct owner *o)
{
    for (size_t i = 0; i < o->source_count; i++) {
        const struct source *s = o->sources[i];
        if (s->number > 0 && !s->is_left_out && (s->added < 0 || s->read < s->added))
            return false;
    }
    return true;
}

bool timing_watermark(struct timing *t, uint32_t rule, bool is_at_tail, double *ms, double *lag_ms)
{
    double now_ms = timing_redis_ms(t);
    double tail_ms = is_at_tail && is_all_read(t->owner) ? now_ms : 0;
    if (now_ms == 0 || !bridge_watermark(t->bridge, rule, tail_ms, ms))
        return false;
    *lag_ms = now_ms - *ms;
    return true;
}

double timing_state_ms(struct timing *t, uint32_t rule, bool is_at_tail, double clock_ms)
{
    double now_ms = timing_redis_ms(t), watermark_ms;
    if (bridge_watermark(t->bridge, rule, 0, &watermark_ms))
        return watermark_ms;
    return is_at_tail && now_ms > clock_ms ? now_ms : clock_ms;
}

/* ── asking ──────────────────────────────────────────────────────────────────────────────────── */

bool timing_must_ask(const struct timing *t)
{
    return t->pages.is_wanted || (t->is_early && t->tick.exact_ms == 0);
}

bool timing_ask(struct timing *t)
{
    if (t->pages.is_wanted && pages_ask(&t->pages)) {
        t->is_starved = false;
        return true;
    }
    assert(!t->is_starved);
    if (t->is_early && t->tick.exact_ms == 0) {
        tick_ask(&t->tick);
        return true;
    }
    return false;
}

bool timing_is_asking(const struct timing *t)
{
    return pages_is_asking(&t->pages) || t->tick.is_asking;
}

static void on_loaded(void *context)
{
    struct timing *t = context;
    t->callbacks.on_moved(t->context);
}

static void on_refused_page(void *context, const struct reply *error)
{
    struct timing *t = context;
    struct error why;
    if (reply_means_later(error)) {
        t->callbacks.on_trouble(t->context, "redis_later", error->text, true);
        return;
    }
    error_set(&why, ERROR_FATAL_REPLY, "Redis refuses to load timers: %s", error->text);
    if (reply_is_error(error, "NOPERM"))
        owner_explain_refusal(t->owner, error, "ZRANGEBYSCORE :timers:*", &why);
    t->callbacks.on_fatal(t->context, &why);
}

static void on_foreign(void *context)
{
    struct timing *t = context;
    log_repeat(LOG_ERROR, "timers_unreadable", "timers in Redis cannot be read and count as none",
               "partition", t->partition, NULL);
}

static void on_time(void *context, double redis_ms)
{
    struct timing *t = context;
    t->redis_ahead_ms = redis_ms - (double)clock_now_us() / 1000;
}

static void on_no_time(void *context, const struct reply *reply)
{
    struct timing *t = context;
    t->callbacks.on_trouble(t->context, "redis_later",
                            reply->type == REPLY_ERROR ? reply->text : "it does not tell the time",
                            true);
}

/* ── the tail ────────────────────────────────────────────────────────────────────────────────── */

void timing_plan(struct timing *t)
{
    if (t->callbacks.is_quiet(t->context))
        tick_plan(&t->tick, bridge_wake_ms(t->bridge), proven_ms(t));
}

static void on_due(void *context)
{
    struct timing *t = context;
    if (t->callbacks.is_quiet(t->context) && !t->tick.is_looking && t->tick.until_ms == 0)
        tick_look(&t->tick);
}

static void on_looked(void *context)
{
    struct timing *t = context;
    if (t->tick.until_ms > 0 && !t->callbacks.is_quiet(t->context))
        t->tick.until_ms = 0; /* what came goes first */
    t->callbacks.on_moved(t->context);
}

double timing_moment(const struct timing *t)
{
    return t->tick.until_ms;
}

void timing_forget_moment(struct timing *t)
{
    t->tick.until_ms = 0;
}

void timing_pass(struct timing *t)
{
    t->tick.is_stale = true;
}

/* ── batches ─────────────────────────────────────────────────────────────────────────────────── */

void timing_put(struct timing *t, double until_ms)
{
    struct bridge_time time = {.until_ms = until_ms, .proven_ms = proven_ms(t)};
    if (until_ms > 0) {
        time.proven_ms = until_ms;
        time.is_exact = true;
    } else if (t->is_early) {
        time.proven_ms = t->tick.exact_ms;
        time.is_exact = true;
    }
    t->is_early = false;
    t->tick.exact_ms = 0;
    bridge_put_time(t->bridge, &time);
}

void timing_take_stock(struct timing *t, uint32_t processed, double until_ms)
{
    uint32_t fired = bridge_fired_count(t->bridge);
    bool is_short = bridge_is_short(t->bridge);
    t->is_early = bridge_is_early(t->bridge);
    t->pages.is_wanted |= is_short;
    t->is_starved = is_short && processed == 0 && fired == 0;
    bool is_over = !is_short && !t->is_early && !bridge_has_more(t->bridge) &&
                   (fired == 0 || bridge_wake_ms(t->bridge) > until_ms);
    if (until_ms > 0 && is_over)
        t->tick.until_ms = 0;
}
