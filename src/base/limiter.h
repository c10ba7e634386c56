/* limiter.h: at most one of a kind in a second, and a count of the others. Reads no clock: `now_ms`
 * is an argument. */
#ifndef TIDEMILL_BASE_LIMITER_H
#define TIDEMILL_BASE_LIMITER_H

#include <stdbool.h>
#include <stdint.h>

enum { LIMITER_KINDS = 64, LIMITER_NAME_LEN = 48, LIMITER_SPACE_MS = 1000 };

struct limiter_kind {
    char name[LIMITER_NAME_LEN]; /* "" when the place is free; longer names are told apart by their
                                    beginning */
    uint64_t free_at_ms;         /* from then on the next one passes */
    uint64_t held_count;         /* held back since the last one that passed */
    int tag;                     /* the caller's word about the last one: its level */
};

/* A zeroed struct is ready. */
struct limiter {
    struct limiter_kind kinds[LIMITER_KINDS];
};

/* True: say it now, and that `*held_count` of its kind were not said before it. False: it was
 * counted. More kinds than places: the one that has been quiet longest makes room; when all hold
 * something back, it passes. */
bool limiter_may_pass(struct limiter *l, const char *kind, int tag, uint64_t now_ms,
                      uint64_t *held_count);

/* Takes one kind whose second is over and that still holds something back, so that no count is lost
 * for ever when its kind falls silent. False when there is none. `kind` is valid until the next
 * call. */
bool limiter_take_held(struct limiter *l, uint64_t now_ms, const char **kind, int *tag,
                       uint64_t *held_count);

#endif
