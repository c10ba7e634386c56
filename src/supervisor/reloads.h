/* reloads.h: brings what the rules folder holds to the workers, one step after the other:
 *
 *   resting ──asked──> reading, validating (validate.h) ──sound──> sent ──all workers──> told,
 * resting ▲ └─ again, without what failed ─┘ └── asked meanwhile: afterwards
 *
 * It is asked by a change of the folder (folder.h), by SIGHUP, and over the control socket. */
#ifndef TIDEMILL_SUPERVISOR_RELOADS_H
#define TIDEMILL_SUPERVISOR_RELOADS_H

#include "base/loop.h"
#include "config/config.h"
#include "supervisor/socket.h"
#include "supervisor/versions.h"

struct reloads;

struct reloads_callbacks {
    void (*send)(void *context, const struct edition *edition); /* to all workers that run */
    /* Does every worker run this edition (where one has ended: would the next begin with it), or
     * is it known why it cannot? The latter are told of: a JSON object each, with commas between,
     * into `refusals`. */
    bool (*is_everywhere)(void *context, uint64_t number, struct buf *refusals);
};

/* Takes the edition that the workers begin with, and what validating it found. */
struct reloads *reloads_create(struct loop *loop, const struct config *config,
                               struct edition *edition, struct findings *found,
                               const struct reloads_callbacks *callbacks, void *context);
void reloads_destroy(struct reloads *r);

/* The same in a forked child: what the parent has under way goes on. */
void reloads_leave(struct reloads *r);

/* From now on the folder is watched. */
void reloads_watch(struct reloads *r);

/* Reads the folder. `asker` (NULL: none) is answered when every worker runs what it holds:
 *
 *   { "edition", "ms", "changes": [ { "rule", "from", "to" } ], "problems": [ { "file", "line",
 *     "message" } ], "refusals": [ { "worker", "message" } ] }   or   { "error" } */
void reloads_look(struct reloads *r, struct asker *asker);

/* Brings the version before of a rule back, and answers in the same way. */
void reloads_roll_back(struct reloads *r, const char *rule, struct asker *asker);

/* A worker has loaded an edition, or said that it cannot, or ended. */
void reloads_told(struct reloads *r);

const struct versions *reloads_versions(const struct reloads *r);

#endif
