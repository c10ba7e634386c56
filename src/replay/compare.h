/* compare.h: two replays of one plan, each in a child, and where they decide differently.
 *
 *   child (old) ── decisions ──┐
 *                              ├── merged by where they stand ──> difference.h
 *   child (new) ── decisions ──┘
 */
#ifndef TIDEMILL_REPLAY_COMPARE_H
#define TIDEMILL_REPLAY_COMPARE_H

#include "replay/child.h"
#include "replay/difference.h"

/* The rules of one side, by number from 1: rules[number - 1]. */
struct compare_rules {
    const char *const *names;
    size_t count;
};

struct compare_side;

struct compare {
    struct difference *difference;
    const struct plan *plan;
    struct compare_rules rules[SIDES];
    struct compare_side *sides; /* its own */
};

/* `ends` are the children's pipes. */
void compare_init(struct compare *c, const struct plan *plan, struct difference *difference,
                  const struct compare_rules rules[SIDES], const int ends[SIDES]);
void compare_fini(struct compare *c);

/* Waits for what the children say, at most `wait_ms`, and compares as far as both have come. True:
 * both have said all, or one has ended too early (compare_end tells). Errors: ERROR_SYSTEM, in
 * `error`, whose code is 0 otherwise. */
bool compare_step(struct compare *c, int wait_ms, struct error *error);

/* The child of this side says nothing any more: it is about to end, or has. */
bool compare_is_over(const struct compare *c, enum difference_side side);

/* After the last step: what only one version has decided is told. Errors: ERROR_SYSTEM, a child did
 * not come to its end; ERROR_REPLY, they have not read the same entries. */
int compare_end(struct compare *c, uint64_t *events, struct error *error);

#endif
