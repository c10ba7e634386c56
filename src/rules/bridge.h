/* bridge.h: between the engine in C and the kernel in Lua: one bridge a partition, in one set of
 * rules.
 *
 * The kernel reads entries from it as tokens and writes effects into it through FFI, in compiled
 * code; nothing is copied in between. What the kernel sees is `struct bridge_view` (cdef.lua:
 * struct bridge); the rest of the bridge is C's own.
 *
 *     bridge_put_batch ──> bridge_run ──> BRIDGE_DONE: effects, letters, changed states are there
 * for the commit ▲  │ bridge_take_… ─────────┘  └──> BRIDGE_WAIT: states and answers are wanted
 * (bridge_wants) */
#ifndef TIDEMILL_RULES_BRIDGE_H
#define TIDEMILL_RULES_BRIDGE_H

#include "base/arena.h"
#include "base/error.h"
#include "batch/batch.h"
#include "batch/letter.h"
#include "codec/msgpack.h"
#include "redis/commands.h"
#include "rules/blame.h"
#include "rules/rulebook.h"
#include "rules/state.h"
#include "rules/timers.h"

#include <stdbool.h>

/* The layout is also in cdef.lua. */
struct bridge_view {
    struct batch_entry *entries;
    struct effect *effects;
    struct fired *fired;
    const double *nexts; /* timers_nexts */
    uint32_t entry_count, effect_count, effect_cap, letter_count;
    uint32_t at_entry; /* the entry that is being run; which rule: struct mark */
    uint32_t request_count, want_count, fired_count;
    uint32_t fire_most; /* after so many the batch ends; 0: when the kernel thinks it is enough */
    double clock_ms,
        deadline_ms;     /* the position's clock; when to stop taking events (coarse monotonic) */
    double next_wall_ms; /* timers_next_wall */
    double until_ms;     /* behind the last entry time has come to here (the tail); 0: it has not */
    double proven_ms;    /* Redis' TIME is at least that */
    double next_idle_ms; /* the kernel's: when a stream that stands still makes something due */
    struct tokens event_tokens, state_tokens;
    struct buf out, letters, requests; /* commands as bytes: effects, letters, lookups */
    uint8_t is_unordered;              /* effects are not in the order of (entry, rule, ordinal) */
    uint8_t is_stopped, texts;         /* texts: the entry came as plain fields */
    uint8_t is_future;                 /* why it could not: its ID is too far ahead */
    uint8_t is_renewable;              /* BRIDGE_FULL may be answered */
    uint8_t is_short; /* the kernel's: it stopped because a queue of timers must be loaded */
    uint8_t is_early; /* the kernel's: it stopped because TIME may not have reached a due time that
                         the next entry's ID has; only when is_exact is not set */
    uint8_t is_exact; /* proven_ms is what TIME was just now, no estimate */
    uint8_t has_more; /* the kernel's: it stopped with more that is due, for the next batch */
    uint8_t is_peek;  /* what fires first is taken, and not run; there the batch ends */
    char fault[502];  /* why the entry could not be decoded */
};

struct bridge;

struct bridge_options {
    struct msgpack_limits event_limits;
    size_t event_bytes;       /* most bytes of an entry */
    size_t state_cache_bytes; /* see states_create */
    bool is_apart; /* there is no Redis behind it: rules begin without states and timers, and all of
                      both stays here, so that a batch waits for lookups alone (replay/) */
    double future_ms;
    const char *partition; /* its name, for the note */
    const char *prefix;    /* of the partition's keys */
    const char *dlq_key;
    int64_t dlq_maxlen;
    const char *decisions_key;
    int64_t record_maxlen;
};

/* `book` has been started. The texts of `options` are copied. */
int bridge_create(struct rulebook *book, const struct bridge_options *options, struct bridge **out,
                  struct error *error);
void bridge_destroy(struct bridge *b);

/* Moves to another started rulebook, between two batches: after bridge_seal or bridge_drop, before
 * the next bridge_put_batch. What is cached of states stays. */
int bridge_attach(struct bridge *b, struct rulebook *book, struct error *error);

/* What Redis knows of commands, for ctx.redis; not owned, may be changed between batches. */
void bridge_set_commands(struct bridge *b, const struct commands *commands);

/* Who is asked for them when a rule needs them and there are none yet; NULL: they cannot be had. */
typedef const struct commands *bridge_commands_call(void *context);
void bridge_on_commands(struct bridge *b, bridge_commands_call *call, void *context);

struct states *bridge_states(struct bridge *b);

