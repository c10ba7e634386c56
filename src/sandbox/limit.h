/* limit.h: stops a rule that runs too long, compiled or not.
 *
 * A timer on the CPU time of the VM's thread ticks while that thread works (and only then: an idle
 * engine is not woken, and waiting for Redis costs no rule anything). Each tick looks at the mark:
 *
 *     no rule ──> watching (event and rule, since when) ──its limit is over──> fire ──> the hook
 *        ▲                        │                                                      raises
 *        └── another event or rule, or none ┘
 *
 * To fire is to set a hook for the next instruction and to raise SIGPROF, whose handler is that of
 * LuaJIT's profiler: in its mode `l` compiled code looks at a flag of that handler at each line,
 * and leaves for the interpreter, where the hook is. (An error raised by the profiler's own
 * callback would leave the JIT broken for good; one raised by a hook does not.)
 *
 * (1) The hook raises only while the mark names the very event and rule that it was set for, so
 * what is not a rule is never interrupted. (2) It takes itself off, and is set again by later ticks
 * while the same call goes on: what swallowed the first error meets the next. (3) LuaJIT has one
 * profiler for the process, so one VM at a time has limits. */
#ifndef TIDEMILL_SANDBOX_LIMIT_H
#define TIDEMILL_SANDBOX_LIMIT_H

#include "base/error.h"
#include "sandbox/mark.h"
#include "sandbox/vm.h"

#include <stdbool.h>
#include <stdint.h>

/* Begins to limit the rules of a VM, from the thread that runs it; another VM's limits end. Pops a
 * function off the VM's stack, which is called without arguments when a rule is to be stopped, and
 * whose result is raised. `mark` and `rule_ms` (by rule number: 1 … rule_count) stay the caller's
 * and must outlive this. The JIT's compiled code of before is thrown away. Errors: ERROR_SYSTEM,
 * only when it is the first time on this thread; then nothing has changed. */
int limit_attach(struct vm *vm, struct mark *mark, const uint32_t *rule_ms, uint32_t rule_count,
                 struct error *error);

bool limit_is_attached(const struct vm *vm);

/* Stops the rule that is running now, as if its time were over: from the VM's thread, also from its
 * allocator. */
void limit_stop(void);

/* What limit_stop began, and has not raised yet, is not raised. */
void limit_cancel(void);

/* The VM has no limits any more, if it had: from the same thread. (From any thread, when not.) */
void limit_detach(struct vm *vm);

#endif
