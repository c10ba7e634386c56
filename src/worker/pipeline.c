/* pipeline.c: see the drawing in pipeline.h. One function, `step`, moves everything on; callbacks
 * only note what came and call it.
 *
 * (1) Batch n+1 is computed only after n was sent: so its loads and lookups stand behind EXEC n on
 * the commit link. (2) n+1 is sent only after all of EXEC n has been judged and ctl is still as n
 * left it (commit.h). (3) An effect that was refused inside EXEC becomes a letter in the next
 * commit, which is then sent even when no event comes. Those letters are owed until a commit has
 * taken them along: they outlive pipeline_rest, if ctl is still as that commit left it. */
#include "worker/pipeline.h"

#include "base/clock.h"
#include "base/log.h"
#include "redis/command.h"
#include "worker/retry.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    HASH_PAIRS = 512,
    CLEAR_AFTER_MS = 50,
    SWEEP_EVERY_MS = 1000,
    BATCH_BYTES = 4 << 20,
    BLOCK_MS = 1000,
    READ_FIRST = 64 /* events from which on reading goes on before they are computed */
};
#define SWEEP_COUNT "2000" /* states looked at a second: 7 million an hour */

enum work_state { WORK_NONE, WORK_WAITING, WORK_COMPUTED };

/* A part of a read batch on its way. */
struct work {
    struct read_batch *batch;
    uint32_t first, count;     /* its entries are batch->entries[first .. first + count) */
    struct retry retry;        /* when it is a letter to try again */
    struct stream_id inbox_id; /* of that letter */
};

struct pipeline {
    struct pipeline_options options;
    struct pipeline_callbacks callbacks;
    void *context;
    struct reader *reader;
    struct bridge *bridge;
    struct commit *commit;
    struct loop_timer *clear_timer, *sweep_timer;
    bool is_running, is_holding, is_stepping, is_stopped;
    char stopped_by[512];
    double clock_ms;       /* the position's clock: of what is sent */
    double redis_ahead_ms; /* Redis' clock less our own; 0: not known */

    struct read_batch *batch; /* being worked off */
    uint32_t next;            /* its first entry that is not sent yet */
    enum work_state state;
    struct work now;            /* being computed, or computed and waiting for its turn */
    struct work flight;         /* sent */
    struct sealed_batch sealed; /* the effects of `flight` */
    struct arena replies;       /* of states and lookups */
    size_t state_replies, lookup_replies, replies_came;

    struct buf fields, range; /* scratch of add_positions */
    struct buf
        letters; /* whole commands for the next commit: refused effects, an unverified commit */
    uint32_t letter_count;
    struct stream_id
        refused_letter_id; /* of the inbox: Redis refused its command when it was queued */
    char refused_letter[256];
    bool wants_commit;     /* also when no event comes */
    bool has_unverified;   /* ctl.unverified stands, or will once the flight lands */
    bool is_sources_dirty; /* positions changed without an entry: new sources, corrected counts */
    struct buf sweep;      /* HDEL commands of expired states, for the very next commit only */
    uint32_t sweep_count;
    uint32_t sweep_rule;
    char sweep_cursor[32];
    bool wants_sweep, is_sweeping;
    struct pipeline_counts counts;
};

static void step(struct pipeline *p);

/* ── life
 * ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
 */

static void on_ready(void *context)
{
    step(context);
}

static void on_read_refused(void *context, const struct reply *error)
{
    struct pipeline *p = context;
    p->callbacks.on_refused_read(p->context, error);
}

static void on_outcome(void *context, enum commit_outcome outcome, const struct error *why);

static void on_armed(void *context)
{
    step(context);
}

static void on_changed(void *context, const char *how)
{
    struct pipeline *p = context;
    p->callbacks.on_trouble(p->context, "ctl_changed", how, false);
}

static void on_clear_timer(void *context)
{
    struct pipeline *p = context;
    p->wants_commit = p->wants_commit || p->has_unverified;
    step(p);
}

static void on_sweep_timer(void *context);

