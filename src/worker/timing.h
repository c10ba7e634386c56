/* timing.h: all that a pipeline has to do so that things happen at their time: it knows Redis'
 * clock, has the pages of pending timers loaded (pages.h) and TIME asked (tick.h) before the kernel
 * needs them, and finds the moments at the tail of all streams.
 *
 *     begin ──> must_ask? ──ask──> … on_moved ──> batches: put, take_stock, again
 *                  └──no, and all is quiet──> plan ──> … on_moved: until_ms is a moment to be run
 */
#ifndef TIDEMILL_WORKER_TIMING_H
#define TIDEMILL_WORKER_TIMING_H

#include "rules/bridge.h"
#include "stream/owner.h"
#include "worker/pages.h"
#include "worker/tick.h"

struct timing_callbacks {
    bool (*is_quiet)(void *context); /* nothing is to be done but what time brings */
    void (*on_moved)(void *context); /* what was asked for has come, or a moment */
    void (*on_trouble)(void *context, const char *kind, const char *why, bool later);
    void (*on_fatal)(void *context, const struct error *why);
};

struct timing {
    const char *partition; /* its name; not owned */
    struct owner *owner;
    struct bridge *bridge;
    struct timing_callbacks callbacks;
    void *context;
    struct tick tick;
    struct pages pages;
    double redis_ahead_ms; /* Redis' clock less our own; 0: not known */
    bool is_starved;       /* the kernel cannot go on before `pages` have loaded something */
    bool is_early;         /* … before `tick` has asked for TIME */
};

struct timing_options {
    struct loop *loop;
    struct link *link; /* of commits */
    struct owner *owner;
    struct bridge *bridge;
    const char *partition;
};

void timing_init(struct timing *t, const struct timing_options *options,
                 const struct timing_callbacks *callbacks, void *context);
void timing_fini(struct timing *t);

/* Right after an acquire, with the position's clock; after bridge_attach; when the link was closed.
 */
void timing_begin(struct timing *t, struct rulebook *book, double clock_ms);
void timing_go_on(struct timing *t);
void timing_rest(struct timing *t);

void timing_set_ahead(struct timing *t, double redis_ahead_ms);
double timing_redis_ms(const struct timing *t); /* Redis' clock; 0: not known */

/* The watermark of a rule (its number), and how far it is behind Redis' clock. is_at_tail: all that
 * was read is done; then it goes on with that clock, if nothing came. */
bool timing_watermark(struct timing *t, uint32_t rule, bool is_at_tail, double *ms, double *lag_ms);

/* The clock that the states of a rule expire by, where the position's is `clock_ms`: at the tail
 * time passes by Redis' clock; in the middle of a backlog it stands at the position. */
double timing_state_ms(struct timing *t, uint32_t rule, bool is_at_tail, double clock_ms);

/* Something must be known before anything is computed: timing_ask. True: it is on its way. */
bool timing_must_ask(const struct timing *t);
bool timing_ask(struct timing *t);
bool timing_is_asking(const struct timing *t);

/* A moment at the tail that is to be run, before anything else; 0: none. */
double timing_moment(const struct timing *t);
void timing_forget_moment(struct timing *t);

/* A batch was taken from the reader. */
void timing_pass(struct timing *t);

/* A batch was put; `until_ms`: it is that moment, or 0. */
void timing_put(struct timing *t, double until_ms);

/* It was run: why did it end where it did? */
void timing_take_stock(struct timing *t, uint32_t processed, double until_ms);

/* At the end of whatever the pipeline did. */
void timing_plan(struct timing *t);

#endif
