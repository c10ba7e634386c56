/* fired.h: the sum by which fired.c compares the timers that fired with those that carts.c knows
 * must fire. */
#ifndef BENCH_FIRED_H
#define BENCH_FIRED_H

#include "digest.h"

struct fired {
    uint64_t count, digest; /* of who, when due, and with what total; whatever their order */
};

static inline void fired_add(struct fired *f, const char *user, size_t len, double due,
                             double total)
{
    uint64_t one = digest_text(user, len);

    one = digest_mix(one + digest_number(due));
    one = digest_mix(one + digest_number(total));
    f->count++;
    f->digest += one;
}

/* The digest is a text: JSON readers round big numbers. */
static inline void fired_print(const struct fired *f)
{
    printf("{\"count\": %" PRIu64 ", \"digest\": \"%016" PRIx64 "\"}", f->count, f->digest);
}

#endif
