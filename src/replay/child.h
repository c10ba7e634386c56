/* child.h: a replay in a process of its own, because a rule may take it down: it crashes in C, or
 * never comes back. The parent watches, and can tell which rule did it, on which entry.
 *
 *   start ──> running ──> look, look … ──> over: how it ended
 *                └── a rule holds it for limits.hard_ms of CPU time: killed
 */
#ifndef TIDEMILL_REPLAY_CHILD_H
#define TIDEMILL_REPLAY_CHILD_H

#include "replay/run.h"
#include "supervisor/watch.h"

#include <sys/types.h>

struct child_process {
    pid_t pid; /* 0: it is over, and waited for */
    int pipe;  /* what it says (see child_options); -1: nothing */
    struct run_shared *shared;
    struct watch watch;
    bool is_hanging; /* we killed it for a rule */
    int status;      /* as of waitpid, when it is over */
};

struct child_process_options {
    const char *name; /* of the process, for ps */
    bool has_pipe;    /* `work` gets the writing end, the parent has the other */
    /* In the child, on the stack of a VM; returns its exit status. `out` is -1 without a pipe. */
    int (*work)(void *context, struct run_shared *shared, int out);
    void *context;
};

/* Errors: ERROR_SYSTEM. */
int child_process_start(struct child_process *c, const struct child_process_options *options,
                        struct error *error);

/* To be called often (each 50 ms or so). True: it is over. */
bool child_process_look(struct child_process *c, int64_t hard_ms);

/* Ends it, if it is not over, and gives all back. */
void child_process_stop(struct child_process *c);

/* When it is over and did not end by itself: fills the sentence of what took it down. `rules` are
 * the names, by number from 1. False: it ended by itself, with exit status *status. */
bool child_process_tell(const struct child_process *c, const char *const *rules, size_t rule_count,
                        int64_t hard_ms, int *status, struct error *error);

#endif
