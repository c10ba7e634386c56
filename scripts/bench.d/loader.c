/* loader.c: preloads a stream, fast, and knows what a correct client must make of it.
 *
 *     loader SOCKET KEY EVENTS USERS SEED mixed|purchases random|each
 *
 * Every entry has one field, `data`, a msgpack map of 8 fields, about 95 bytes. `mixed`: a third
 * each of purchase, view and cart. `random`: users are drawn evenly; `each`: one after the other,
 * so that EVENTS = USERS gives every user one event. The same arguments give the same bytes: the
 * generator is seeded, IDs and ts count up from a fixed moment in the past, ts a millisecond apart,
 * IDs as XADD * gives them under load: 500 in a millisecond. At the end the consumer group is made
 * at 0, and the oracle's result is printed as JSON: it is computed from what was drawn, without any
 * of the code that the clients share.
 */
#include "common.h"
#include "digest.h"

#include <stdlib.h>

#define FIRST_MS UINT64_C(1700000000000)
#define IDS_PER_MS 500
#define SEND_BYTES (256 * 1024)

struct segment {
    const char *name;
    double discount;
};

/* A user's segment never changes; of each ten users: 1 vip, 2 loyal, 2 new, 5 regular. */
static const struct segment VIP = {"vip", 0.15}, LOYAL = {"loyal", 0.10}, NEW = {"new", 0.05},
                            REGULAR = {"regular", 0};

static const struct segment *segment_of(uint64_t user)
{
    unsigned share = digest_mix(user + 77) % 10;

    return share < 1 ? &VIP : share < 3 ? &LOYAL : share < 5 ? &NEW : &REGULAR;
}

static uint64_t draw(uint64_t *state)
{
    return digest_mix(*state += 0x9e3779b97f4a7c15u);
}

static void pack_text(msgpack_packer *pk, const char *text)
{
    size_t len = strlen(text);

    msgpack_pack_str(pk, len);
    msgpack_pack_str_body(pk, text, len);
}

struct event {
    const char *type;
    const struct segment *segment;
    char user_id[24], sku[24];
    uint64_t user;
    double price;
    int64_t qty, ts;
};

static struct event event_draw(uint64_t i, uint64_t users, uint64_t *random, bool is_mixed,
                               bool is_each)
{
    static const char *const types[] = {"purchase", "view", "cart"};
    struct event e = {.type = is_mixed ? types[draw(random) % 3] : types[0]};

    e.user = (is_each ? i : draw(random)) % users;
    e.segment = segment_of(e.user);
    snprintf(e.user_id, sizeof e.user_id, "u%" PRIu64, e.user);
    snprintf(e.sku, sizeof e.sku, "s-%" PRIu64, 100 + draw(random) % 900);
    e.price = (double)(99 + draw(random) % 20000) / 100;
    e.qty = (int64_t)(1 + draw(random) % 4);
    e.ts = (int64_t)(FIRST_MS + i);
    return e;
}

static void event_encode(msgpack_sbuffer *out, const struct event *e)
{
    msgpack_packer pk;

    msgpack_sbuffer_clear(out);
    msgpack_packer_init(&pk, out, msgpack_sbuffer_write);
    msgpack_pack_map(&pk, 8);
    pack_text(&pk, "type"), pack_text(&pk, e->type);
    pack_text(&pk, "user_id"), pack_text(&pk, e->user_id);
    pack_text(&pk, "sku"), pack_text(&pk, e->sku);
    pack_text(&pk, "price"), msgpack_pack_double(&pk, e->price);
    pack_text(&pk, "qty"), msgpack_pack_int64(&pk, e->qty);
    pack_text(&pk, "ts"), msgpack_pack_int64(&pk, e->ts);
    pack_text(&pk, "segment"), pack_text(&pk, e->segment->name);
    pack_text(&pk, "currency"), pack_text(&pk, "EUR");
}

static int entry_id(char *id, size_t size, uint64_t i)
{
    return snprintf(id, size, "%" PRIu64 "-%" PRIu64, FIRST_MS + i / IDS_PER_MS, i % IDS_PER_MS);
}

/* What the work makes of the event; `totals` by user, negative when the user has none yet. */
static void oracle_add(struct result *r, double *totals, const struct event *e)
{
    double price = e->price * (1 - e->segment->discount);

    if (totals[e->user] < 0)
        totals[e->user] = 0;
    totals[e->user] = totals[e->user] + price * (double)e->qty;
    result_add_offer(r, digest_text(e->user_id, strlen(e->user_id)),
                     digest_text(e->sku, strlen(e->sku)), price, e->segment->discount,
                     totals[e->user], (double)e->ts);
}

int main(int argc, char **argv)
{
    uint64_t events, users, random, payload_bytes = 0;
    struct result result = {0};
    struct bytes out = {0};
    msgpack_sbuffer data;
    bool is_mixed, is_each;
    char last_id[32];
    double *totals;
    redisContext *c;
    redisReply *r;

    if (argc != 8)
        die("usage: loader SOCKET KEY EVENTS USERS SEED mixed|purchases random|each");
    events = strtoull(argv[3], NULL, 10);
    users = strtoull(argv[4], NULL, 10);
    random = strtoull(argv[5], NULL, 10);
    is_mixed = strcmp(argv[6], "mixed") == 0;
    is_each = strcmp(argv[7], "each") == 0;
    c = redis_open(argv[1]);
    totals = malloc(users * sizeof *totals);
    for (uint64_t u = 0; u < users; u++)
        totals[u] = -1;

    msgpack_sbuffer_init(&data);
    command_text(&out, "*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$3\r\nOFF\r\n");
    for (uint64_t i = 0; i < events; i++) {
        struct event e = event_draw(i, users, &random, is_mixed, is_each);
        char id[32];
        int id_len = entry_id(id, sizeof id, i);

        event_encode(&data, &e);
        payload_bytes += data.size;
        command_text(&out, "*5\r\n$4\r\nXADD\r\n");
        command_word(&out, argv[2], strlen(argv[2]));
        command_word(&out, id, (size_t)id_len);
        command_text(&out, "$4\r\ndata\r\n");
        command_word(&out, data.data, data.size);
        if (out.len > SEND_BYTES)
            redis_send(c, &out);
        if (strcmp(e.type, "purchase") == 0)
            oracle_add(&result, totals, &e);
    }
    command_text(&out, "*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$2\r\nON\r\n");
    redis_send(c, &out);
    redis_discard(c, 1);
    r = redisCommand(c, "XLEN %s", argv[2]);
    if (!r || r->type != REDIS_REPLY_INTEGER || (uint64_t)r->integer != events)
        die("the stream does not hold the %" PRIu64 " entries sent", events);
    freeReplyObject(r);

    r = redisCommand(c, "XGROUP CREATE %s " GROUP " 0", argv[2]);
    if (!r || r->type == REDIS_REPLY_ERROR)
        die("XGROUP: %s", r ? r->str : c->errstr);
    freeReplyObject(r);

    for (uint64_t u = 0; u < users; u++) {
        char user_id[24];

        snprintf(user_id, sizeof user_id, "u%" PRIu64, u);
        if (totals[u] >= 0)
            result_add_total(&result, digest_text(user_id, strlen(user_id)), totals[u]);
    }
    result_print(&result);
    entry_id(last_id, sizeof last_id, events - 1);
    printf(", \"events\": %" PRIu64 ", \"last_id\": \"%s\", \"payload_bytes\": %.1f}\n", events,
           last_id, (double)payload_bytes / (double)events);
    return 0;
}