int pipeline_create(const struct pipeline_options *options,
                    const struct pipeline_callbacks *callbacks, void *context,
                    struct pipeline **out, struct error *error)
{
    static const struct reader_callbacks reader_callbacks = {.on_ready = on_ready,
                                                             .on_refused = on_read_refused};
    static const struct commit_callbacks commit_callbacks = {
        .on_outcome = on_outcome, .on_armed = on_armed, .on_changed = on_changed};
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
        .dlq_key = options->keys->dlq.data,
        .dlq_maxlen = config->dlq_maxlen,
    };
    p->reader = reader_create(options->read_link, &reader_options, &reader_callbacks, p);
    p->commit = commit_create(options->commit_link, options->owner, &commit_callbacks, p);
    p->clear_timer = loop_timer_open(options->loop, on_clear_timer, p);
    p->sweep_timer = loop_timer_open(options->loop, on_sweep_timer, p);
    snprintf(p->sweep_cursor, sizeof p->sweep_cursor, "0");
    p->sweep_rule = 1;
    int failed = bridge_create(options->book, &bridge_options, &p->bridge, error);
    if (failed != 0)
        pipeline_destroy(p);
    else
        *out = p;
    return failed;
}

void pipeline_destroy(struct pipeline *p)
{
    if (p == NULL)
        return;
    pipeline_rest(p);
    loop_timer_close(p->clear_timer);
    loop_timer_close(p->sweep_timer);
    reader_destroy(p->reader);
    commit_destroy(p->commit);
    bridge_destroy(p->bridge);
    sealed_batch_fini(&p->sealed);
    arena_fini(&p->replies);
    buf_fini(&p->letters);
    buf_fini(&p->fields);
    buf_fini(&p->range);
    buf_fini(&p->sweep);
    free(p);
}

void pipeline_set_commands(struct pipeline *p, const struct commands *commands)
{
    bridge_set_commands(p->bridge, commands);
}

void pipeline_set_clock(struct pipeline *p, double redis_ahead_ms)
{
    p->redis_ahead_ms = redis_ahead_ms;
}

static double redis_now_ms(const struct pipeline *p)
{
    return p->redis_ahead_ms == 0 ? 0 : (double)clock_now_ms() + p->redis_ahead_ms;
}

static void work_forget(struct work *work)
{
    read_batch_release(work->batch);
    retry_fini(&work->retry);
    *work = (struct work){0};
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
    if (p->bridge != NULL)
        bridge_drop(p->bridge);
    for (size_t i = 0; i < p->options.owner->source_count; i++)
        p->options.owner->sources[i]->sent_count = 0;
    loop_timer_stop(p->clear_timer);
    loop_timer_stop(p->sweep_timer);
    p->sweep.len = p->sweep_count = 0;
    p->wants_commit = p->has_unverified = p->is_sources_dirty = p->wants_sweep = p->is_sweeping =
        false;
}

