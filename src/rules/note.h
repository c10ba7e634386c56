/* note.h: which event a worker is working on, in memory that its supervisor shares, so that after
 * its death, whatever it died of, the event and the rule are known (design 7, last line).
 *
 * `mark` says which rule, by its number in the rulebook; all else says which event. It is evidence
 * only while mark.rule is not 0. */
#ifndef TIDEMILL_RULES_NOTE_H
#define TIDEMILL_RULES_NOTE_H

#include "sandbox/mark.h"

enum {
    NOTE_NAME = 1024,
    RULE_NAME = 72 /* of a rule, with its NUL: 64 letters, and "shadow:" before them */
};

struct note {
    struct mark mark;       /* first: the kernel holds a pointer to it */
    uint32_t stream_number; /* the kernel's number of `stream`, in `bridge` */
    const void *bridge;     /* the worker's own: whose stream numbers these are */
    uint32_t attempts;      /* of the entry: 0, or of the letter that is tried again */
    double ms;              /* the entry's ID */
    uint64_t seq;
    char partition[128]; /* as partition_name gives it */
    char stream[NOTE_NAME];
};

/* The number of the rule that runs, or that an error is leaving; 0: none. */
uint32_t note_rule(const struct note *note);

#endif
