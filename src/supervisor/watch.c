/* watch.c: see watch.h. */
#include "supervisor/watch.h"

enum { STUCK_LEAST_MS = 10000, STUCK_PER_HARD = 10 };

enum watch_verdict watch_look(struct watch *w, uint32_t rule, uint32_t serial, uint64_t beats,
                              uint64_t cpu_ms, uint64_t hard_ms)
{
    if (rule == 0 || rule != w->rule || serial != w->serial) {
        w->rule = rule;
        w->serial = serial;
        w->rule_cpu_ms = cpu_ms;
    }
    if (beats != w->beats) {
        w->beats = beats;
        w->beats_cpu_ms = cpu_ms;
    }
    if (rule != 0)
        return cpu_ms - w->rule_cpu_ms >= hard_ms ? WATCH_HANG : WATCH_FINE;
    uint64_t stuck_ms = STUCK_PER_HARD * hard_ms;
    if (stuck_ms < STUCK_LEAST_MS)
        stuck_ms = STUCK_LEAST_MS;
    return cpu_ms - w->beats_cpu_ms >= stuck_ms ? WATCH_STUCK : WATCH_FINE;
}
