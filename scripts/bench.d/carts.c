/* carts.c: preloads streams for the timer bench, and knows which timers must fire.
 *
 *     carts SOCKET mixed FIRST_MS EVENTS USERS SEED SPAN_MS DELAY_MS      -> stream carts
 *     carts SOCKET phases FIRST_MS TIMERS REPLACED CANCELLED DELAY_MS     -> stream orders
 *
 * IDs begin at FIRST_MS and must all lie in the past, with the delay: so no firing ever waits for
 * the clock, and what is measured is work. Every entry has one field, `data`, a msgpack map.
 *
 * mixed: {user_id, type, total} by users drawn evenly, three adds to a pay, over SPAN_MS; each add
 * sets (or replaces) the user's timer, a pay cancels it. The rules are timers/with and
 * timers/without.
 *
 * phases: {user_id, delay}: TIMERS users set one timer each, REPLACED of them set theirs again,
 * CANCELLED cancel theirs (no delay), each time in another scattered order; then the clock jumps
 * over all that are left (one entry of `last`). The rule is timers/due.
 *
 * Prints JSON: the IDs that end the phases, and of all firings the number, and a digest of who,
 * when due and (mixed) with what total, computed without any of the engine's code. fired.c computes
 * the same from what fired.
 */
#include "common.h"
#include "fired.h"

#include <stdlib.h>

#define IDS_PER_MS 500
#define SEND_BYTES (256 * 1024)

struct cart {
    int64_t due; /* 0: no timer */
    double total;
};

struct loader {
    redisContext *connection;
    struct bytes out;
    const char *stream;
    uint64_t first_ms, entries, delay;
    char last_id[48];
    struct cart *carts;
    uint64_t sets, cancels;
    struct fired fired;
};

static void pack_text(msgpack_packer *pk, const char *text)
{
    size_t len = strlen(text);

    msgpack_pack_str(pk, len);
    msgpack_pack_str_body(pk, text, len);
}

static void add_entry(struct loader *l, uint64_t ms, uint64_t seq, const msgpack_sbuffer *data)
{
    int len = snprintf(l->last_id, sizeof l->last_id, "%" PRIu64 "-%" PRIu64, ms, seq);

    command_text(&l->out, "*5\r\n$4\r\nXADD\r\n");
    command_word(&l->out, l->stream, strlen(l->stream));
    command_word(&l->out, l->last_id, (size_t)len);
    command_text(&l->out, "$4\r\ndata\r\n");
    command_word(&l->out, data->data, data->size);
    l->entries++;
    if (l->out.len > SEND_BYTES)
        redis_send(l->connection, &l->out);
}

static void name_user(char *name, size_t size, uint64_t user)
{
    snprintf(name, size, "u%" PRIu64, user);
}

static void fire(struct loader *l, uint64_t user)
{
    char name[24];

    name_user(name, sizeof name, user);
    fired_add(&l->fired, name, strlen(name), (double)l->carts[user].due, l->carts[user].total);
    l->carts[user].due = 0;
}

/* ---- mixed ---- */

static void mixed_add(struct loader *l, uint64_t user, bool is_pay, double total, uint64_t ms,
                      uint64_t seq)
{
    static msgpack_sbuffer data;
    struct cart *cart = &l->carts[user];
    msgpack_packer pk;
    char name[24];

    name_user(name, sizeof name, user);
    msgpack_sbuffer_clear(&data);
    msgpack_packer_init(&pk, &data, msgpack_sbuffer_write);
    msgpack_pack_map(&pk, 3);
    pack_text(&pk, "user_id"), pack_text(&pk, name);
    pack_text(&pk, "type"), pack_text(&pk, is_pay ? "pay" : "add");
    pack_text(&pk, "total"), msgpack_pack_double(&pk, total);
    add_entry(l, ms, seq, &data);

    if (cart->due && cart->due <= (int64_t)ms)
        fire(l, user);
    cart->total = is_pay ? 0 : cart->total + total;
    l->cancels += is_pay && cart->due;
    l->sets += !is_pay;
    cart->due = is_pay ? 0 : (int64_t)(ms + l->delay);
}

