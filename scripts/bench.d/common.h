/* common.h: what the C programs of the benchmark share: the work, and a thin layer over stock
 * hiredis.
 *
 * The work, word for word the same in every client (peer_*.c, peer_node.mjs, peer_python.py,
 * rules/pricing.lua): of every event of type "purchase"
 *
 *     discount = DISCOUNT[segment], else 0
 *     price    = event.price * (1 - discount)
 *     total    = total of this user so far + price * qty          (IEEE doubles, in this order:
 * equal to the last bit)
 *
 * an entry on `offers`, field `data`, a msgpack map {user_id, sku, price, discount, total, ts}; the
 * total is kept.
 */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include <hiredis/hiredis.h>
#include <msgpack.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STREAM "events"
#define OFFERS "offers"
#define TOTALS "totals"
#define GROUP "bench"

/* Prints one line and exits with 1. */
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- bytes that grow, and Redis commands written into them ---- */

struct bytes {
    char *data;
    size_t len, cap;
};

void bytes_add(struct bytes *b, const void *p, size_t len);
void bytes_free(struct bytes *b);

/* "*COUNT\r\n": a command of COUNT words follows. */
void command_begin(struct bytes *b, size_t count);
void command_word(struct bytes *b, const void *p, size_t len);
/* All words of a command known when the program is written. */
void command_text(struct bytes *b, const char *resp);

/* ---- a connection ---- */

redisContext *redis_open(const char *socket_path);
/* Sends what is in `b`, empties it. */
void redis_send(redisContext *c, struct bytes *b);
/* The next reply, never an error; the caller frees it. Reads in large pieces, which hiredis itself
 * does not. */
redisReply *redis_receive(redisContext *c);
/* Receives and frees `count` replies. */
void redis_discard(redisContext *c, size_t count);
/* Makes the consumer group at the start of the stream; fine if it is there. */
void redis_make_group(redisContext *c);

/* ---- the work ---- */

struct text {
    const char *p;
    uint32_t len;
};

struct purchase {
    struct text user_id, sku, segment;
    double price;
    int64_t qty, ts;
};

/* Decodes the msgpack map; false when it is no purchase. Texts point into `data`. Dies of a
 * malformed event. */
bool purchase_decode(struct purchase *p, const char *data, size_t len);

double discount_of(struct text segment);

/* Totals by user, in memory, insertion only. */
struct total {
    char *user_id; /* owned */
    uint32_t user_id_len;
    uint32_t changed_in; /* number of the last batch that changed it */
    double amount;
};

struct totals {
    struct total *slots; /* open addressing; user_id is NULL when free */
    size_t mask, count;
};

void totals_init(struct totals *t);
/* Finds or adds; the pointer holds until the next call that adds. */
struct total *totals_at(struct totals *t, struct text user_id);

/* The msgpack of an offer, in place of what `out` held. */
void offer_encode(msgpack_sbuffer *out, const struct purchase *p, double price, double discount,
                  double total);

/* What is kept of a total: a msgpack float 64. */
#define PACKED_TOTAL_LEN 9
void total_pack(char out[PACKED_TOTAL_LEN], double amount);

/* ---- batches: the same for both C peers ---- */

/* Effects of one batch, as commands: one XADD a purchase, and one HSET for all totals that changed.
 */
struct batch {
    uint32_t number;
    struct bytes commands; /* XADDs, in order of the entries */
    struct bytes acks;     /* the IDs, as words */
    struct text *changed;  /* users whose totals changed, each once; texts into the read reply */
    size_t n_entries, n_offers, n_changed, changed_cap;
    char last_id[48];
};

/* Runs the work on all entries of an XREAD or XREADGROUP reply. Collects the IDs as words when
 * `with_acks`. */
void batch_compute(struct batch *b, struct totals *t, const redisReply *reply, bool with_acks);
/* Appends the HSET of the changed totals, if any; returns the number of replies to expect of it (0
 * or 1). */
size_t batch_append_totals(struct batch *b, struct totals *t);

#endif
