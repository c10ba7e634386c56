/* backoff.h: how long to wait before the next try. Pure: it reads no clock and draws no random
 * number. */
#ifndef TIDEMILL_BASE_BACKOFF_H
#define TIDEMILL_BASE_BACKOFF_H

#include <stdint.h>

struct backoff {
    uint64_t least_ms; /* the longest first wait, at least 1 */
    uint64_t most_ms;  /* no wait is longer; at least least_ms */
    unsigned failures; /* in a row, so far */
};

/* Counts one more failure and says how many ms to wait: between half and all of least_ms, of
 * twice that after the next failure, and so on until most_ms. `random` picks the place between
 * half and all, so that many who failed together do not come back together. */
uint64_t backoff_next_ms(struct backoff *b, uint32_t random);

/* It worked: the next failure waits shortest again. */
void backoff_reset(struct backoff *b);

#endif