/* A commit of before the acquire whose outcome nobody saw: one letter tells of it (design 4.5). */
static void tell_unverified(struct pipeline *p)
{
    struct owner *o = p->options.owner;
    if (!o->is_continued) /* they are written, or the letter below tells of them */
        p->letters.len = p->letter_count = 0;
    p->has_unverified = o->has_unverified;
    p->wants_commit = o->has_unverified || p->letter_count > 0;
    if (o->unverified[0] == '\0')
        return;
    char message[700];
    snprintf(message, sizeof message,
             "the engine or its connection broke off before it saw whether Redis refused a write "
             "of this commit: %s",
             o->unverified);
    struct letter letter = {.stream = "",
                            .id = "",
                            .rule = "",
                            .version = "",
                            .reason = "unverified",
                            .message = message,
                            .traceback = "",
                            .key = "",
                            .payload = "",
                            .at_ms = clock_wall_ms(),
                            .attempts = 1};
    letter_append(&p->letters, p->options.keys->dlq.data, p->options.config->dlq_maxlen, &letter);
    p->letter_count++;
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

bool pipeline_is_idle(const struct pipeline *p)
{
    return !p->is_running || (p->state == WORK_NONE && !commit_is_flying(p->commit) &&
                              !p->has_unverified && p->letter_count == 0);
}

void pipeline_count(const struct pipeline *p, struct pipeline_counts *counts)
{
    *counts = p->counts;
    counts->state_bytes = states_bytes(bridge_states(p->bridge));
    counts->state_keys = states_count(bridge_states(p->bridge));
    counts->is_stopped = p->is_stopped;
    snprintf(counts->stopped_by, sizeof counts->stopped_by, "%s", p->stopped_by);
}

/* ── computing
 * ────────────────────────────────────────────────────────────────────────────────────────────────────────
 */

static void trouble(struct pipeline *p, const char *kind, const char *why, bool later)
{
    p->callbacks.on_trouble(p->context, kind, why, later);
}

static void on_want(void *context, const struct reply *reply)
{
    struct pipeline *p = context;
    size_t place = p->replies_came++;
    if (reply->type == REPLY_ERROR && reply_means_later(reply)) {
        trouble(p, "redis_later", reply->text, true);
        return;
    }
    if (place < p->state_replies) {
        if (reply->type == REPLY_ERROR) {
            struct error why;
            error_set(&why, ERROR_FATAL_REPLY, "Redis refuses to load states: %s", reply->text);
            if (reply_is_error(reply, "NOPERM"))
                owner_explain_refusal(p->options.owner, reply, "HMGET :state:*", &why);
            p->callbacks.on_fatal(p->context, &why);
            return;
        }
        if (!bridge_take_states(p->bridge, place, reply))
            log_repeat(LOG_ERROR, "state_unreadable",
                       "a state in Redis cannot be read and counts as empty", "partition",
                       p->options.name, NULL);
    } else {
        bridge_take_answer(p->bridge, reply);
    }
    if (p->replies_came == p->state_replies + p->lookup_replies)
        step(p);
}

/* Sends for what the batch waits for; on_want goes on. */
static void fetch_wants(struct pipeline *p)
{
    struct bridge_wants wants;
    char prefix[512];
    snprintf(prefix, sizeof prefix, "%sstate:", p->options.keys->prefix.data);
    bridge_wants(p->bridge, prefix, link_out(p->options.commit_link), &wants);
    p->state_replies = wants.state_replies;
    p->lookup_replies = wants.lookup_replies;
    p->replies_came = 0;
    p->counts.state_loads += wants.state_replies;
    p->counts.lookups += wants.lookup_replies;
    assert(wants.state_replies + wants.lookup_replies > 0);
    for (size_t i = 0; i < wants.state_replies + wants.lookup_replies; i++)
        link_expect(p->options.commit_link, on_want, p, &p->replies, 0);
    p->state = WORK_WAITING;
    link_flush(p->options.commit_link);
}

static void stop_at(struct pipeline *p, const char *by)
{
    p->is_stopped = true;
    snprintf(p->stopped_by, sizeof p->stopped_by, "%s", by);
    log_line(LOG_ERROR, "rule_stopped",
             "a rule with on_error = \"stop\" failed; the partition waits before this event",
             "partition", p->options.name, "cause", by, NULL);
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
    if (status == BRIDGE_WAIT) {
        fetch_wants(p);
        return true;
    }
    arena_reset(&p->replies, 1 << 20);
    if (processed == 0 && stopped != NULL) {
        work_forget(&p->now);
        p->state = WORK_NONE;
        stop_at(p, stopped);
        return false;
    }
    p->counts.cuts += processed < p->now.count;
    p->now.count = processed;
    p->state = WORK_COMPUTED;
    return true;
}

/* Takes the next part of what was read. */
static bool take_work(struct pipeline *p)
{
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
    struct read_batch *batch = p->batch;
    read_batch_keep(batch);
    p->now = (struct work){.batch = batch, .first = p->next, .count = batch->count - p->next};
    if (!batch->is_inbox) {
        bridge_put_batch(p->bridge, batch->entries + p->next, p->now.count, p->clock_ms,
                         redis_now_ms(p));
        return true;
    }
    /* Letters go one by one: each is an event, or only a command, of its own. */
    p->now.count = 1;
    p->now.inbox_id = batch->ids[p->next];
    bool was_refused = p->refused_letter[0] != '\0' &&
                       stream_id_compare(p->refused_letter_id, p->now.inbox_id) == 0;
    retry_init(&p->now.retry, p->options.book, &batch->entries[p->next],
               was_refused ? p->refused_letter : NULL);
    bridge_put_batch(p->bridge, &p->now.retry.entry, p->now.retry.is_event ? 1 : 0, p->clock_ms, 0);
    return true;
}

static bool compute_next(struct pipeline *p)
{
    if (p->is_holding || p->is_stopped || !take_work(p))
        return false;
    if (p->now.batch->is_inbox && !p->now.retry.is_event) {
        p->state = WORK_COMPUTED;
        return true;
    }
    return compute(p);
}

/* ── committing
 * ───────────────────────────────────────────────────────────────────────────────────────────────────────
 */

static int compare_changes(const void *left, const void *right)
{
    const struct state_change *a = left, *b = right;
    bool a_deletes = a->len == 0, b_deletes = b->len == 0;
    if (a->rule != b->rule)
        return a->rule < b->rule ? -1 : 1;
    return a_deletes - b_deletes;
}

/* HSET or HDEL for a row of changes of one rule and kind. */
static void add_changes(struct pipeline *p, const struct state_change *changes, size_t count)
{
    bool deletes = changes[0].len == 0;
    struct buf key = {0};
    keys_state(p->options.keys, rulebook_rule_name(p->options.book, changes[0].rule), &key);
    char what[512];
    snprintf(what, sizeof what, "%s %s", deletes ? "HDEL" : "HSET", key.data);
    struct buf *out = commit_add_command(p->commit, what);
    command_begin(out, 2 + count * (deletes ? 1 : 2));
    command_argument_text(out, deletes ? "HDEL" : "HSET");
    command_argument(out, key.data, key.len);
    for (size_t i = 0; i < count; i++) {
        command_argument(out, changes[i].key, changes[i].key_len);
        if (!deletes)
            command_argument(out, changes[i].bytes, changes[i].len);
    }
    buf_fini(&key);
}

static void add_states(struct pipeline *p)
{
    struct states *states = bridge_states(p->bridge);
    size_t cursor = 0, count = 0, cap = 0;
    struct state_change change, *all = NULL;
    bool is_sorted = true;
    while (states_next_change(states, &cursor, &change)) {
        if (count == cap) {
            cap = cap > 0 ? cap * 2 : 1024;
            all = realloc(all, cap * sizeof *all);
            if (all == NULL)
                abort();
        }
        all[count++] = change;
        if (count > 1 && compare_changes(&all[count - 2], &all[count - 1]) > 0)
            is_sorted = false;
    }
    if (!is_sorted)
        qsort(all, count, sizeof *all, compare_changes);
    for (size_t first = 0; first < count;) {
        size_t row = 1;
        while (first + row < count && row < HASH_PAIRS &&
               compare_changes(&all[first], &all[first + row]) == 0)
            row++;
        add_changes(p, all + first, row);
        first += row;
    }
    free(all);
}

/* What the entries of `now` move: the last ID of each stream, and how many entries. */
static void advance_sources(struct pipeline *p, bool *has_moved)
{
    struct work *work = &p->now;
    *has_moved = false;
    if (p->state != WORK_COMPUTED || work->batch->is_inbox)
        return;
    for (uint32_t i = work->first; i < work->first + work->count; i++) {
        struct source *s = work->batch->sources[i];
        s->sent = work->batch->ids[i];
        s->sent_count++;
    }
    *has_moved = work->count > 0;
}

static void add_positions(struct pipeline *p, bool has_foreign)
{
    struct owner *o = p->options.owner;
    struct buf fields = p->fields, range = p->range; /* their memory is used again and again */
    size_t pairs = 0;
    fields.len = range.len = 0;
    for (size_t i = 0; i < o->source_count; i++) {
        struct source *s = o->sources[i];
        if (s->number == 0 || !s->is_known || (s->sent_count == 0 && !p->is_sources_dirty))
            continue;
        char id[STREAM_ID_TEXT], name[1024];
        struct stream_id at = s->sent_count > 0 ? s->sent : s->committed;
        stream_id_format(at, id);
        snprintf(name, sizeof name, "offset:%s", s->name);
        command_argument_text(&fields, name);
        command_argument_text(&fields, id);
        snprintf(name, sizeof name, "read:%s", s->name);
        command_argument_text(&fields, name);
        command_argument_number(&fields, s->read < 0 ? -1 : s->read + (int64_t)s->sent_count);
        pairs += 2;
        if (s->sent_count > 0) {
            char before[STREAM_ID_TEXT];
            stream_id_format(s->committed, before);
            buf_printf(&range, "%s%s after %s up to %s", range.len > 0 ? ", " : "", s->name, before,
                       id);
        }
    }
    if (has_foreign) {
        char value[400];
        snprintf(value, sizeof value, "commit %lld: %s", (long long)o->commits + 1,
                 range.len > 0 ? buf_text(&range) : "a retry");
        command_argument_text(&fields, "unverified");
        command_argument_text(&fields, value);
        pairs++;
    }
    command_argument_text(&fields, "commits");
    command_argument_number(&fields, o->commits + 1);
    pairs++;
    struct buf *out = commit_add_command(p->commit, "HSET :ctl");
    command_begin(out, 2 + 2 * pairs);
    command_argument_text(out, "HSET");
    command_argument(out, p->options.keys->ctl.data, p->options.keys->ctl.len);
    buf_append(out, fields.data, fields.len);
    if (!has_foreign && p->has_unverified) {
        out = commit_add_command(p->commit, "HDEL :ctl");
        command_append(out, "HDEL", p->options.keys->ctl.data, "unverified", NULL);
    }
    p->fields = fields;
    p->range = range;
}

static void add_group_positions(struct pipeline *p)
{
    struct owner *o = p->options.owner;
    bool has_read = link_redis_version(p->options.commit_link) >= 0x070000;
    for (size_t i = 0; i < o->source_count; i++) {
        struct source *s = o->sources[i];
        if (s->number == 0 || (s->sent_count == 0 && !(p->is_sources_dirty && s->has_group)))
            continue;
        const char *verb = s->has_group ? "SETID" : "CREATE";
        char id[STREAM_ID_TEXT], what[512];
        stream_id_format(s->sent_count > 0 ? s->sent : s->committed, id);
        snprintf(what, sizeof what, "XGROUP|%s %s", verb, s->name);
        s->has_group = true; /* unless it is refused: tell_complaints */
        struct buf *out = commit_add_command(p->commit, what);
        if (has_read && s->read >= 0)
            command_append(out, "XGROUP", verb, s->name, p->options.config->group, id,
                           "ENTRIESREAD", log_number(s->read + (long long)s->sent_count), NULL);
        else
            command_append(out, "XGROUP", verb, s->name, p->options.config->group, id, NULL);
    }
}

/* The transaction of `now`, or of what has to be written without any event. */
static void send(struct pipeline *p)
{
    bool has_work = p->state == WORK_COMPUTED, has_moved;
    const struct effect *effects = NULL;
    uint32_t effect_count = 0, letter_count = 0;
    const struct buf *letters = NULL;
    commit_begin(p->commit);
    if (has_work && !p->now.retry.is_command) {
        effects = bridge_effects(p->bridge, &effect_count);
        for (uint32_t i = 0; i < effect_count; i++)
            commit_add_effect(p->commit, bridge_effect_bytes(p->bridge, &effects[i]),
                              effects[i].len);
    } else if (has_work) {
        commit_add_effect(p->commit, p->now.retry.command.text, p->now.retry.command.len);
        effect_count = 1;
    }
    if (has_work) {
        letters = bridge_letters(p->bridge, &letter_count);
        commit_add_commands(p->commit, letters->data, letters->len, letter_count, "XADD :dlq");
        add_states(p);
        if (p->now.batch->is_inbox)
            retry_add_removal(&p->now.retry, p->commit, p->options.keys,
                              p->options.config->dlq_maxlen, p->now.inbox_id);
    }
    commit_add_commands(p->commit, p->letters.data, p->letters.len, p->letter_count, "XADD :dlq");
    commit_add_commands(p->commit, p->sweep.data, p->sweep.len, p->sweep_count, "HDEL :state:*");
    advance_sources(p, &has_moved);
    add_positions(p, effect_count > 0);
    if (has_moved || p->is_sources_dirty)
        add_group_positions(p);
    p->has_unverified = effect_count > 0;
    p->is_sources_dirty = p->wants_commit = false;
    p->sweep.len = p->sweep_count = 0;
    p->counts.effects += effect_count;
    p->counts.letters += letter_count;
    if (has_work) {
        bridge_seal(p->bridge, &p->sealed);
        p->clock_ms =
            bridge_clock_ms(p->bridge) > p->clock_ms ? bridge_clock_ms(p->bridge) : p->clock_ms;
        p->next = p->now.first + p->now.count;
        p->flight = p->now;
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
        char id[48];
        struct letter letter = {.reason = "refused", .message = message, .key = ""};
        if (p->flight.retry.is_command) {
            retry_describe(&p->flight.retry, &letter);
        } else {
            const struct effect *effect = &p->sealed.effects[place];
            const struct batch_entry *entry =
                p->flight.batch->is_inbox
                    ? &p->flight.retry.entry
                    : &p->flight.batch->entries[p->flight.first + effect->entry];
            bridge_describe(p->bridge, entry, effect->rule, &letter, id);
            letter.payload = p->sealed.out.data + effect->at;
            letter.payload_len = effect->len;
            if (!p->flight.batch->is_inbox)
                letter.attempts = 1;
        }
        letter_append(&p->letters, p->options.keys->dlq.data, p->options.config->dlq_maxlen,
                      &letter);
        p->letter_count++;
        p->wants_commit = true;
    }
}

static void tell_complaints(struct pipeline *p)
{
    size_t cursor = 0;
    const char *message, *what;
    struct owner *o = p->options.owner;
    while ((what = commit_complaint_next(p->commit, &cursor, &message)) != NULL) {
        if (strncmp(what, "XGROUP|", 7) ==
            0) { /* only a display: made anew by the next commit, or moved, if it exists */
            const char *name = strchr(what, ' ') + 1;
            struct source *s = owner_find_source(o, name, strlen(name));
            if (s != NULL)
                s->has_group = strncmp(message, "BUSYGROUP", 9) == 0;
            continue;
        }
        struct error why;
        error_set(&why, ERROR_FATAL_REPLY,
                  "Redis refused a write to one of the engine's own keys (%s): %s; delete or "
                  "rename what stands there",
                  what, message);
        p->callbacks.on_fatal(p->context, &why);
    }
}

static void land(struct pipeline *p)
{
    struct owner *o = p->options.owner;
    uint64_t events = 0;
    for (size_t i = 0; i < o->source_count; i++) {
        struct source *s = o->sources[i];
        if (s->sent_count == 0)
            continue;
        events += s->sent_count;
        s->committed = s->sent;
        s->read = s->read < 0 ? -1 : s->read + (int64_t)s->sent_count;
        s->ahead -= s->sent_count < s->ahead ? s->sent_count : s->ahead;
        s->sent_count = 0;
    }
    p->counts.events += events;
    p->counts.commits++;
    /* Letters that came in while the commit was in flight stand behind those that it took along. */
    p->letters.len = p->letter_count = 0;
    tell_refused(p);
    tell_complaints(p);
    if (p->flight.batch != NULL)
        bridge_forget_refusals(p->bridge);
    work_forget(&p->flight);
}

static void on_outcome(void *context, enum commit_outcome outcome, const struct error *why)
{
    struct pipeline *p = context;
    switch (outcome) {
    case COMMIT_LANDED:
        land(p);
        return; /* on_armed goes on */
    case COMMIT_FENCED:
        trouble(p, "commit_fenced",
                "ctl changed before the commit: an edit from the shell, a late commit, or another "
                "owner",
                false);
        return;
    case COMMIT_LATER:
        trouble(p, "redis_later", why->text, true);
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
            const struct effect *effect = &p->sealed.effects[place];
            bridge_refuse(p->bridge,
                          p->flight.batch->is_inbox
                              ? &p->flight.retry.entry
                              : &p->flight.batch->entries[p->flight.first + effect->entry],
                          effect, p->sealed.out.data + effect->at, message);
        }
        trouble(
            p, "effect_refused",
            "Redis refused an effect when it was queued; the batch is computed again without it",
            false);
        return;
    }
    }
}

