/* pipeline.c: see the drawing in pipeline.h. One function, `step`, moves everything on; callbacks
 * only note what came and call it.
 *
 * (1) Batch n+1 is computed only after n was sent: so its loads and lookups stand behind EXEC n on
 * the commit link. (2) n+1 is sent only after all of EXEC n has been judged and ctl is still as n
 * left it (commit.h). (3) An effect that was refused inside EXEC becomes a letter in the next
 * commit, which is then sent even when no event comes. Those letters are owed until a commit has
 * taken them along: they outlive pipeline_rest, if ctl is still as that commit left it.
 * (4) Time passes with the entries; on a quiet stream with moments: batches of no entries, at the
 * tail of all streams (timing.h). What is pending is loaded as the kernel comes to it, and while
 * that, or TIME, is on its way, nothing is computed or sent.
 * (5) When the VM is full, not of what the batch made, the rules are loaded anew into another, and
 * the batch's first entry runs there alone: only when that fails, too, is it blamed. */
#include "worker/pipeline.h"

#include "base/clock.h"
#include "base/log.h"
#include "worker/fetch.h"
#include "worker/owed.h"
#include "worker/sizes.h"
#include "worker/sweep.h"
#include "worker/timing.h"
#include "worker/transaction.h"
#include "worker/work.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    CLEAR_AFTER_MS = 50,
    SWEEP_EVERY_MS = 1000,
    BATCH_BYTES = 4 << 20,
    BLOCK_MS = 1000,
    READ_FIRST = 64 /* events from which on reading goes on before they are computed */
};

enum work_state { WORK_NONE, WORK_WAITING, WORK_COMPUTED };

struct pipeline {
    struct pipeline_options options;
    struct pipeline_callbacks callbacks;
    void *context;
    struct reader *reader;
    struct bridge *bridge;
    struct commit *commit;
    struct loop_timer *clear_timer, *sweep_timer;
    bool is_running, is_holding, is_parting, is_stepping, is_stopped;
    bool is_full, is_renewed; /* waits for a fresh VM; has it, for one entry alone (5) */
    char stopped_by[512];
    double clock_ms; /* the position's clock: of what is sent */

    struct read_batch *batch; /* being worked off */
    uint32_t next;            /* its first entry that is not sent yet */
    enum work_state state;
    struct work now;            /* being computed, or computed and waiting for its turn */
    struct work flight;         /* sent */
    struct sealed_batch sealed; /* the effects of `flight` */
    struct fetch fetch;         /* of what `now` waits for */
    struct sizes sizes;
    struct timing timing;

    struct transaction transaction;
    struct sweep sweep;
    struct owed owed;
    struct stream_id
        refused_letter_id; /* of the inbox: Redis refused its command when it was queued */
    char refused_letter[256];
    bool wants_commit;     /* also when no event comes */
    bool has_unverified;   /* ctl.unverified stands, or will once the flight lands */
    bool is_sources_dirty; /* positions changed without an entry: new sources, corrected counts */
    struct alone alone;
    struct pipeline_counts counts;
};

static void step(struct pipeline *p);

/* ── life ────────────────────────────────────────────────────────────────────────────────────── */

/* Something has come. */
static void on_moved(void *context)
{
    step(context);
}

static void on_read_refused(void *context, const struct reply *error)
{
    struct pipeline *p = context;
    p->callbacks.on_refused_read(p->context, error);
}

static void on_outcome(void *context, enum commit_outcome outcome, const struct error *why);

static void on_trouble(void *context, const char *kind, const char *why, bool later)
{
    struct pipeline *p = context;
    p->callbacks.on_trouble(p->context, kind, why, later);
}

static void on_changed(void *context, const char *how)
{
    on_trouble(context, "ctl_changed", how, false);
}

static void on_clear_timer(void *context)
{
    struct pipeline *p = context;
    p->wants_commit = p->wants_commit || p->has_unverified;
    step(p);
}

static void on_sweep_timer(void *context);
static bool is_quiet(void *context);

static void on_fatal(void *context, const struct error *why)
{
    struct pipeline *p = context;
    p->callbacks.on_fatal(p->context, why);
}

