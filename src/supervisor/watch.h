/* watch.h: is a worker stuck? Pure: it looks at what the worker shares and at its CPU time, never
 * at a clock. CPU time, because a worker that is stopped, or starved by others, is not stuck. */
#ifndef TIDEMILL_SUPERVISOR_WATCH_H
#define TIDEMILL_SUPERVISOR_WATCH_H

#include <stdint.h>

/* Of one life of a worker; zeroed at its start. */
struct watch {
    uint32_t rule, serial; /* of the mark, and the CPU time when they were seen first */
    uint64_t rule_cpu_ms;
    uint64_t beats, beats_cpu_ms;
};

enum watch_verdict {
    WATCH_FINE,
    WATCH_HANG,  /* a rule has not come back for hard_ms */
    WATCH_STUCK, /* the loop does not turn, and no rule is to blame */
};

enum watch_verdict watch_look(struct watch *w, uint32_t rule, uint32_t serial, uint64_t beats,
                              uint64_t cpu_ms, uint64_t hard_ms);

#endif