/* ── sweeping expired states
 * ────────────────────────────────────────────────────────────────────────────────────────── */

static double sweep_clock(const struct pipeline *p)
{
    /* At the tail, time passes by Redis' clock; in the middle of a backlog it stands at the
     * position. */
    bool is_at_tail = p->batch == NULL && p->state == WORK_NONE;
    double now = redis_now_ms(p);
    return is_at_tail && now > p->clock_ms ? now : p->clock_ms;
}

/* Takes the expired ones of a row of fields into a command for the next commit. */
static void collect_expired(struct pipeline *p, const struct reply *rows)
{
    double now = sweep_clock(p), expiry;
    uint32_t version, head, expired = 0;
    struct buf fields = {0}, name = {0};
    for (uint32_t i = 0; i + 1 < rows->count; i += 2) {
        const struct reply *key = rows->elements[i], *value = rows->elements[i + 1];
        if (!state_head(value->text, value->len, &expiry, &version, &head) || expiry == 0 ||
            expiry > now)
            continue;
        command_argument(&fields, key->text, key->len);
        expired++;
    }
    if (expired > 0) {
        keys_state(p->options.keys, rulebook_rule_name(p->options.book, p->sweep_rule), &name);
        command_begin(&p->sweep, 2 + expired);
        command_argument_text(&p->sweep, "HDEL");
        command_argument(&p->sweep, name.data, name.len);
        buf_append(&p->sweep, fields.data, fields.len);
        p->sweep_count = 1;
        p->wants_commit = true;
    }
    buf_fini(&fields);
    buf_fini(&name);
}