/* Which queues are attended follows the rulebook. What takes a reply of theirs says so with
 * bridge_timers_loaded. */
struct timers *bridge_timers(struct bridge *b);
void bridge_timers_loaded(struct bridge *b);
void bridge_timer_names(const struct bridge *b, struct timer_names *names); /* of its book */

/* Starts a batch: sets runs and clocks of the entries, which stay the caller's and must stay in
 * place until the batch is over. `clock_ms` is the position's clock before it, `redis_ms` Redis'
 * TIME when they were read (0: not known). */
void bridge_put_batch(struct bridge *b, struct batch_entry *entries, uint32_t count,
                      double clock_ms, double redis_ms);

/* Between bridge_put_batch and the first bridge_run, for a batch of one entry: this rule is not
 * called on it, but fails with this reason and message. Holds for this batch only. */
void bridge_blame(struct bridge *b, uint32_t rule, const char *reason, const char *message);

/* In the same place: only the first `most` rules of its list are called or fail on it. */
void bridge_limit(struct bridge *b, uint32_t most);

/* In the same place, for any batch: how far time has come. Without it nothing but entries moves it.
 */
struct bridge_time {
    double until_ms;  /* the batch has all that was read at the tail (it may be empty), and TIME
                         was this in the moment before; 0: no such thing */
    double proven_ms; /* Redis' TIME is at least this */
    bool is_exact;    /* and was that just now */
};
void bridge_put_time(struct bridge *b, const struct bridge_time *time);

/* In the same place. The batch ends as soon as one timer or window has fired: after it, or, to find
 * out which one that is (bridge_first_fired), before it is run; then the batch is to be discarded.
 * With an entry, bridge_limit keeps its rules from being run when nothing fires. */
enum bridge_step { BRIDGE_FIRE_ONE, BRIDGE_PEEK };
void bridge_put_step(struct bridge *b, enum bridge_step step);
const struct fired *bridge_first_fired(const struct bridge *b); /* NULL: nothing fired */

/* In the same place: what fires in this batch and is what `blame` is about fails without a call,
 * unless its rule was edited since. */
void bridge_blame_fired(struct bridge *b, const struct blame *blame);
bool bridge_is_blamed(const struct blame *blame, const struct rulebook *book,
                      const struct fired *fired);

/* In the same place, behind those: a batch without an entry is for this one, which is tried again.
 * Set are entry.ms, .only and .attempts, kind, key, name and payload; the texts stay the caller's,
 * until the batch is sealed or another one is put. */
void bridge_put_fired(struct bridge *b, const struct fired *fired);

/* Takes back all that the batch did. */
void bridge_discard(struct bridge *b);

enum bridge_status { BRIDGE_DONE, BRIDGE_WAIT, BRIDGE_FULL };

/* BRIDGE_FULL: the VM is full, not of what this batch made; nothing of the batch is left. Its first
 * entry is to be put again, alone, and when the rulebook is a fresh one. Only as long as this says
 * so; else the rule that ran out of memory is blamed. (False at first.) */
void bridge_set_renewable(struct bridge *b, bool is_renewable);

/* Runs as far as it goes. BRIDGE_DONE: the first *processed entries are done; *stopped is NULL or
 * the sentence of the rule with on_error "stop" that failed on the next one (valid until the next
 * run). Errors are faults of the kernel itself. */
int bridge_run(struct bridge *b, uint64_t deadline_ms, enum bridge_status *status,
               uint32_t *processed, const char **stopped, struct error *error);

/* After BRIDGE_DONE: so many timers and windows fired, in front of the processed entries and of the
 * next one. And why not more: a queue must be loaded first; TIME must be asked first; it was enough
 * for one batch. */
uint32_t bridge_fired_count(const struct bridge *b);
bool bridge_is_short(const struct bridge *b);
bool bridge_is_early(const struct bridge *b);
bool bridge_has_more(const struct bridge *b);

/* What a batch waits for. States: one command for each group of keys of one rule, appended to
 * `out`; lookups behind them. Gives the numbers of replies to expect; they are handed back in
 * order, all of them, before the next bridge_run. */
struct bridge_wants {
    size_t state_replies, lookup_replies;
};
void bridge_wants(struct bridge *b, struct buf *out, struct bridge_wants *wants);
/* False: a state in Redis could not be read (it counts as none). */
bool bridge_take_states(struct bridge *b, size_t number, const struct reply *reply);
/* The reply must stay until the next bridge_run has returned. */
void bridge_take_answer(struct bridge *b, const struct reply *reply);

