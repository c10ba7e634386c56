/* supervisor.h: `tidemill run` itself: forks the workers, gives them their partitions, sees them
 * live, replaces those that die, and answers on the control socket. It has no rules and no data, so
 * that nothing a rule does can reach it. */
#ifndef TIDEMILL_SUPERVISOR_SUPERVISOR_H
#define TIDEMILL_SUPERVISOR_SUPERVISOR_H

#include "base/error.h"
#include "config/config.h"
#include "rules/edition.h"
#include "supervisor/findings.h"

/* Works until it is told to stop (SIGTERM, SIGINT), or cannot go on; *status is the exit status of
 * the program. Takes `edition`, the rules to begin with, and `findings`, what validating them
 * found. Forks: a worker's process does not return from here, it exits. Errors: ERROR_USAGE (the
 * URL), ERROR_SYSTEM. */
int supervisor_run(const struct config *config, struct edition *edition, struct findings *findings,
                   int *status, struct error *error);

#endif
