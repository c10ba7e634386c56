/* mark.h: what a VM is doing right now, where others can see it while it runs: the ticker that
 * stops a rule on time (limit.h), and the supervisor, for which it lies in shared memory.
 *
 * The kernel in Lua writes `rule` through FFI before each call of a rule and 0 after it; the layout
 * is also in cdef.lua. */
#ifndef TIDEMILL_SANDBOX_MARK_H
#define TIDEMILL_SANDBOX_MARK_H

#include <stdint.h>

struct mark {
    volatile uint32_t rule; /* number, from 1, of the rule that is running; 0: the kernel itself */
    volatile uint32_t leaving; /* the rule that an error is leaving: not to be stopped any more, but
                                  what happens meanwhile is still its doing */
    volatile uint32_t serial;  /* another one for every event that is begun or gone on with */
    volatile uint32_t is_full; /* the VM was refused memory since this was last set to 0 */
    volatile uint32_t is_seen; /* this event was running at a tick of limit.h */
    uint32_t spent_us;         /* CPU time that its rule has spent on it before, when it goes on */
};

#endif