static void open_askers(struct pipeline *p)
{
    static const struct timing_callbacks callbacks = {
        .is_quiet = is_quiet, .on_moved = on_moved, .on_trouble = on_trouble, .on_fatal = on_fatal};
    struct timing_options options = {.loop = p->options.loop,
                                     .link = p->options.commit_link,
                                     .owner = p->options.owner,
                                     .bridge = p->bridge,
                                     .partition = p->options.name};
    timing_init(&p->timing, &options, &callbacks, p);
    p->fetch = (struct fetch){
        .link = options.link,
        .bridge = p->bridge,
        .owner = options.owner,
        .partition = options.partition,
        .callbacks = {.on_fetched = on_moved, .on_trouble = on_trouble, .on_fatal = on_fatal},
        .context = p};
}

int pipeline_create(const struct pipeline_options *options,
                    const struct pipeline_callbacks *callbacks, void *context,
                    struct pipeline **out, struct error *error)
{
    static const struct reader_callbacks reader_callbacks = {.on_ready = on_moved,
                                                             .on_refused = on_read_refused};
    static const struct commit_callbacks commit_callbacks = {
        .on_outcome = on_outcome, .on_armed = on_moved, .on_changed = on_changed};
    const struct config *config = options->config;
    struct pipeline *p = calloc(1, sizeof *p);
    if (p == NULL)
        abort();
    p->options = *options;
    p->callbacks = *callbacks;
    p->context = context;
    struct reader_options reader_options = {.batch_events = (uint32_t)config->batch_events,
                                            .batch_bytes = BATCH_BYTES,
                                            .block_ms = BLOCK_MS};
    struct bridge_options bridge_options = {
        .event_limits = {.depth = (uint32_t)config->limits.event_depth,
                         .elements = (uint32_t)config->limits.event_elements},
        .event_bytes = (size_t)config->limits.event_kb * 1024,
        .state_cache_bytes = (size_t)config->state_cache_mb << 20,
        .future_ms = (double)config->future_ms,
        .partition = options->name,
        .prefix = options->keys->prefix.data,
        .dlq_key = options->keys->dlq.data,
        .dlq_maxlen = config->dlq_maxlen,
        .decisions_key = options->keys->decisions.data,
        .record_maxlen = config->record_maxlen,
    };
    p->reader = reader_create(options->read_link, &reader_options, &reader_callbacks, p);
    p->commit = commit_create(options->commit_link, options->owner, &commit_callbacks, p);
    p->clear_timer = loop_timer_open(options->loop, on_clear_timer, p);
    p->sweep_timer = loop_timer_open(options->loop, on_sweep_timer, p);
    sweep_init(&p->sweep);
    owed_init(&p->owed, options->keys, config->dlq_maxlen);
    alone_init(&p->alone, options->name);
    int failed = bridge_create(options->book, &bridge_options, &p->bridge, error);
    if (failed != 0) {
        pipeline_destroy(p);
        return failed;
    }
    open_askers(p);
    *out = p;
    return 0;
}

void pipeline_destroy(struct pipeline *p)
{
    if (p == NULL)
        return;
    pipeline_rest(p);
    loop_timer_close(p->clear_timer);
    loop_timer_close(p->sweep_timer);
    timing_fini(&p->timing);
    reader_destroy(p->reader);
    commit_destroy(p->commit);
    bridge_destroy(p->bridge);
    sealed_batch_fini(&p->sealed);
    fetch_fini(&p->fetch);
    owed_fini(&p->owed);
    transaction_fini(&p->transaction);
    sweep_fini(&p->sweep);
    alone_fini(&p->alone);
    free(p);
}

void pipeline_set_commands(struct pipeline *p, const struct commands *commands)
{
    bridge_set_commands(p->bridge, commands);
}

void pipeline_set_clock(struct pipeline *p, double redis_ahead_ms)
{
    timing_set_ahead(&p->timing, redis_ahead_ms);
}

void pipeline_rest(struct pipeline *p)
{
    p->is_running = p->is_holding = p->is_stopped = false;
    work_forget(&p->now);
    work_forget(&p->flight);
    p->state = WORK_NONE;
    read_batch_release(p->batch);
    p->batch = NULL;
    reader_rest(p->reader);
    commit_reset(p->commit);
    if (p->bridge != NULL) {
        bridge_drop(p->bridge);
        timing_rest(&p->timing);
    }
    for (size_t i = 0; i < p->options.owner->source_count; i++)
        p->options.owner->sources[i]->sent_count = 0;
    loop_timer_stop(p->clear_timer);
    loop_timer_stop(p->sweep_timer);
    sweep_rest(&p->sweep);
    fetch_rest(&p->fetch);
    p->wants_commit = p->has_unverified = p->is_sources_dirty = false;
    if (p->is_parting)
        p->callbacks.on_parted(p->context);
}

