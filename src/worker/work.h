/* work.h: a part of a read batch on its way through the pipeline, or a letter that is tried again,
 * or a moment at the tail of all streams, in which timers fire (tick.h). */
#ifndef TIDEMILL_WORKER_WORK_H
#define TIDEMILL_WORKER_WORK_H

#include "stream/reader.h"
#include "worker/alone.h"
#include "worker/retry.h"

/* All zeroes: there is none. */
struct work {
    struct read_batch *batch;   /* NULL: none, or a moment */
    double until_ms;            /* of a moment: what TIME was */
    uint32_t first, count;      /* its entries are batch->entries[first .. first + count) */
    struct retry retry;         /* when it is a letter to try again */
    struct stream_id inbox_id;  /* of that letter */
    struct alone_choice choice; /* when something is run alone */
    struct rulebook *book;      /* in flight: what computed it, kept */
};

void work_forget(struct work *work);

bool work_is_some(const struct work *work);
bool work_is_letter(const struct work *work);
bool work_is_moment(const struct work *work);

/* The event of a letter, or the first entry; NULL when there is no entry. */
struct batch_entry *work_first_entry(struct work *work);

/* The one that an effect is of, by its number in the batch: `sealed` knows what fired. */
const struct batch_entry *work_entry(const struct work *work, const struct sealed_batch *sealed,
                                     uint32_t entry);

/* Redis refused this effect of it, by its place among them, when it was queued (bridge_refuse). */
void work_refuse(const struct work *work, const struct sealed_batch *sealed, struct bridge *bridge,
                 uint32_t place, const char *message);

/* Fills the letter about an effect of it, by its place among them, that Redis refused inside EXEC.
 */
void work_describe_refused(const struct work *work, const struct sealed_batch *sealed,
                           const struct bridge *bridge, uint32_t place, struct letter *letter,
                           struct bridge_described *texts);

/* It is sent: moves the sources of its entries. True: there was something to move. */
bool work_advance(const struct work *work);

#endif
