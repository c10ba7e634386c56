/* decision.h: what one rule wanted for one entry, timer or window, as bytes on their way from a
 * replay in a child to the parent, which compares two of them.
 *
 * A pipe carries decisions in the order of the replay, then one record for each stream with what
 * was read of it, then an end. A decision stands where its entry does; one of a timer or window in
 * front of the entry that it fired before. */
#ifndef TIDEMILL_REPLAY_DECISION_H
#define TIDEMILL_REPLAY_DECISION_H

#include "replay/run.h"
#include "replay/wishes.h"

enum decision_kind { DECISION_ENTRY, DECISION_TIMER, DECISION_WINDOW, DECISION_SUM, DECISION_END };

/* How a record begins; the key, the name and the wishes follow, each wish with its own head. */
struct decision_head {
    uint32_t len;  /* of the whole record */
    uint32_t kind; /* enum decision_kind */
    uint32_t partition, lane;
    double ms;     /* of the entry, or of the one behind a timer or window; INFINITY: of none */
    uint64_t seq;  /* likewise */
    double due_ms; /* of a timer */
    uint32_t rule; /* its number in the child's rules; 0: none */
    uint32_t key_len, name_len, wishes;
    struct feed_sum sum; /* of DECISION_SUM */
    uint64_t events;     /* of DECISION_END: how many were run */
};

enum decision_wish { WISH_EFFECT, WISH_LETTER };

struct decision_wish_head {
    uint32_t len,
        kind; /* of the bytes that follow: a command; or a letter's REASON, NUL, message */
};

/* ── writing, in the child ── */

struct decision_writer {
    int fd;
    struct run *run;
    struct wishes wishes;
    struct buf out;
    size_t open_at;      /* the decision that is being written; SIZE_MAX: none */
    const void *subject; /* whose: the entry, or what fired */
    uint32_t rule;
};

void decision_writer_init(struct decision_writer *w, int fd, struct run *run);
void decision_writer_fini(struct decision_writer *w);

/* A batch that is done (struct run: sink). Errors: ERROR_SYSTEM, nobody reads. */
int decision_write_batch(struct decision_writer *w, const struct batch_entry *entries,
                         uint32_t count, struct error *error);
/* The run is over. */
int decision_write_end(struct decision_writer *w, struct error *error);

/* ── reading, in the parent ── */

struct decision {
    struct decision_head head;
    struct span key, name;
    struct span wishes; /* as bytes: decision_next_wish */
};

/* The record at the beginning of these bytes; false: it is not whole yet. */
bool decision_read(struct span bytes, struct decision *out);

/* One wish after the other; false: there are no more. `*at` starts at 0. */
struct decided {
    enum decision_wish kind;
    struct span bytes;
};
bool decision_next_wish(const struct decision *d, size_t *at, struct decided *wish);

#endif