/* A commit of before the acquire whose outcome nobody saw: one letter tells of it (design 4.5). */
static void tell_unverified(struct pipeline *p)
{
    struct owner *o = p->options.owner;
    if (!o->is_continued) /* they are written, or the letter below tells of them */
        owed_clear(&p->owed);
    p->has_unverified = o->has_unverified;
    p->wants_commit = o->has_unverified || p->owed.count > 0;
    if (o->unverified[0] != '\0')
        owed_add_unverified(&p->owed, o->unverified);
}

void pipeline_start(struct pipeline *p)
{
    struct owner *o = p->options.owner;
    assert(!p->is_running);
    p->is_running = true;
    p->clock_ms = 0;
    for (size_t i = 0; i < o->source_count; i++)
        if (o->sources[i]->number != 0 && (double)o->sources[i]->committed.ms > p->clock_ms)
            p->clock_ms = (double)o->sources[i]->committed.ms;
    tell_unverified(p);
    p->sizes.states = bridge_states(p->bridge);
    sizes_ask(&p->sizes, p->options.commit_link, p->options.keys,
              rulebook_registry(p->options.book));
    timing_begin(&p->timing, p->options.book, p->clock_ms);
    alone_begin(&p->alone, o, (uint32_t)p->options.config->batch_events);
    reader_start(p->reader, o->sources, o->source_count);
    commit_arm(p->commit);
    loop_timer_start(p->sweep_timer, SWEEP_EVERY_MS);
}

void pipeline_update_sources(struct pipeline *p)
{
    if (p->is_running)
        reader_update(p->reader, p->options.owner->sources, p->options.owner->source_count);
}

void pipeline_commit_sources(struct pipeline *p)
{
    p->is_sources_dirty = p->wants_commit = true;
    step(p);
}

void pipeline_hold(struct pipeline *p)
{
    p->is_holding = true;
    reader_hold(p->reader);
    p->wants_commit = p->wants_commit || p->has_unverified;
    step(p);
}

void pipeline_part(struct pipeline *p)
{
    p->is_parting = true;
    if (p->is_running)
        step(p);
    else
        p->callbacks.on_parted(p->context);
}

bool pipeline_is_parted(const struct pipeline *p)
{
    return p->is_parting && p->state == WORK_NONE && !p->sweep.is_looking &&
           !timing_is_asking(&p->timing);
}

void pipeline_attach(struct pipeline *p, struct rulebook *book)
{
    struct error error;
    assert(pipeline_is_parted(p));
    if (bridge_attach(p->bridge, book, &error) != 0)
        p->callbacks.on_fatal(p->context, &error);
    p->options.book = book;
    if (p->is_running)
        timing_go_on(&p->timing);
    sweep_begin_anew(&p->sweep);
    alone_begin_anew(&p->alone);
    p->is_stopped = false;
    p->stopped_by[0] = '\0';
}

void pipeline_go_on(struct pipeline *p)
{
    p->is_parting = false;
    p->is_renewed |= p->is_full;
    p->is_full = false;
    step(p);
}

bool pipeline_is_idle(const struct pipeline *p)
{
    return !p->is_running || (p->state == WORK_NONE && !commit_is_flying(p->commit) &&
                              !p->has_unverified && p->owed.count == 0);
}

void pipeline_count(const struct pipeline *p, struct pipeline_counts *counts)
{
    *counts = p->counts;
    counts->state_bytes = states_bytes(bridge_states(p->bridge));
    counts->state_keys = states_count(bridge_states(p->bridge));
    counts->is_stopped = p->is_stopped;
    snprintf(counts->stopped_by, sizeof counts->stopped_by, "%s", p->stopped_by);
}

/* ── computing ───────────────────────────────────────────────────────────────────────────────── */

static void stop_at(struct pipeline *p, const char *by)
{
    p->is_stopped = true;
    snprintf(p->stopped_by, sizeof p->stopped_by, "%s", by);
    log_line(LOG_ERROR, "rule_stopped",
             "a rule with on_error = \"stop\" failed; the partition waits before this event",
             "partition", p->options.name, "cause", by, NULL);
    p->wants_commit = alone_rest(&p->alone) || p->wants_commit;
    timing_forget_moment(&p->timing);
}

