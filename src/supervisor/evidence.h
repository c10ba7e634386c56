/* evidence.h: whether a worker's death is an event's fault (design 7, last line). Pure.
 *
 * At once: a signal that only the worker's own doing raises (SIGSEGV, SIGBUS, SIGILL, SIGFPE,
 * SIGABRT) inside a rule, or a rule that did not come back. Anything else inside a rule (SIGKILL
 * from a person, from the kernel that is out of memory, from a machine that restarts) says nothing
 * by itself; the third time at the same event and rule it does. Outside a rule: never. */
#ifndef TIDEMILL_SUPERVISOR_EVIDENCE_H
#define TIDEMILL_SUPERVISOR_EVIDENCE_H

#include "rules/blame.h"

#include <stdbool.h>
#include <stdint.h>

enum { SUSPECTS_MOST = 16 };

struct death {
    const struct note *note;
    const char *rule, *version; /* that note_rule means; "" when it means none */
    int signal;                 /* that ended it; 0: it ended by itself */
    int64_t hang_ms; /* the supervisor killed it (SIGKILL), for a rule that took longer; else 0.
                        With another signal it was dying already: that takes CPU time, too */
};

/* Deaths inside a rule that prove nothing yet. */
struct suspects {
    struct suspect {
        struct blame blame;
        unsigned deaths;
    } list[SUSPECTS_MOST];
    unsigned next; /* the place of the next one: the oldest goes */
};

/* True: *blame says what is to be blamed. */
bool evidence_judge(struct suspects *suspects, const struct death *death, struct blame *blame);

#endif
