/* hash.h: the hash of tables whose keys come from outside. */
#ifndef TIDEMILL_BASE_HASH_H
#define TIDEMILL_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A multiply-xorshift hash over 8 bytes at a time. `seed`: one of each table, so that keys cannot
 * be chosen to collide without knowing it; `family`: what tells apart equal keys of different
 * owners. In the header, because it is on the hot path of every event with a state. */
static inline uint64_t hash_key(uint64_t seed, uint32_t family, const char *key, size_t len)
{
    const uint64_t prime = 0x9E3779B97F4A7C15ull;
    uint64_t h = seed ^ (family * prime) ^ len;
    while (len > 0) {
        uint64_t word = 0;
        size_t part = len < 8 ? len : 8;
        memcpy(&word, key, part);
        h = (h ^ word) * prime;
        h ^= h >> 32;
        key += part;
        len -= part;
    }
    h *= prime;
    return h ^ h >> 29;
}

/* A seed for the table at this address. */
static inline uint64_t hash_seed(const void *table)
{
    return hash_key((uint64_t)(uintptr_t)table ^ 0xA5A5F00DDEADBEEFull, 0, (const char *)&table,
                    sizeof table);
}

#endif