static void forget_now(struct pipeline *p)
{
    work_forget(&p->now);
    p->state = WORK_NONE;
}

/* Looks at how far the batch went. False: not an inch: nothing of it is to be committed. */
static bool take_stock(struct pipeline *p, uint32_t processed)
{
    struct work *now = &p->now;
    uint32_t seen_count, fired = bridge_fired_count(p->bridge);
    (void)bridge_seen_clocks(p->bridge, &seen_count);
    timing_take_stock(&p->timing, processed, now->until_ms);
    if (now->choice.is_fired)
        return fired > 0 && processed == 0;
    if (processed < now->count && now->choice.is_alone) /* it comes yet */
        now->choice = (struct alone_choice){0};
    if (work_is_moment(now))
        return fired > 0 || seen_count > 0;
    return processed > 0 || fired > 0 || !timing_must_ask(&p->timing);
}

/* What would fire first is known, unless it takes more to find out. */
static void take_peek(struct pipeline *p)
{
    timing_take_stock(&p->timing, 0, 0);
    if (!timing_must_ask(&p->timing))
        alone_peeked(&p->alone, bridge_first_fired(p->bridge));
    bridge_discard(p->bridge);
    forget_now(p);
}

/* Runs the rules on what `now` holds. False: the partition is in trouble or stopped. */
static bool compute(struct pipeline *p)
{
    enum bridge_status status;
    uint32_t processed;
    const char *stopped;
    struct error error;
    uint64_t deadline = clock_coarse_ms() + (uint64_t)p->options.config->batch_ms;
    if (bridge_run(p->bridge, deadline, &status, &processed, &stopped, &error) != 0) {
        p->callbacks.on_fatal(p->context, &error);
        return false;
    }
    if (status == BRIDGE_FULL) {
        forget_now(p);
        p->is_full = true;
        p->callbacks.on_full(p->context);
        return false;
    }
    if (status == BRIDGE_WAIT) {
        fetch_ask(&p->fetch);
        p->counts.state_loads += p->fetch.states;
        p->counts.lookups += p->fetch.lookups;
        p->state = WORK_WAITING;
        return true;
    }
    fetch_forget(&p->fetch);
    p->is_renewed = false;
    if (p->now.retry.is_fired)
        processed = 1;
    if (processed == 0 && bridge_fired_count(p->bridge) == 0 && stopped != NULL) {
        forget_now(p);
        stop_at(p, stopped);
        return false;
    }
    if (p->now.choice.is_peek) {
        take_peek(p);
        return true;
    }
    bool is_rehearsed = p->now.choice.is_rehearsal && processed > 0;
    if (!take_stock(p, processed) || is_rehearsed) {
        if (is_rehearsed)
            alone_survived(&p->alone, &p->now.choice);
        bridge_discard(p->bridge);
        forget_now(p);
        return true;
    }
    p->counts.cuts += processed < p->now.count;
    p->now.count = processed;
    p->state = WORK_COMPUTED;
    return true;
}

/* Gives `now` to the bridge. False: nothing may be run before ctl says so. */
static bool put_work(struct pipeline *p, double redis_ms)
{
    struct work *now = &p->now;
    bool has_entries = now->batch != NULL && (!work_is_letter(now) || now->retry.is_event);
    if (p->is_renewed)
        now->count = 1;
    bridge_set_renewable(p->bridge, !p->is_renewed);
    struct batch_entry *entries = work_first_entry(now);
    if (!alone_is_over(&p->alone) && (has_entries || work_is_moment(now))) {
        alone_choose(&p->alone, p->options.book, now->batch, now->first, entries, now->count,
                     &now->choice);
        p->wants_commit = p->wants_commit || p->alone.is_due;
        now->count = now->choice.count;
        if (now->choice.is_held)
            return false;
    }
    bridge_put_batch(p->bridge, entries, has_entries ? now->count : 0, p->clock_ms, redis_ms);
    timing_put(&p->timing, now->until_ms);
    if (p->is_renewed)
        bridge_put_step(p->bridge, BRIDGE_FIRE_ONE);
    blames_put_fired(&p->alone.blames, p->bridge);
    if (now->retry.is_fired)
        bridge_put_fired(p->bridge, &now->retry.fired);
    if (now->choice.is_alone)
        alone_put(&p->alone, p->options.book, p->bridge, entries, &now->choice);
    return true;
}

