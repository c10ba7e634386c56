/* tick.h: lets time pass where no entry does it: when the stream is quiet and something is due, it
 * asks Redis what time it is and whether this is the end of all streams (design 3.5).
 *
 *   resting ──plan──> waiting ──due, still quiet──> looking ──the tail──> until_ms is set
 *      ^                 └──entries come first           └──found something, or too early──┐
 *      └───────────────────────────────────────────────────────────────────────────────────┘
 *
 * (1) TIME goes before XREAD: an entry that XREAD does not find yet is not older than that TIME.
 * (2) A look costs Redis two small commands, TICK_EVERY_MS apart at least, and only when something
 * is due: so nothing while timers wait for tomorrow. */
#ifndef TIDEMILL_WORKER_TICK_H
#define TIDEMILL_WORKER_TICK_H

#include "base/loop.h"
#include "redis/link.h"
#include "stream/owner.h"

#include <stdbool.h>

enum { TICK_EVERY_MS = 3 };

struct tick_callbacks {
    void (*on_due)(void *context);    /* tick_look, if it is still quiet; else plan again */
    void (*on_looked)(void *context); /* until_ms or exact_ms may be set */
    void (*on_time)(void *context, double redis_ms); /* each TIME */
    void (*on_trouble)(void *context, const struct reply *reply);
};

struct tick {
    struct loop_timer *timer;
    struct link *link; /* of commits: so that what is looked at stands behind them */
    const struct owner *owner;
    struct tick_callbacks callbacks;
    void *context;
    double wake_ms;    /* what the timer was started for */
    uint64_t rests_us; /* our clock: no look before */
    double time_ms;    /* of the look that is under way */
    bool is_looking;   /* TIME and XREAD are on their way */
    bool is_stale;     /* a batch was taken meanwhile: so it says nothing */
    bool is_asking;    /* TIME is on its way */
    double until_ms;   /* the tail was found, and TIME was this before; 0: it was not */
    double exact_ms;   /* TIME was this when it was asked for; 0: it was not */
};

void tick_init(struct tick *t, struct loop *loop, struct link *link, const struct owner *owner,
               const struct tick_callbacks *callbacks, void *context);
void tick_fini(struct tick *t);

/* Forgets all that is under way; the link was closed. */
void tick_rest(struct tick *t);

/* All is quiet. `wake_ms`: when something is due next, or INFINITY; `now_ms`: what Redis' clock
 * says by what we know. Cheap when nothing has changed. */
void tick_plan(struct tick *t, double wake_ms, double now_ms);

void tick_look(struct tick *t);

/* Asks for TIME alone, for exact_ms. */
void tick_ask(struct tick *t);

#endif
