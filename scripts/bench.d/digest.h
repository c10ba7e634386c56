/* digest.h: the sums by which check.c compares what a client wrote with what loader.c knows it
 * should have written. */
#ifndef BENCH_DIGEST_H
#define BENCH_DIGEST_H

#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct result {
    uint64_t offers;        /* entries on `offers` */
    double price_sum;       /* of their discounted prices, in order; so are the sums below */
    double total_sum;       /* of their running totals */
    uint64_t offers_digest; /* of every field of every offer, and their order */
    uint64_t totals;        /* users with a total */
    uint64_t totals_digest; /* of the users and their final totals, whatever their order */
};

static inline uint64_t digest_mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static inline uint64_t digest_text(const char *p, size_t len)
{
    uint64_t h = 14695981039346656037u;

    while (len--)
        h = (h ^ (unsigned char)*p++) * 1099511628211u;
    return digest_mix(h);
}

static inline uint64_t digest_number(double x)
{
    uint64_t bits;

    memcpy(&bits, &x, sizeof bits);
    return digest_mix(bits);
}

static inline void result_add_offer(struct result *r, uint64_t user, uint64_t sku, double price,
                                    double discount, double total, double ts)
{
    uint64_t parts[] = {user,
                        sku,
                        digest_number(price),
                        digest_number(discount),
                        digest_number(total),
                        digest_number(ts)};

    r->offers++;
    r->price_sum += price;
    r->total_sum += total;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        r->offers_digest = digest_mix(r->offers_digest + parts[i] + i + 1);
}

static inline void result_add_total(struct result *r, uint64_t user, double total)
{
    r->totals++;
    r->totals_digest += digest_mix(user ^ digest_number(total));
}

/* Without the closing brace: the caller may have more to say. Digests are texts: JSON readers round
 * big numbers. */
static inline void result_print(const struct result *r)
{
    printf("{\"offers\": %" PRIu64
           ", \"price_sum\": %.17g, \"total_sum\": %.17g, \"offers_digest\": \"%016" PRIx64
           "\", \"totals\": %" PRIu64 ", \"totals_digest\": \"%016" PRIx64 "\"",
           r->offers, r->price_sum, r->total_sum, r->offers_digest, r->totals, r->totals_digest);
}

#endif
