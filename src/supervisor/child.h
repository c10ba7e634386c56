/* child.h: a worker as the supervisor sees it: one after the other, processes in the same place.
 *
 *   waiting ──due──> running ──its process ends──> waiting
 *
 * Forking is done outside of every callback of the loop (supervisor.c), because the child takes the
 * loop apart. */
#ifndef TIDEMILL_SUPERVISOR_CHILD_H
#define TIDEMILL_SUPERVISOR_CHILD_H

#include "base/backoff.h"
#include "base/buf.h"
#include "base/loop.h"
#include "supervisor/watch.h"
#include "worker/channel.h"
#include "worker/message.h"
#include "worker/slot.h"

#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

enum { CHILD_EDITIONS = 2 };

/* The rules of an edition, by number. */
struct child_rules {
    uint64_t number;
    struct message_rule *rules;
    uint64_t count;
};

struct child {
    void *supervisor;
    unsigned number; /* from 0 */
    struct slot *slot;
    pid_t pid;           /* 0: waiting */
    clockid_t cpu_clock; /* of the process, while its thread is not known */
    uint64_t cpu_ms;     /* last seen */
    struct channel *channel;
    struct loop_timer *timer; /* until it is due */
    struct backoff backoff;
    bool is_due;
    bool is_hanging, is_stuck, is_late; /* why we killed it */
    struct watch watch;
    struct child_rules
        editions[CHILD_EDITIONS];   /* the last ones that it told of, the newest first */
    struct message_refused refused; /* an edition that it could not load, or zeroes */
    uint64_t runs;                  /* the edition that it runs; 0: none yet in this life */
    uint32_t misses; /* lives that ended before they ran the edition that was sent last */
    uint64_t started_ms, restarts;
    struct buf status; /* its last answer */
    uint64_t asked;    /* serial of the question that it answered last */
};

/* Nothing of another life is left. */
void child_begin(struct child *c, pid_t pid, struct channel *channel, uint64_t now_ms);

/* CPU time of the thread that runs its rules: one that loads other rules meanwhile is not counted.
 * Never less than before. */
uint64_t child_cpu_ms(struct child *c);

/* MESSAGE_LOADED. */
void child_take_edition(struct child *c, const char *body, size_t len);

/* What a number of a rule means in the rules that it runs, or ran; NULL: nothing. */
const struct message_rule *child_rule(const struct child *c, uint32_t number);

/* "signal 9 (Killed)", "exit status 1". */
void child_tell_end(int wait_status, char *text, size_t size);

void child_fini(struct child *c);

#endif
