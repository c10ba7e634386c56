/* feed.h: the entries of one partition of a plan, batch by batch, in the order of their IDs, those
 * of one ID in the order of their streams' names.
 *
 *   Redis: XRANGE, a page of each stream, the next one asked for while this one is worked on
 *   file:  the plan's rows
 */
#ifndef TIDEMILL_REPLAY_FEED_H
#define TIDEMILL_REPLAY_FEED_H

#include "batch/batch.h"
#include "replay/plan.h"

struct feed;

struct feed_batch {
    struct batch_entry *entries;
    uint32_t count; /* 0: that was all */
};

struct feed_options {
    const struct plan_partition *partition;
    const uint32_t *numbers;     /* the kernel's, by lane */
    uint32_t batch_events;       /* at most so many in a batch */
    struct client *client;       /* of Redis; used by nobody else until feed_close */
    const struct events *events; /* instead, of a file */
};

/* The options must outlive it. */
struct feed *feed_open(const struct feed_options *options);
void feed_close(struct feed *f);

/* The batch lives until the next call. Errors: those of the client, ERROR_REPLY. */
int feed_next(struct feed *f, struct feed_batch *batch, struct error *error);

/* What has been read of a lane: how many entries, and a sum over their IDs: two feeds of one plan
 * read the same when these are equal. */
struct feed_sum {
    uint64_t entries, ids;
};
struct feed_sum feed_sum(const struct feed *f, size_t lane);

#endif
