/* observer.c: sees offers appear, as any consumer would, and says how old their events are by then.
 *
 *     observer SOCKET COUNT WARMUP
 *
 * XREAD BLOCK on `offers` from its start, until COUNT offers came; the first WARMUP are not
 * counted. An offer's age is the time its reply was received less its ts (see producer.c: the same
 * clock, microseconds). Offers of one reply were all visible when it was received. Gives up after
 * 10 s without an offer. Prints JSON.
 */
#include "common.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static uint64_t ts_of(const redisReply *data)
{
    static msgpack_zone *zone;
    msgpack_object o;
    size_t offset = 0;

    if (!zone)
        zone = msgpack_zone_new(MSGPACK_ZONE_CHUNK_SIZE);
    msgpack_zone_clear(zone);
    if (msgpack_unpack(data->str, (size_t)data->len, &offset, zone, &o) != MSGPACK_UNPACK_SUCCESS ||
        o.type != MSGPACK_OBJECT_MAP)
        die("an offer is no msgpack map");
    for (uint32_t i = 0; i < o.via.map.size; i++) {
        const msgpack_object *key = &o.via.map.ptr[i].key, *value = &o.via.map.ptr[i].val;

        if (key->type != MSGPACK_OBJECT_STR || key->via.str.size != 2 ||
            memcmp(key->via.str.ptr, "ts", 2) != 0)
            continue;
        if (value->type == MSGPACK_OBJECT_POSITIVE_INTEGER)
            return value->via.u64;
        if (value->type == MSGPACK_OBJECT_FLOAT64)
            return (uint64_t)value->via.f64;
    }
    die("an offer has no ts");
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    uint64_t count, warmup, seen = 0, *ages, n;
    char last_id[48] = "0-0";
    redisContext *c;

    if (argc != 4)
        die("usage: observer SOCKET COUNT WARMUP");
    count = strtoull(argv[2], NULL, 10);
    warmup = strtoull(argv[3], NULL, 10);
    if (count <= warmup)
        die("nothing to observe");
    ages = malloc(count * sizeof *ages);
    c = redis_open(argv[1]);
    while (seen < count) {
        redisReply *r = redisCommand(c, "XREAD BLOCK 10000 STREAMS " OFFERS " %s", last_id);
        uint64_t now = now_us();
        const redisReply *entries;

        if (!r || r->type != REDIS_REPLY_ARRAY)
            die("after %" PRIu64 " of %" PRIu64 " offers none came for 10 s", seen, count);
        entries = r->element[0]->element[1];
        for (size_t i = 0; i < entries->elements && seen < count; i++)
            ages[seen++] = now - ts_of(entries->element[i]->element[1]->element[1]);
        snprintf(last_id, sizeof last_id, "%s",
                 entries->element[entries->elements - 1]->element[0]->str);
        freeReplyObject(r);
    }
    n = count - warmup;
    qsort(ages + warmup, n, sizeof *ages, by_value);
    ages += warmup;
    printf("{\"offers\": %" PRIu64 ", \"p50_us\": %" PRIu64 ", \"p90_us\": %" PRIu64
           ", \"p99_us\": %" PRIu64 ", \"p999_us\": %" PRIu64 ", \"max_us\": %" PRIu64 "}\n",
           n, ages[n / 2], ages[n * 90 / 100], ages[n * 99 / 100], ages[n * 999 / 1000],
           ages[n - 1]);
    return 0;
}
