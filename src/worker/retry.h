/* retry.h: a dead letter that is tried again: an event for one rule alone, a timer or window of
 * that rule, or only the command that was refused. */
#ifndef TIDEMILL_WORKER_RETRY_H
#define TIDEMILL_WORKER_RETRY_H

#include "batch/batch.h"
#include "batch/letter.h"
#include "rules/rulebook.h"
#include "stream/commit.h"
#include "stream/keys.h"

#include <stdbool.h>

struct retry {
    struct batch_entry entry; /* when is_event: the raw event, as it was read once */
    struct fired fired;       /* when is_fired: for bridge_put_fired; its texts are the letter's */
    struct reply command;     /* when is_command: the bytes of the command */
    bool is_event, is_fired, is_command; /* none: it cannot be tried; `hopeless` says why, and it
                                            becomes a letter again */
    char hopeless[256];
    const struct reply *letter; /* its fields, as in the inbox; lives with the batch */
    struct arena arena;
};

/* Reads a letter of the inbox. `refusal`: Redis refused its command when it was queued just now, or
 * NULL. */
void retry_init(struct retry *r, struct rulebook *book, const struct batch_entry *inbox_entry,
                const char *refusal);
void retry_fini(struct retry *r);

/* Adds to the commit that the letter leaves the inbox, and, when it is hopeless, that it is a dead
 * letter again. */
void retry_add_removal(const struct retry *r, struct commit *commit, const struct keys *keys,
                       int64_t dlq_maxlen, struct stream_id inbox_id);

/* Fills a new letter from the old one, with one attempt more; reason and message are the caller's.
 */
void retry_describe(const struct retry *r, struct letter *letter);

#endif