/* Takes the next part of what was read. */
static bool take_work(struct pipeline *p)
{
    if (timing_moment(&p->timing) > 0) { /* older than anything that came since */
        p->now = (struct work){.until_ms = timing_moment(&p->timing)};
        return put_work(p, p->now.until_ms);
    }
    if (p->batch != NULL && p->next == p->batch->count) {
        read_batch_release(p->batch);
        p->batch = NULL;
    }
    if (p->batch == NULL) {
        p->batch = reader_take(p->reader);
        p->next = 0;
        if (p->batch != NULL && p->batch->count >= READ_FIRST)
            reader_read_on(p->reader);
    }
    if (p->batch == NULL)
        return false;
    timing_pass(&p->timing);
    struct read_batch *batch = p->batch;
    read_batch_keep(batch);
    p->now = (struct work){.batch = batch, .first = p->next, .count = batch->count - p->next};
    if (batch->is_inbox) {
        /* Letters go one by one: each is an event, or only a command, of its own. */
        p->now.count = 1;
        p->now.inbox_id = batch->ids[p->next];
        bool was_refused = p->refused_letter[0] != '\0' &&
                           stream_id_compare(p->refused_letter_id, p->now.inbox_id) == 0;
        retry_init(&p->now.retry, p->options.book, &batch->entries[p->next],
                   was_refused ? p->refused_letter : NULL);
    }
    if (put_work(p, batch->is_inbox ? 0 : timing_redis_ms(&p->timing)))
        return true;
    work_forget(&p->now);
    return false;
}

static bool may_compute(const struct pipeline *p)
{
    return !p->is_holding && !p->is_parting && !p->is_stopped && !p->is_full;
}

static bool compute_next(struct pipeline *p)
{
    do {
        if (!may_compute(p) || timing_must_ask(&p->timing) || !take_work(p))
            return false;
        if (work_is_letter(&p->now) && !p->now.retry.is_event && !p->now.retry.is_fired) {
            p->state = WORK_COMPUTED;
            return true;
        }
        if (!compute(p))
            return false;
    } while (p->state == WORK_NONE &&
             !timing_must_ask(&p->timing)); /* it was a rehearsal, or an empty moment */
    return true;
}

/* ── committing ──────────────────────────────────────────────────────────────────────────────── */

/* What ctl.note says from then on; NULL: what it says already. */
static const char *note_to_send(struct pipeline *p, bool has_work)
{
    bool goes_on = !p->is_holding && !p->is_stopped;
    uint32_t next = has_work && p->now.batch != NULL ? p->now.first + p->now.count : p->next;
    return alone_send(&p->alone, p->options.book, has_work ? &p->now.choice : NULL,
                      goes_on ? p->batch : NULL, next);
}

/* The transaction of `now`, or of what has to be written without any event. */
static void send(struct pipeline *p)
{
    bool has_work = p->state == WORK_COMPUTED, has_moved;
    uint32_t effect_count = 0, letter_count = 0;
    commit_begin(p->commit);
    if (has_work && !p->now.retry.is_command) {
        effect_count = transaction_add_effects(p->commit, p->bridge);
    } else if (has_work) {
        commit_add_effect(p->commit, p->now.retry.command.text, p->now.retry.command.len);
        effect_count = 1;
    }
    if (has_work) {
        letter_count = transaction_add_letters(p->commit, p->bridge);
        transaction_add_decisions(p->commit, p->bridge);
        transaction_add_states(p->commit, p->options.keys, p->options.book,
                               bridge_states(p->bridge));
        transaction_add_timers(&p->transaction, p->commit, p->bridge);
        if (work_is_letter(&p->now))
            retry_add_removal(&p->now.retry, p->commit, p->options.keys,
                              p->options.config->dlq_maxlen, p->now.inbox_id);
    }
    owed_commit(&p->owed, p->commit);
    commit_add_commands(p->commit, p->sweep.commands.data, p->sweep.commands.len, p->sweep.count,
                        "HDEL :state:*");
    has_moved = has_work && work_advance(&p->now);
    struct transaction_marks marks = {.has_new_sources = p->is_sources_dirty,
                                      .is_foreign = effect_count > 0,
                                      .has_unverified = p->has_unverified,
                                      .note = note_to_send(p, has_work),
                                      .what = work_is_letter(&p->now) ? "a retry" : "timers",
                                      .book = p->options.book};
    if (has_work)
        marks.seen = bridge_seen_clocks(p->bridge, &marks.seen_count);
    transaction_add_positions(&p->transaction, p->commit, p->options.owner, &marks);
    if (has_moved || p->is_sources_dirty)
        transaction_add_groups(p->commit, p->options.owner, p->is_sources_dirty,
                               link_redis_version(p->options.commit_link) >= 0x070000);
    p->has_unverified = effect_count > 0;
    p->is_sources_dirty = p->wants_commit = false;
    p->sweep.commands.len = p->sweep.count = 0;
    p->counts.effects += effect_count;
    p->counts.letters += letter_count;
    if (has_work) {
        bridge_seal(p->bridge, &p->sealed);
        p->clock_ms =
            bridge_clock_ms(p->bridge) > p->clock_ms ? bridge_clock_ms(p->bridge) : p->clock_ms;
        if (p->now.batch != NULL)
            p->next = p->now.first + p->now.count;
        p->flight = p->now;
        p->flight.book = p->options.book;
        rulebook_keep(p->flight.book);
        p->now = (struct work){0};
    }
    p->state = WORK_NONE;
    commit_send(p->commit);
}

