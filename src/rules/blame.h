/* blame.h: an event that a rule may not be tried on again, because it took the worker down: a crash
 * in C, or a loop that nothing but SIGKILL ended. The supervisor makes it from the dead worker's
 * note (note.h); the worker that comes to the event next writes a dead letter instead of calling
 * the rule (design 7, last line).
 *
 * It holds no pointer: it travels as it is from process to process. */
#ifndef TIDEMILL_RULES_BLAME_H
#define TIDEMILL_RULES_BLAME_H

#include "rules/note.h"

struct blame {
    char partition[128]; /* as partition_name gives it */
    char stream[NOTE_NAME];
    char rule[RULE_NAME];
    char version[16];  /* of the rule that was running: another version may do better */
    char reason[8];    /* of the letter: crash, hang */
    char message[160]; /* of the letter, one sentence */
    double ms;         /* the entry's ID */
    uint64_t seq;
    uint32_t attempts; /* as in the note */
};

#endif
