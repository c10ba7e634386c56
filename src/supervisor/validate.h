/* validate.h: loads an edition in a child process of its own, to see whether it can be: so nothing
 * that loading may do (end the process, never come back, take all memory) happens to anybody else.
 *
 * A child that dies or hangs blames the file that it was in; another child goes on without it. */
#ifndef TIDEMILL_SUPERVISOR_VALIDATE_H
#define TIDEMILL_SUPERVISOR_VALIDATE_H

#include "base/error.h"
#include "base/loop.h"
#include "config/config.h"
#include "supervisor/findings.h"

struct validation;

/* The findings are the callee's. Or `why`: nothing could be found out. The validation is over, and
 * freed when this returns. */
typedef void validate_done_call(void *context, struct findings *findings, const struct error *why);

/* `edition` may go away when this returns, `config` may not. `done` is called from the loop. */
struct validation *validate_begin(struct loop *loop, const struct config *config,
                                  const struct edition *edition, validate_done_call *done,
                                  void *context);

/* Gives it up. */
void validate_cancel(struct validation *v);

/* Forgets it, in a forked child: it goes on for the parent. */
void validate_leave(struct validation *v);

/* Validates and waits. The findings are the caller's. */
int validate_now(const struct config *config, const struct edition *edition,
                 struct findings *findings, struct error *error);

#endif
