/* reader.h: reads all streams of a partition with one XREAD, one read ahead of the work, and cuts
 * batches from what came.
 *
 *   resting ──reader_start──> reading ──reply──> holding ──reader_take──> reading …
 *
 * (1) At most one XREAD is on its way; it asks for the streams of which nothing waits here. It
 * blocks in Redis only when nothing at all waits here. (2) A batch is in the order of entry IDs,
 * ties by stream name. It goes no further than to the last entry that is known of every stream
 * whose next entry is not known: one whose read was full, or one that was not part of the last
 * read. (3) A read is bounded in entries, and, by the mean size seen so far, in bytes. */
#ifndef TIDEMILL_STREAM_READER_H
#define TIDEMILL_STREAM_READER_H

#include "batch/batch.h"
#include "redis/link.h"
#include "stream/source.h"

struct reader;

struct reader_options {
    uint32_t batch_events; /* most entries of a batch */
    size_t batch_bytes;    /* about as many bytes of a read */
    uint64_t block_ms;     /* how long XREAD waits in Redis */
};

struct reader_callbacks {
    void (*on_ready)(void *context); /* reader_take may have a batch */
    /* Redis answered XREAD with an error; the reader rests until it is started again. */
    void (*on_refused)(void *context, const struct reply *error);
};

/* One batch as it was read. */
struct read_batch {
    struct batch_entry *entries;
    struct source **sources; /* of each entry; the inbox for letters to retry */
    struct stream_id *ids;   /* of each entry, exact (batch_entry.ms is a double) */
    uint32_t count;
    bool
        is_inbox; /* letters to retry, not events: only fields, ms and seq (of the inbox) are set */
    unsigned references;
    struct chunk **chunks; /* where the fields live */
    size_t chunk_count, chunk_cap;
    struct reader *reader;
};

struct reader *reader_create(struct link *link, const struct reader_options *options,
                             const struct reader_callbacks *callbacks, void *context);
void reader_destroy(struct reader *r); /* no batch may be alive */

/* Starts to read these sources, sorted by name, from their committed positions; those that are not
 * known yet or left out wait. `sources` stays the caller's. The link is up. */
void reader_start(struct reader *r, struct source **sources, size_t count);

/* The list of sources has grown or moved; a new one's read_to must be set. */
void reader_update(struct reader *r, struct source **sources, size_t count);

/* Forgets all that was read and not taken. The link has been closed, or nothing is on its way. */
void reader_rest(struct reader *r);

/* The next batch, or NULL when there is none yet (on_ready tells). */
struct read_batch *reader_take(struct reader *r);

/* Entries of a stream have come and wait. (None: reader_take has nothing; but a stream's next entry
 * may be on its way.) */
bool reader_has_entries(const struct reader *r);

/* Asks for what comes next, in the background. After every reader_take; its own call, because for a
 * few events the write to Redis costs more than computing them, and then their commit goes first.
 */
void reader_read_on(struct reader *r);

/* Reads nothing new from now on, so that reader_rest loses little; reader_start ends it. */
void reader_hold(struct reader *r);

void read_batch_keep(struct read_batch *batch);
void read_batch_release(struct read_batch *batch);

#endif
