/* transaction.h: what a transaction says besides the effects and letters of rules: the states that
 * they left, the timers, where the streams and the clocks of rules stand now, and what the consumer
 * groups show of that. */
#ifndef TIDEMILL_WORKER_TRANSACTION_H
#define TIDEMILL_WORKER_TRANSACTION_H

#include "rules/bridge.h"
#include "stream/commit.h"
#include "stream/owner.h"

/* Memory that is used again by the next one. Begins as zeroes. */
struct transaction {
    struct buf fields, range, timers;
};

void transaction_fini(struct transaction *t);

/* What rules want of a batch; its dead letters, and behind them what shadow rules would have done.
 * Return how many effects, and letters. */
uint32_t transaction_add_effects(struct commit *commit, struct bridge *bridge);
uint32_t transaction_add_letters(struct commit *commit, struct bridge *bridge);

/* The records of its decisions. */
void transaction_add_decisions(struct commit *commit, struct bridge *bridge);

/* HSET and HDEL for the states that changed, by rule, in commands of bounded length. */
void transaction_add_states(struct commit *commit, const struct keys *keys,
                            const struct rulebook *book, struct states *states);

/* What the batch changed in the queues of timers. */
void transaction_add_timers(struct transaction *t, struct commit *commit, struct bridge *bridge);

struct transaction_marks {
    bool has_new_sources; /* also sources that have not moved: new ones, corrected counts */
    bool is_foreign;      /* it writes keys that are not ours: ctl.unverified until the next one */
    bool has_unverified;  /* ctl.unverified stands */
    const char *note;     /* a new ctl.note, or NULL */
    const char *what;     /* what it is, when no stream has moved, for people */
    const struct seen *seen; /* clocks of rules that have moved */
    uint32_t seen_count;
    const struct rulebook *book; /* whose they are */
};

/* HSET ctl: offsets, counts, commits + 1. The sources' `sent` are where they will be. */
void transaction_add_positions(struct transaction *t, struct commit *commit, struct owner *o,
                               const struct transaction_marks *marks);

/* XGROUP SETID or CREATE. has_entries_read: Redis knows ENTRIESREAD (7.0). */
void transaction_add_groups(struct commit *commit, struct owner *o, bool has_new_sources,
                            bool has_entries_read);

/* It has landed: the sources stand where it says. Returns how many entries it was about. */
uint64_t transaction_land(struct owner *o);

/* What Redis refused of the engine's own commands in it, and nobody can work without; false: no
 * more. `*cursor` starts at 0. */
bool transaction_next_fault(const struct commit *commit, struct owner *o, size_t *cursor,
                            struct error *why);

#endif
