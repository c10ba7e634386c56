/* owed.h: letters that a partition owes: of effects that Redis refused inside EXEC, and of a commit
 * whose outcome nobody saw. They go with the next commit, and are owed until it has landed. */
#ifndef TIDEMILL_WORKER_OWED_H
#define TIDEMILL_WORKER_OWED_H

#include "batch/letter.h"
#include "stream/commit.h"
#include "stream/keys.h"

struct owed {
    const char *dlq_key; /* not owned */
    int64_t dlq_maxlen;
    struct buf letters; /* whole commands */
    uint32_t count;
};

void owed_init(struct owed *o, const struct keys *keys, int64_t dlq_maxlen);
void owed_fini(struct owed *o);

void owed_add(struct owed *o, const struct letter *letter);

/* The letter `unverified` about what ctl.unverified says. */
void owed_add_unverified(struct owed *o, const char *unverified);

/* Adds them to a commit; owed_clear when it has landed. */
void owed_commit(const struct owed *o, struct commit *commit);
void owed_clear(struct owed *o);

#endif
