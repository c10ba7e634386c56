/* slot.h: what a worker and its supervisor share in memory: how they see each other live, and what
 * is left of a worker that died.
 *
 * Each field has one writer. There is no lock: every reader makes do with a value of a moment ago,
 * and reads what must belong together (the note) only of a worker that has ended. */
#ifndef TIDEMILL_WORKER_SLOT_H
#define TIDEMILL_WORKER_SLOT_H

#include "rules/note.h"

enum { SLOTS_MOST = 256 };

/* One worker's; zeroed before each of its lives. */
struct slot {
    struct note note;          /* written by the rules' kernel */
    volatile uint32_t thread;  /* that runs the rules and the loop; 0: not yet */
    volatile uint64_t beats;   /* grows while its loop turns */
    volatile uint64_t commits; /* of this life: has it made progress? */
    volatile uint64_t events;
    volatile uint64_t edition;  /* of the rules that run: note.mark.rule is a number of theirs */
    volatile uint32_t is_fatal; /* it could not go on and has said why: no use in another try */
    volatile uint32_t is_told;  /* it was told to stop, by whomever: status 0 is right */
} __attribute__((aligned(64)));

struct slots {
    volatile uint64_t beats; /* the supervisor's own */
    struct slot list[SLOTS_MOST];
};

#endif
