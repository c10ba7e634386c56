/* backoff.c: doubling, capped, jittered. */
#include "base/backoff.h"

#include <assert.h>

uint64_t backoff_next_ms(struct backoff *b, uint32_t random)
{
    assert(b->least_ms > 0 && b->least_ms <= b->most_ms);
    uint64_t whole = b->least_ms;
    for (unsigned i = 0; i < b->failures && whole < b->most_ms; i++)
        whole = whole > b->most_ms / 2 ? b->most_ms : whole * 2;
    if (b->failures < UINT32_MAX)
        b->failures++;
    uint64_t half = (whole + 1) / 2;
    return half + (uint64_t)random % (whole - half + 1);
}

void backoff_reset(struct backoff *b)
{
    b->failures = 0;
}
