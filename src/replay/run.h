/* run.h: the engine's own way of an event, over a plan's entries: the rules in their VM, with JIT
 * and limits, through the same bridge and kernel; without owner, pipeline and commit. What they
 * want is handed to a sink, batch by batch; states, timers and windows stay in memory, from none
 * on.
 *
 * Time is the entries': their IDs are the wall clock, so timers fire where a live engine fires them
 * that is never late (design 3.5), and states expire by the same clock.
 *
 * It runs on the thread of a VM (sandbox/stack.h), in a process that may die of a rule. */
#ifndef TIDEMILL_REPLAY_RUN_H
#define TIDEMILL_REPLAY_RUN_H

#include "replay/feed.h"
#include "replay/lookups.h"
#include "rules/bridge.h"

/* In memory that the parent shares: what it watches and shows meanwhile. */
struct run_shared {
    struct note note;
    volatile uint64_t events, effects, letters, fired, lookups;
    volatile uint64_t beats; /* batches */
};

struct run {
    /* Set by the caller, and not owned: */
    const struct config *config;
    const struct edition *edition;
    const char *dir; /* where it came from */
    const struct plan *plan;
    struct run_shared *shared;
    struct {
        /* A batch is done: its effects and letters are in the bridge. Errors end the run. */
        int (*on_batch)(struct run *run, const struct batch_entry *entries, uint32_t count,
                        struct error *error);
        void *context;
    } sink;

    /* Valid in the sink's calls, and after run_go: */
    struct rulebook *book;
    struct bridge *bridge;
    size_t partition;  /* its place in the plan */
    uint32_t *numbers; /* of its streams, by lane */
    struct lookups lookups;
    struct feed_sum *sums; /* by lane, of all partitions in a row */
    size_t sum_count;
    char stopped_by[640]; /* "": nothing; a rule with on_error "stop" has failed, and where */

    /* Its own: */
    struct sealed_batch sealed;
    double clock_ms;
};

/* From the first entry to the end of time. 0: also when a rule has stopped it. Errors: those of the
 * client, ERROR_RULE (the rules are not sound), ERROR_REPLY, and the sink's. */
int run_go(struct run *run, struct error *error);
void run_fini(struct run *run);

#endif