/* Effects that Redis refused inside EXEC: letters in the next commit (3). */
static void tell_refused(struct pipeline *p)
{
    size_t cursor = 0;
    uint32_t place;
    const char *message;
    while (commit_refused_next(p->commit, &cursor, &place, &message)) {
        struct bridge_described texts;
        struct letter letter = {.reason = "refused", .message = message, .key = ""};
        work_describe_refused(&p->flight, &p->sealed, p->bridge, place, &letter, &texts);
        owed_add(&p->owed, &letter);
        p->wants_commit = true;
    }
}

/* What the commit means for entries that are run alone, and for blames. */
static void land_alone(struct pipeline *p)
{
    struct blame blame;
    struct work *flight = &p->flight;
    bool has_work = work_is_some(flight);
    struct alone_landed landed = {.book = has_work ? flight->book : p->options.book,
                                  .choice = has_work ? &flight->choice : NULL,
                                  .entry = work_first_entry(flight),
                                  .fired = p->sealed.fired,
                                  .fired_count = has_work ? p->sealed.fired_count : 0,
                                  .is_letter = work_is_letter(flight) && flight->retry.is_event};
    alone_land(&p->alone, &landed);
    for (size_t at = 0; alone_next_over(&p->alone, p->options.owner, &landed, &at, &blame);)
        p->callbacks.on_blamed(p->context, &blame);
}

void pipeline_blame(struct pipeline *p, const struct blame *blame)
{
    blames_add(&p->alone.blames, blame);
}

static void land(struct pipeline *p)
{
    struct error why;
    uint64_t events = transaction_land(p->options.owner);
    p->counts.events += events;
    p->counts.commits++;
    if (p->options.slot != NULL) {
        p->options.slot->events += events;
        p->options.slot->commits++;
    }
    /* Letters that came in while the commit was in flight stand behind those that it took along. */
    owed_clear(&p->owed);
    tell_refused(p);
    for (size_t cursor = 0; transaction_next_fault(p->commit, p->options.owner, &cursor, &why);)
        p->callbacks.on_fatal(p->context, &why);
    if (work_is_some(&p->flight)) {
        p->counts.fired += p->sealed.fired_count;
        bridge_forget_refusals(p->bridge);
    }
    land_alone(p);
    work_forget(&p->flight);
}

static void on_outcome(void *context, enum commit_outcome outcome, const struct error *why)
{
    struct pipeline *p = context;
    switch (outcome) {
    case COMMIT_LANDED:
        land(p);
        return; /* the arming behind it goes on */
    case COMMIT_FENCED:
        on_trouble(
            p, "commit_fenced",
            "ctl changed before the commit: an edit from the shell, a late commit, or another "
            "owner",
            false);
        return;
    case COMMIT_LATER:
        on_trouble(p, "redis_later", why->text, true);
        return;
    case COMMIT_FATAL:
        p->callbacks.on_fatal(p->context, why);
        return;
    case COMMIT_REFUSED: {
        size_t cursor = 0;
        uint32_t place;
        const char *message;
        while (commit_refused_next(p->commit, &cursor, &place, &message)) {
            if (p->flight.retry.is_command) {
                p->refused_letter_id = p->flight.inbox_id;
                snprintf(p->refused_letter, sizeof p->refused_letter, "%s", message);
                continue;
            }
            if (p->flight.book != p->options.book)
                continue; /* these rules may not ask for it at all */
            work_refuse(&p->flight, &p->sealed, p->bridge, place, message);
        }
        on_trouble(
            p, "effect_refused",
            "Redis refused an effect when it was queued; the batch is computed again without it",
            false);
        return;
    }
    }
}