/* After BRIDGE_DONE: the effects in the order of (entry, rule, ordinal), those taken back left out.
 */
const struct effect *bridge_effects(struct bridge *b, uint32_t *count);
const char *bridge_effect_bytes(const struct bridge *b, const struct effect *effect);
/* The key that the rule had, of rules whose keys are noted (kernel.lua: R.notes_keys), until the
 * batch is sealed; else `*len` is 0. */
const char *bridge_effect_key(const struct bridge *b, const struct effect *effect, size_t *len);
const struct buf *bridge_letters(const struct bridge *b, uint32_t *count);
/* The entry that letter number n is about, and the rule (0: none). */
uint32_t bridge_letter_entry(const struct bridge *b, uint32_t n, uint32_t *rule);
/* What fired as this entry, or NULL: it is one that was put. */
const struct fired *bridge_fired(const struct bridge *b, uint32_t entry);

/* What shadow rules would have done. */
const struct buf *bridge_shadow_records(const struct bridge *b, uint32_t *count);

/* Records of decisions, as XADD commands. */
const struct buf *bridge_decisions(const struct bridge *b, uint32_t *count);

/* The effects of a batch that is sent, and what fired in it, for telling what Redis refused of
 * them. */
struct sealed_batch {
    struct buf out;
    struct effect *effects;
    uint32_t count, cap;
    struct fired *fired;
    uint32_t fired_count, fired_cap;
    struct arena texts; /* of `fired` */
};
/* What fired as this entry, or NULL: it is one that was put. */
const struct batch_entry *sealed_batch_fired(const struct sealed_batch *s, uint32_t entry);
void sealed_batch_fini(struct sealed_batch *s);

/* The batch is sent: its states are now what Redis will have. Its effects move to `into`, whose
 * memory is taken for the next. */
void bridge_seal(struct bridge *b, struct sealed_batch *into);

/* Forgets the batch and every cached state. */
void bridge_drop(struct bridge *b);

double bridge_clock_ms(
    const struct bridge *b); /* the position's clock after the processed entries */

/* Redis refused this effect (its bytes: `command`) when it was queued: from now on the same effect
 * of the same entry becomes a letter `refused`. */
void bridge_refuse(struct bridge *b, const struct batch_entry *entry, const struct effect *effect,
                   const char *command, const char *message);

/* Forgets refusals of entries that are committed. */
void bridge_forget_refusals(struct bridge *b);

/* Fills what a letter says of an entry and a rule (0: none) of `book`, which may be an earlier one:
 * stream, id, raw fields, rule, version, attempts; of one that fired (stream 0: it is in a struct
 * fired) also which timer or window, and the key and payload where there is none yet. `texts` is
 * the caller's room for some of that. */
struct bridge_described {
    char id[48], window[64];
};
void bridge_describe(const struct bridge *b, const struct rulebook *book,
                     const struct batch_entry *entry, uint32_t rule, struct letter *letter,
                     struct bridge_described *texts);

/* ── event time ──────────────────────────────────────────────────────────────────────────────── */

/* The newest event time that a rule has seen on a stream; of stream 0: its watermark. */
struct seen {
    uint32_t rule; /* as states number it (registry.h) */
    uint32_t stream;
    double ms;
};

/* After an acquire: all is void but the position's clock, and bridge_know_seen says what ctl does.
 * Then, and after bridge_attach, bridge_attend for every stream that is read, with the ms of its
 * position; at last bridge_tell_clocks. */
void bridge_forget_clocks(struct bridge *b, double clock_ms);
void bridge_attend(struct bridge *b, uint32_t stream, double last_ms);
void bridge_know_seen(struct bridge *b, const struct seen *seen);
void bridge_tell_clocks(struct bridge *b);

/* After BRIDGE_DONE: those that the batch has moved, for ctl. */
const struct seen *bridge_seen_clocks(const struct bridge *b, uint32_t *count);

/* The position's clock at which something fires next; INFINITY: nothing is pending. */
double bridge_wake_ms(struct bridge *b);

/* The watermark of this rule (its number) after the last batch; `tail_ms` above 0: at this clock,
 * if nothing came until then. False: it has none, or none yet. */
bool bridge_watermark(struct bridge *b, uint32_t rule, double tail_ms, double *ms);

/* Sizes of what Lua knows too; the kernel compares them at start (engine.lua). */
struct bridge_layout {
    uint32_t view, entry, fired, effect, slot, token, mark, out_at, fault_at, clock_at,
        entry_stream_at;
};
extern const struct bridge_layout bridge_layout;

#endif