static void load_mixed(struct loader *l, uint64_t events, uint64_t users, uint64_t seed,
                       uint64_t span)
{
    uint64_t before = 0, seq = 0;

    for (uint64_t i = 0; i < events; i++) {
        uint64_t random = digest_mix(seed + i * 0x9e3779b97f4a7c15u);
        uint64_t ms = l->first_ms + i * span / events;

        seq = ms == before ? seq + 1 : 0;
        before = ms;
        mixed_add(l, (random >> 8) % users, random % 4 == 0, (double)(random >> 40 & 0xfff) / 100,
                  ms, seq);
    }
    for (uint64_t user = 0; user < users; user++)
        if (l->carts[user].due)
            fire(l, user);
}

/* ---- phases ---- */

/* One entry for each of `count` users, scattered over all of them, the last of which ends the
 * phase. */
static void load_phase(struct loader *l, const char *name, uint64_t users, uint64_t count,
                       uint64_t step, bool is_set)
{
    static msgpack_sbuffer data;

    for (uint64_t i = 0; i < count; i++) {
        uint64_t ms = l->first_ms + l->entries / IDS_PER_MS, user = (i * step + step / 3) % users;
        msgpack_packer pk;
        char user_id[24];

        name_user(user_id, sizeof user_id, user);
        msgpack_sbuffer_clear(&data);
        msgpack_packer_init(&pk, &data, msgpack_sbuffer_write);
        msgpack_pack_map(&pk, is_set ? 2 : 1);
        pack_text(&pk, "user_id"), pack_text(&pk, user_id);
        if (is_set)
            pack_text(&pk, "delay"), msgpack_pack_uint64(&pk, l->delay);
        add_entry(l, ms, l->entries % IDS_PER_MS, &data);
        l->carts[user].due = is_set ? (int64_t)(ms + l->delay) : 0;
    }
    printf("\"%s\": {\"entries\": %" PRIu64 ", \"last_id\": \"%s\"}, ", name, count, l->last_id);
}

static void load_phases(struct loader *l, uint64_t timers, uint64_t replaced, uint64_t cancelled)
{
    static msgpack_sbuffer data;
    msgpack_packer pk;

    /* Steps that no number of users has in common but their multiples: primes. */
    load_phase(l, "set", timers, timers, UINT64_C(15485863), true);
    load_phase(l, "replace", timers, replaced, UINT64_C(32452843), true);
    load_phase(l, "cancel", timers, cancelled, UINT64_C(49979687), false);
    for (uint64_t user = 0; user < timers; user++)
        if (l->carts[user].due)
            fire(l, user);
    msgpack_packer_init(&pk, &data, msgpack_sbuffer_write);
    msgpack_pack_map(&pk, 1);
    pack_text(&pk, "user_id"), pack_text(&pk, "last");
    add_entry(l, l->first_ms + l->entries / IDS_PER_MS + l->delay + 1000, 0, &data);
}

int main(int argc, char **argv)
{
    struct loader l = {0};
    uint64_t numbers[6] = {0};
    redisContext *c;
    bool is_mixed;

    if (argc < 4 || argc > 9)
        die("usage: carts SOCKET mixed|phases FIRST_MS NUMBER...");
    is_mixed = strcmp(argv[2], "mixed") == 0;
    if (argc != (is_mixed ? 9 : 8))
        die("carts: %s takes other arguments", argv[2]);
    for (int i = 4; i < argc; i++)
        numbers[i - 4] = strtoull(argv[i], NULL, 10);
    c = l.connection = redis_open(argv[1]);
    l.first_ms = strtoull(argv[3], NULL, 10);
    l.stream = is_mixed ? "carts" : "orders";
    l.delay = numbers[is_mixed ? 4 : 3];
    l.carts = calloc(numbers[is_mixed ? 1 : 0], sizeof *l.carts);
    if (!l.carts)
        die("out of memory");

    command_text(&l.out, "*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$3\r\nOFF\r\n");
    printf("{");
    if (is_mixed)
        load_mixed(&l, numbers[0], numbers[1], numbers[2], numbers[3]);
    else
        load_phases(&l, numbers[0], numbers[1], numbers[2]);
    command_text(&l.out, "*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$2\r\nON\r\n");
    redis_send(c, &l.out);
    redis_discard(c, 1);
    printf("\"entries\": %" PRIu64 ", \"last_id\": \"%s\", \"sets\": %" PRIu64
           ", \"cancels\": %" PRIu64 ", \"fired\": ",
           l.entries, l.last_id, l.sets, l.cancels);
    fired_print(&l.fired);
    printf("}\n");
    return 0;
}
