/* lease.h: keeps a partition's lease alive while it is ours, and gives it back (design 4: "renew
 * and give back"), on the control link, which neither XREAD nor a long commit blocks. */
#ifndef TIDEMILL_WORKER_LEASE_H
#define TIDEMILL_WORKER_LEASE_H

#include "worker/control.h"
#include "worker/partition.h"

struct lease;

struct lease_callbacks {
    /* Redis will never let us: the sentence says the cure. */
    void (*on_fatal)(void *context, const struct error *why);
    /* After lease_give_back: it is gone, or was not ours, or expires by itself. */
    void (*on_given_back)(void *context);
};

/* A conversation about it may be in the queue of `control`: destroy it only behind that. */
struct lease *lease_create(struct control *control, struct partition *partition, uint64_t life_ms,
                           const struct lease_callbacks *callbacks, void *context);
void lease_destroy(struct lease *l);

/* The partition was acquired just now: its lease has its whole life before it. */
void lease_begin(struct lease *l);

/* Renews it at a third of its life, while the partition is owned. Lost: the partition recovers. */
void lease_tick(struct lease *l, uint64_t now_ms);

/* Nothing is under way in the partition any more. */
void lease_give_back(struct lease *l);

#endif