static void on_sweep(void *context, const struct reply *reply)
{
    struct pipeline *p = context;
    p->is_sweeping = false;
    if (reply->type == REPLY_ARRAY && reply->count == 2 &&
        reply->elements[1]->type == REPLY_ARRAY) {
        snprintf(p->sweep_cursor, sizeof p->sweep_cursor, "%s", reply->elements[0]->text);
        collect_expired(p, reply->elements[1]);
        if (strcmp(p->sweep_cursor, "0") == 0)
            p->sweep_rule = p->sweep_rule % (uint32_t)rulebook_count(p->options.book) + 1;
    }
    step(p);
}

/* While it looks, nothing is computed or in flight: so what it sees is still true in the commit
 * that follows. */
static void start_sweep(struct pipeline *p)
{
    struct buf key = {0};
    p->wants_sweep = false;
    p->is_sweeping = true;
    keys_state(p->options.keys, rulebook_rule_name(p->options.book, p->sweep_rule), &key);
    command_append(link_out(p->options.commit_link), "HSCAN", key.data, p->sweep_cursor, "COUNT",
                   SWEEP_COUNT, NULL);
    link_expect(p->options.commit_link, on_sweep, p, NULL, 0);
    link_flush(p->options.commit_link);
    buf_fini(&key);
}