/* ── sweeping expired states ─────────────────────────────────────────────────────────────────── */

static void on_sweep(void *context, const struct reply *reply)
{
    struct pipeline *p = context;
    bool is_at_tail = p->batch == NULL && p->state == WORK_NONE;
    double now_ms = timing_state_ms(&p->timing, p->sweep.rule, is_at_tail, p->clock_ms);
    if (sweep_take(&p->sweep, p->options.book, p->options.keys, reply, now_ms))
        p->wants_commit = true;
    step(p);
}

static void start_sweep(struct pipeline *p)
{
    struct link *link = p->options.commit_link;
    sweep_begin(&p->sweep, p->options.book, p->options.keys, link_out(link));
    link_expect(link, on_sweep, p, NULL, 0);
    link_flush(link);
}

static void on_sweep_timer(void *context)
{
    struct pipeline *p = context;
    loop_timer_start(p->sweep_timer, SWEEP_EVERY_MS);
    sweep_tick(&p->sweep, p->options.book);
    step(p);
}

/* ── moving on ───────────────────────────────────────────────────────────────────────────────── */

/* Nothing moves but time. */
static bool is_quiet(void *context)
{
    const struct pipeline *p = context;
    return p->is_running && may_compute(p) && p->state == WORK_NONE &&
           !timing_must_ask(&p->timing) && (p->batch == NULL || p->next == p->batch->count) &&
           !reader_has_entries(p->reader);
}

static bool may_send(const struct pipeline *p)
{
    return commit_is_armed(p->commit) &&
           (p->state == WORK_COMPUTED || (p->state == WORK_NONE && p->wants_commit));
}

/* One thing after the other until everything waits for Redis. */
static void step(struct pipeline *p)
{
    if (p->is_stepping || !p->is_running)
        return;
    p->is_stepping = true;
    for (;;) {
        if (p->sweep.is_looking || timing_is_asking(&p->timing))
            break;
        if (p->sweep.is_wanted && p->state == WORK_NONE && may_compute(p)) {
            if (commit_is_armed(p->commit))
                start_sweep(p);
            break; /* or when it is armed */
        }
        if (p->state == WORK_NONE && may_compute(p) && timing_must_ask(&p->timing) &&
            timing_ask(&p->timing))
            break;
        if (p->state == WORK_WAITING) {
            if (!fetch_is_done(&p->fetch) || (!compute(p) && !p->wants_commit) ||
                p->state == WORK_WAITING)
                break;
        }
        if (p->state == WORK_NONE && !p->wants_commit) {
            bool goes_on = compute_next(p);
            if (p->state == WORK_NONE &&
                (goes_on || (may_compute(p) && timing_must_ask(&p->timing))))
                continue;
            if ((!goes_on && !p->wants_commit) || p->state == WORK_WAITING)
                break;
        }
        if (!may_send(p))
            break;
        send(p);
    }
    p->is_stepping = false;
    if (!p->is_running)
        return;
    reader_read_on(p->reader);
    timing_plan(&p->timing);
    bool is_still = p->state == WORK_NONE && !commit_is_flying(p->commit);
    if (is_still && p->has_unverified && !loop_timer_is_started(p->clear_timer))
        loop_timer_start(p->clear_timer, CLEAR_AFTER_MS);
    if (pipeline_is_parted(p))
        p->callbacks.on_parted(p->context);
    if (p->is_holding && pipeline_is_idle(p))
        p->callbacks.on_idle(p->context);
}

bool pipeline_watermark(struct pipeline *p, const char *rule, double *ms, double *lag_ms)
{
    uint32_t number = rulebook_rule_number(p->options.book, rule, strlen(rule));
    bool is_at_tail = p->batch == NULL && p->state == WORK_NONE && !work_is_some(&p->flight);
    return number > 0 && timing_watermark(&p->timing, number, is_at_tail, ms, lag_ms);
}
