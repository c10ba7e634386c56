/* edit.h: a change of the engine's keys by the shell, safe beside a running owner.
 *
 *   WATCH ctl, reads ──> MULTI, changes, HINCRBY ctl edits 1 ──> EXEC ──> done
 *        ^                                                        │
 *        └────────────── nil: the owner committed meanwhile ──────┘
 *
 * (1) The owner's own EXEC watches ctl too: whichever comes second fails, reads again, and so
 *     sees the other's work.
 * (2) ctl is never made by an edit: without one there is no deployment, and an owner would take an
 *     empty one for a lost one.
 * (3) At most ten transactions a second, since each makes the owner drop its caches: changes come
 *     in bundles. */
#ifndef TIDEMILL_CLI_EDIT_H
#define TIDEMILL_CLI_EDIT_H

#include "redis/client.h"
#include "stream/keys.h"

/* What one change asks and does. Called again from the start when the owner was faster. */
struct edit_calls {
    /* Appends commands that read; returns how many. */
    size_t (*ask)(void *context, struct buf *out);
    /* Hears their replies, errors too, in order. */
    void (*hear)(void *context, size_t index, const struct reply *reply);
    /* Appends commands that write; returns how many. 0: nothing is left to do. */
    size_t (*change)(void *context, struct buf *out);
    /* Hears what each command that writes did, in order, when all of it happened. May be NULL. */
    void (*settle)(void *context, size_t index, const struct reply *reply);
    /* The owner was faster: a change of many things may take fewer at once. May be NULL. */
    void (*on_missed)(void *context);
};

/* Zero it and set the client. */
struct edit {
    struct client *client;
    uint64_t next_ms; /* (3): earliest time of the next transaction, on the monotonic clock */
};

/* Errors: those of the client (then the change may or may not have happened), ERROR_REPLY: Redis
 * refused, nothing happened; ERROR_TIMEOUT: the owner was always faster, for ten seconds. */
int edit_apply(struct edit *e, const struct keys *keys, const struct edit_calls *calls,
               void *context, struct error *error);

#endif
