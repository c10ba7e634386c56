/* sweep.h: finds the states whose time is over, rule by rule, and deletes them in the next commit.
 *
 *   resting ──tick──> wanted ──begin──> looking ──take──> resting, maybe with commands for a commit
 *
 * (1) While it looks, nothing is computed or in flight: so what it sees is still true in the commit
 * that follows. */
#ifndef TIDEMILL_WORKER_SWEEP_H
#define TIDEMILL_WORKER_SWEEP_H

#include "base/buf.h"
#include "redis/reply.h"
#include "rules/rulebook.h"
#include "stream/keys.h"

#include <stdbool.h>

struct sweep {
    uint32_t rule; /* whose states are looked at, from 1 */
    char cursor[32];
    bool is_wanted, is_looking;
    struct buf commands; /* HDEL, for the very next commit only */
    uint32_t count;      /* of commands */
};

void sweep_init(struct sweep *s);
void sweep_fini(struct sweep *s);

/* Forgets what it was about to do. */
void sweep_rest(struct sweep *s);

/* Other rules: begins with the first of them. */
void sweep_begin_anew(struct sweep *s);

/* Once a second: wants to look, unless this rule's states never expire. */
void sweep_tick(struct sweep *s, const struct rulebook *book);

/* Appends the command whose reply sweep_take takes. */
void sweep_begin(struct sweep *s, const struct rulebook *book, const struct keys *keys,
                 struct buf *out);

/* `now_ms`: the clock by which states expire. True: there is something to commit. */
bool sweep_take(struct sweep *s, const struct rulebook *book, const struct keys *keys,
                const struct reply *reply, double now_ms);

#endif
