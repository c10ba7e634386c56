/* worker.h: one process's share of the work: one loop, one set of rules, the partitions that it was
 * given, and one link for what is not data: leases, probes of streams, and SCANs for globs. */
#ifndef TIDEMILL_WORKER_WORKER_H
#define TIDEMILL_WORKER_WORKER_H

#include "base/buf.h"
#include "base/error.h"
#include "base/loop.h"
#include "config/config.h"
#include "rules/blame.h"
#include "rules/rulebook.h"
#include "worker/message.h"
#include "worker/reload.h"

struct worker;

struct worker_callbacks {
    /* Cannot go on: the sentence says why and the cure. */
    void (*on_fatal)(void *context, const struct error *why);
    /* Found streams of a partition of which it knew none. It works on them when worker_take says
     * so. */
    void (*on_found)(void *context, const char *tag, size_t len, enum message_later later);
    void (*on_scanned)(void *context); /* all that its rules read now was told; maybe repeatedly */
    /* These rules run from now on (other ones than it was created with). */
    void (*on_rules)(void *context, struct rulebook *book);
    /* After worker_stop: all is committed and given back, or the time was up. */
    void (*on_stopped)(void *context);
    /* The event of a blame is committed (see pipeline.h). */
    void (*on_blamed)(void *context, const struct blame *blame);
};

struct worker_options {
    struct loop *loop;
    const struct config *config;
    struct rulebook *book; /* started; it keeps it itself */
    struct slot *slot;     /* where its progress is counted, or NULL */
    const char *token;     /* struct owner_options */
};

/* All that the options point to, and the registry and the note that the book was given, must
 * outlive the worker. Errors: ERROR_USAGE (the URL). */
int worker_create(const struct worker_options *options, const struct worker_callbacks *callbacks,
                  void *context, struct worker **out, struct error *error);
void worker_destroy(struct worker *w);

/* Connects and begins. A Redis that is not there is waited for. */
void worker_start(struct worker *w);

/* The partition of this tag is this worker's from now on. */
void worker_take(struct worker *w, const char *tag, size_t len, enum message_later later);

/* Gives back all leases and takes none, until it resumes. */
void worker_rest(struct worker *w);
void worker_resume(struct worker *w);

/* Commits what is computed, gives the leases back, then on_stopped; within 900 ms in any case. */
void worker_stop(struct worker *w);

/* From now on this event is not given to this rule any more. Copied; known ones stay as they are.
 */
void worker_blame(struct worker *w, const struct blame *blame);

/* Other rules from the next batch on: loads them beside those that run, and swaps (see reload.h).
 * Takes the edition. */
void worker_take_edition(struct worker *w, struct edition *edition, reload_done_call *done,
                         void *context);

/* What is running, as one JSON object. */
void worker_status(struct worker *w, struct buf *json);

#endif
