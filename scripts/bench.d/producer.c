/* producer.c: sends purchases at a steady pace, each marked with the moment it left.
 *
 *     producer SOCKET RATE SECONDS SEED
 *
 * An open loop: every event has its due time, sending never waits for a reply (CLIENT REPLY OFF),
 * so a slow Redis cannot slow the pace and hide its own delay. `ts` is CLOCK_MONOTONIC in
 * microseconds, taken right before write(). Prints JSON: how many were sent, and how late after
 * their due time (a late producer is a busy machine).
 */
#include "common.h"
#include "digest.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

static int64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void sleep_until(int64_t ns)
{
    struct timespec t = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
        ;
}

static void pack_text(msgpack_packer *pk, const char *text)
{
    size_t len = strlen(text);

    msgpack_pack_str(pk, len);
    msgpack_pack_str_body(pk, text, len);
}

/* Everything but the value of ts, which comes last, and is always packed as a uint64. */
static void event_encode(msgpack_sbuffer *out, uint64_t random)
{
    static const char *const segments[] = {"vip", "loyal", "new", "regular"};
    msgpack_packer pk;
    char user_id[24], sku[24];

    snprintf(user_id, sizeof user_id, "u%" PRIu64, random % 10000);
    snprintf(sku, sizeof sku, "s-%" PRIu64, 100 + (random >> 20) % 900);
    msgpack_sbuffer_clear(out);
    msgpack_packer_init(&pk, out, msgpack_sbuffer_write);
    msgpack_pack_map(&pk, 8);
    pack_text(&pk, "type"), pack_text(&pk, "purchase");
    pack_text(&pk, "user_id"), pack_text(&pk, user_id);
    pack_text(&pk, "sku"), pack_text(&pk, sku);
    pack_text(&pk, "price"), msgpack_pack_double(&pk, (double)(99 + (random >> 32) % 20000) / 100);
    pack_text(&pk, "qty"), msgpack_pack_int64(&pk, (int64_t)(1 + (random >> 10) % 4));
    pack_text(&pk, "segment"), pack_text(&pk, segments[(random >> 8) % 4]);
    pack_text(&pk, "currency"), pack_text(&pk, "EUR");
    pack_text(&pk, "ts"), msgpack_pack_fix_uint64(&pk, 0);
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    uint64_t rate, count, seed;
    struct bytes out = {0};
    msgpack_sbuffer data;
    int64_t *late, start;
    redisContext *c;

    if (argc != 5)
        die("usage: producer SOCKET RATE SECONDS SEED");
    rate = strtoull(argv[2], NULL, 10);
    count = (uint64_t)((double)rate * atof(argv[3]));
    seed = strtoull(argv[4], NULL, 10);
    prctl(PR_SET_TIMERSLACK, 1);
    late = malloc(count * sizeof *late);
    if (!late || count == 0)
        die("nothing to send");
    c = redis_open(argv[1]);
    command_text(&out, "*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$3\r\nOFF\r\n");
    redis_send(c, &out);

    msgpack_sbuffer_init(&data);
    start = now_ns() + 1000000;
    for (uint64_t i = 0; i < count; i++) {
        int64_t due = start + (int64_t)((double)i * 1e9 / (double)rate), now;
        uint64_t ts;

        event_encode(&data, digest_mix(seed + i));
        command_text(&out, "*5\r\n$4\r\nXADD\r\n$6\r\n" STREAM "\r\n$1\r\n*\r\n$4\r\ndata\r\n");
        command_word(&out, data.data, data.size);
        sleep_until(due);
        now = now_ns();
        late[i] = now - due;
        ts = __builtin_bswap64((uint64_t)now / 1000);
        memcpy(out.data + out.len - 2 - sizeof ts, &ts, sizeof ts); /* before the \r\n */
        redis_send(c, &out);
    }
    command_text(&out, "*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$2\r\nON\r\n");
    redis_send(c, &out);
    redis_discard(c, 1);
    qsort(late, count, sizeof *late, by_value);
    printf("{\"sent\": %" PRIu64
           ", \"late_p50_us\": %.1f, \"late_p99_us\": %.1f, \"late_max_us\": %.1f}\n",
           count, (double)late[count / 2] / 1e3, (double)late[count * 99 / 100] / 1e3,
           (double)late[count - 1] / 1e3);
    return 0;
}