static void on_sweep_timer(void *context)
{
    struct pipeline *p = context;
    loop_timer_start(p->sweep_timer, SWEEP_EVERY_MS);
    if (rulebook_has_ttl(p->options.book, p->sweep_rule))
        p->wants_sweep = true;
    else
        p->sweep_rule = p->sweep_rule % (uint32_t)rulebook_count(p->options.book) + 1;
    step(p);
}

/* ── moving on
 * ────────────────────────────────────────────────────────────────────────────────────────────────────────
 */

static bool may_send(const struct pipeline *p)
{
    if (!commit_is_armed(p->commit))
        return false;
    return p->state == WORK_COMPUTED || (p->state == WORK_NONE && p->wants_commit);
}

/* One thing after the other until everything waits for Redis. */
static void step(struct pipeline *p)
{
    if (p->is_stepping || !p->is_running)
        return;
    p->is_stepping = true;
    for (;;) {
        if (p->is_sweeping)
            break;
        if (p->wants_sweep && p->state == WORK_NONE && !p->is_holding && !p->is_stopped) {
            if (commit_is_armed(p->commit))
                start_sweep(p);
            break; /* or when it is armed */
        }
        if (p->state == WORK_WAITING) {
            if (p->replies_came < p->state_replies + p->lookup_replies || !compute(p) ||
                p->state == WORK_WAITING)
                break;
        }
        if (p->state == WORK_NONE && !p->wants_commit &&
            (!compute_next(p) || p->state == WORK_WAITING))
            break;
        if (p->state == WORK_NONE && p->wants_commit && !commit_is_armed(p->commit))
            break;
        if (!may_send(p))
            break;
        send(p);
    }
    p->is_stepping = false;
    if (!p->is_running)
        return;
    reader_read_on(p->reader);
    bool is_quiet = p->state == WORK_NONE && !commit_is_flying(p->commit);
    if (is_quiet && p->has_unverified && !loop_timer_is_started(p->clear_timer))
        loop_timer_start(p->clear_timer, CLEAR_AFTER_MS);
    if (p->is_holding && pipeline_is_idle(p))
        p->callbacks.on_idle(p->context);
}
