/* pipeline.h: the way of the data of one partition, and the only place where its stages meet:
 *
 *     reader ──read_batch──> bridge (rules) ──effects, states, letters──> commit
 *       │ one XREAD ahead       │ batch n+1 is computed                     │ while batch n is in
 * flight └ a Redis link          └ states and lookups travel behind EXEC n ──┘ on the commit link
 *
 *     resting ──start──> running ──hold──> draining (what is computed still commits) ──> is_idle
 *
 * Other rules come between two batches: running ──part──> parted ──attach, go_on──> running. The
 * commit in flight goes on meanwhile, and keeps the rulebook that it was computed with.
 *
 * Everything uncommitted is forgotten by pipeline_rest; the positions of the next start come from
 * ctl. */
#ifndef TIDEMILL_WORKER_PIPELINE_H
#define TIDEMILL_WORKER_PIPELINE_H

#include "rules/blame.h"
#include "rules/bridge.h"
#include "stream/commit.h"
#include "stream/owner.h"
#include "stream/reader.h"
#include "worker/slot.h"

struct pipeline;

struct pipeline_options {
    const struct config *config;
    struct rulebook *book;
    struct loop *loop;
    const struct keys *keys;
    struct owner *owner;
    struct link *read_link, *commit_link;
    const char *name;  /* of the partition, for log lines */
    struct slot *slot; /* where progress is counted for the supervisor, or NULL */
};

struct pipeline_callbacks {
    /* Something happened after which only a new acquire can go on: `why` for people. later: Redis
     * cannot now. */
    void (*on_trouble)(void *context, const char *kind, const char *why, bool later);
    void (*on_fatal)(void *context, const struct error *why);
    void (*on_refused_read)(
        void *context,
        const struct reply *error); /* XREAD was refused; the pipeline has come to rest */
    void (*on_idle)(void *context); /* nothing is under way any more (see pipeline_is_idle) */
    /* The event of a blame is committed: as a dead letter, unless the rule has changed since. */
    void (*on_blamed)(void *context, const struct blame *blame);
    void (*on_parted)(void *context); /* after pipeline_part; maybe more than once */
    /* The VM is full: the same rules are wanted in a fresh one; until pipeline_go_on nothing runs.
     */
    void (*on_full)(void *context);
};

struct pipeline_counts {
    uint64_t fired; /* timers and windows */
    uint64_t events, effects, letters, commits, cuts, lookups, state_loads;
    uint64_t state_bytes, state_keys;
    bool is_stopped; /* a rule with on_error "stop" has failed */
    char stopped_by[512];
};

int pipeline_create(const struct pipeline_options *options,
                    const struct pipeline_callbacks *callbacks, void *context,
                    struct pipeline **out, struct error *error);
void pipeline_destroy(struct pipeline *p);

void pipeline_set_commands(struct pipeline *p, const struct commands *commands);

/* Right after an acquire; both links are up. redis_ahead_ms: Redis' clock less ours (clock_now_ms).
 */
void pipeline_start(struct pipeline *p);
void pipeline_set_clock(struct pipeline *p, double redis_ahead_ms);

/* From now on this rule, if it is still of this version, is not called on this event: it fails. At
 * any time; until on_blamed. */
void pipeline_blame(struct pipeline *p, const struct blame *blame);

/* The owner's list of sources has grown. */
void pipeline_update_sources(struct pipeline *p);

/* Takes no new events. What is computed still commits. */
void pipeline_hold(struct pipeline *p);
bool pipeline_is_idle(const struct pipeline *p); /* nothing uncommitted, nothing to clear */

/* Computes no further batch until pipeline_go_on; on_parted follows when the one that is being
 * computed is sent. One that rests is parted. */
void pipeline_part(struct pipeline *p);
bool pipeline_is_parted(const struct pipeline *p);
/* Parted: the rules of `book` (awake) from the next batch on. A partition that a rule has stopped
 * tries again. */
void pipeline_attach(struct pipeline *p, struct rulebook *book);
void pipeline_go_on(struct pipeline *p);

/* Forgets everything uncommitted and every cached state. The links have been closed or are down. */
void pipeline_rest(struct pipeline *p);

/* Adds to a position in the next commit: `field` of ctl (a new source's offset, a corrected count).
 */
void pipeline_commit_sources(struct pipeline *p);

void pipeline_count(const struct pipeline *p, struct pipeline_counts *counts);

/* The watermark of a rule in this partition, and how far it is behind Redis' TIME; where nothing
 * comes, it goes on with that by itself. False: it has none, or none yet. */
bool pipeline_watermark(struct pipeline *p, const char *rule, double *ms, double *lag_ms);

#endif
