/* worker.h: one process's share of the work: one loop, one set of rules, its partitions, and one
 * link for what is not data: leases, probes of streams, and SCANs for globs. */
#ifndef TIDEMILL_WORKER_WORKER_H
#define TIDEMILL_WORKER_WORKER_H

#include "base/buf.h"
#include "base/error.h"
#include "base/loop.h"
#include "config/config.h"
#include "rules/rulebook.h"

struct worker;

struct worker_callbacks {
    /* Cannot go on: the sentence says why and the cure. */
    void (*on_fatal)(void *context, const struct error *why);
    /* After worker_stop: all is committed and given back, or the time was up. */
    void (*on_stopped)(void *context);
};

/* `config` and `book` (started) must outlive the worker. Errors: ERROR_USAGE (the URL). */
int worker_create(struct loop *loop, const struct config *config, struct rulebook *book,
                  const struct worker_callbacks *callbacks, void *context, struct worker **out,
                  struct error *error);
void worker_destroy(struct worker *w);

/* Connects and begins. A Redis that is not there is waited for. */
void worker_start(struct worker *w);

/* Commits what is computed, gives the leases back, then on_stopped; within 900 ms in any case. */
void worker_stop(struct worker *w);

/* What is running, as one JSON object. */
void worker_status(struct worker *w, struct buf *json);

#endif
