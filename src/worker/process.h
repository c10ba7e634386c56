/* process.h: a worker's process, from its fork to its exit: loads the rules, works on what the
 * supervisor gives it, and answers what it asks (message.h).
 *
 * It outlives no supervisor: when the channel ends, it commits what is computed, gives the leases
 * back and ends. While the supervisor is there but stands still (a stopped process, of which people
 * and tools think that the engine is stopped), it gives the leases back and waits. */
#ifndef TIDEMILL_WORKER_PROCESS_H
#define TIDEMILL_WORKER_PROCESS_H

#include "base/error.h"
#include "config/config.h"
#include "rules/edition.h"
#include "worker/slot.h"

struct process_options {
    const struct config *config;
    const struct edition *edition; /* the rules */
    struct slots *slots;
    unsigned number;   /* of its slot, from 0; people see it from 1 */
    int fd;            /* its end of the channel: taken */
    const char *token; /* struct owner_options */
};

/* In the forked child: returns the exit status. */
int process_run(const struct process_options *options);

#endif
