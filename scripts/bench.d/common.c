/* common.c: the work, and a thin layer over stock hiredis; see common.h. */
#include "common.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void die(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

/* ---- bytes and commands ---- */

void bytes_add(struct bytes *b, const void *p, size_t len)
{
    if (b->len + len > b->cap) {
        b->cap = (b->len + len) * 2 + 1024;
        b->data = realloc(b->data, b->cap);
        if (!b->data)
            die("out of memory");
    }
    memcpy(b->data + b->len, p, len);
    b->len += len;
}

void bytes_free(struct bytes *b)
{
    free(b->data);
    *b = (struct bytes){0};
}

static void add_header(struct bytes *b, char kind, size_t n)
{
    char text[24], *p = text + sizeof text;

    *--p = '\n';
    *--p = '\r';
    do
        *--p = (char)('0' + n % 10);
    while (n /= 10);
    *--p = kind;
    bytes_add(b, p, (size_t)(text + sizeof text - p));
}

void command_begin(struct bytes *b, size_t count)
{
    add_header(b, '*', count);
}

void command_word(struct bytes *b, const void *p, size_t len)
{
    add_header(b, '$', len);
    bytes_add(b, p, len);
    bytes_add(b, "\r\n", 2);
}

void command_text(struct bytes *b, const char *resp)
{
    bytes_add(b, resp, strlen(resp));
}

/* ---- connection ---- */

redisContext *redis_open(const char *socket_path)
{
    redisContext *c = redisConnectUnix(socket_path);

    if (!c || c->err)
        die("cannot connect to %s: %s", socket_path, c ? c->errstr : "out of memory");
    c->reader->maxbuf = 0; /* keep the buffer between replies */
    return c;
}

void redis_send(redisContext *c, struct bytes *b)
{
    size_t sent = 0;

    while (sent < b->len) {
        ssize_t n = write(c->fd, b->data + sent, b->len - sent);

        if (n < 0 && errno != EINTR)
            die("write to redis: %s", strerror(errno));
        if (n > 0)
            sent += (size_t)n;
    }
    b->len = 0;
}

redisReply *redis_receive(redisContext *c)
{
    static char piece[128 * 1024];
    void *reply = NULL;

    for (;;) {
        ssize_t n;

        if (redisReaderGetReply(c->reader, &reply) != REDIS_OK)
            die("reply from redis: %s", c->reader->errstr);
        if (reply)
            break;
        n = read(c->fd, piece, sizeof piece);
        if (n == 0)
            die("redis closed the connection");
        if (n < 0 && errno != EINTR)
            die("read from redis: %s", strerror(errno));
        if (n > 0 && redisReaderFeed(c->reader, piece, (size_t)n) != REDIS_OK)
            die("reply from redis: %s", c->reader->errstr);
    }
    if (((redisReply *)reply)->type == REDIS_REPLY_ERROR)
        die("redis: %s", ((redisReply *)reply)->str);
    return reply;
}

void redis_discard(redisContext *c, size_t count)
{
    while (count--)
        freeReplyObject(redis_receive(c));
}

void redis_make_group(redisContext *c)
{
    redisReply *r = redisCommand(c, "XGROUP CREATE " STREAM " " GROUP " 0 MKSTREAM");

    if (!r)
        die("redis: %s", c->errstr);
    if (r->type == REDIS_REPLY_ERROR && strncmp(r->str, "BUSYGROUP", 9) != 0)
        die("redis: %s", r->str);
    freeReplyObject(r);
}

/* ---- the work ---- */

static bool text_is(msgpack_object_str s, const char *name, size_t len)
{
    return s.size == len && memcmp(s.ptr, name, len) == 0;
}

#define IS(object, name) text_is((object).via.str, name, sizeof(name) - 1)

static struct text text_of(const msgpack_object *o)
{
    if (o->type != MSGPACK_OBJECT_STR)
        die("malformed event: a text was expected");
    return (struct text){o->via.str.ptr, o->via.str.size};
}

static double number_of(const msgpack_object *o)
{
    switch (o->type) {
    case MSGPACK_OBJECT_FLOAT64:
    case MSGPACK_OBJECT_FLOAT32:
        return o->via.f64;
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        return (double)o->via.u64;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        return (double)o->via.i64;
    default:
        die("malformed event: a number was expected");
    }
}

bool purchase_decode(struct purchase *p, const char *data, size_t len)
{
    static msgpack_zone *zone; /* one for all events, emptied before each */
    msgpack_object root;
    size_t offset = 0;
    bool is_purchase = false;

    if (!zone && !(zone = msgpack_zone_new(MSGPACK_ZONE_CHUNK_SIZE)))
        die("out of memory");
    msgpack_zone_clear(zone);
    if (msgpack_unpack(data, len, &offset, zone, &root) != MSGPACK_UNPACK_SUCCESS ||
        root.type != MSGPACK_OBJECT_MAP)
        die("malformed event: no msgpack map");
    *p = (struct purchase){0};
    for (uint32_t i = 0; i < root.via.map.size; i++) {
        const msgpack_object *key = &root.via.map.ptr[i].key, *value = &root.via.map.ptr[i].val;

        if (key->type != MSGPACK_OBJECT_STR)
            continue;
        switch (key->via.str.size) {
        case 2:
            if (IS(*key, "ts"))
                p->ts = (int64_t)value->via.i64;
            break;
        case 3:
            if (IS(*key, "sku"))
                p->sku = text_of(value);
            else if (IS(*key, "qty"))
                p->qty = (int64_t)number_of(value);
            break;
        case 4:
            if (IS(*key, "type")) {
                is_purchase = value->type == MSGPACK_OBJECT_STR && IS(*value, "purchase");
                if (!is_purchase)
                    return false;
            }
            break;
        case 5:
            if (IS(*key, "price"))
                p->price = number_of(value);
            break;
        case 7:
            if (IS(*key, "user_id"))
                p->user_id = text_of(value);
            else if (IS(*key, "segment"))
                p->segment = text_of(value);
            break;
        }
    }
    return is_purchase;
}

double discount_of(struct text segment)
{
    if (segment.len == 3 && memcmp(segment.p, "vip", 3) == 0)
        return 0.15;
    if (segment.len == 5 && memcmp(segment.p, "loyal", 5) == 0)
        return 0.10;
    if (segment.len == 3 && memcmp(segment.p, "new", 3) == 0)
        return 0.05;
    return 0;
}

void totals_init(struct totals *t)
{
    t->mask = (1u << 15) - 1;
    t->count = 0;
    t->slots = calloc(t->mask + 1, sizeof *t->slots);
    if (!t->slots)
        die("out of memory");
}

static uint64_t hash_of(const char *p, size_t len)
{
    uint64_t h = 14695981039346656037u;

    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)p[i]) * 1099511628211u;
    return h ^ h >> 32;
}

static struct total *find_slot(struct total *slots, size_t mask, struct text user_id)
{
    size_t i = hash_of(user_id.p, user_id.len) & mask;

    while (slots[i].user_id && (slots[i].user_id_len != user_id.len ||
                                memcmp(slots[i].user_id, user_id.p, user_id.len) != 0))
        i = (i + 1) & mask;
    return &slots[i];
}

static void grow(struct totals *t)
{
    size_t mask = t->mask * 2 + 1;
    struct total *slots = calloc(mask + 1, sizeof *slots);

    if (!slots)
        die("out of memory");
    for (size_t i = 0; i <= t->mask; i++)
        if (t->slots[i].user_id)
            *find_slot(slots, mask, (struct text){t->slots[i].user_id, t->slots[i].user_id_len}) =
                t->slots[i];
    free(t->slots);
    t->slots = slots;
    t->mask = mask;
}

struct total *totals_at(struct totals *t, struct text user_id)
{
    struct total *s = find_slot(t->slots, t->mask, user_id);

    if (s->user_id)
        return s;
    if (t->count * 2 > t->mask) {
        grow(t);
        s = find_slot(t->slots, t->mask, user_id);
    }
    s->user_id = malloc(user_id.len ? user_id.len : 1);
    if (!s->user_id)
        die("out of memory");
    memcpy(s->user_id, user_id.p, user_id.len);
    s->user_id_len = user_id.len;
    t->count++;
    return s;
}

static void pack_text(msgpack_packer *pk, const char *p, uint32_t len)
{
    msgpack_pack_str(pk, len);
    msgpack_pack_str_body(pk, p, len);
}

#define PACK_KEY(pk, name) pack_text(pk, name, sizeof(name) - 1)

void offer_encode(msgpack_sbuffer *out, const struct purchase *p, double price, double discount,
                  double total)
{
    msgpack_packer pk;

    msgpack_sbuffer_clear(out);
    msgpack_packer_init(&pk, out, msgpack_sbuffer_write);
    msgpack_pack_map(&pk, 6);
    PACK_KEY(&pk, "user_id");
    pack_text(&pk, p->user_id.p, p->user_id.len);
    PACK_KEY(&pk, "sku");
    pack_text(&pk, p->sku.p, p->sku.len);
    PACK_KEY(&pk, "price");
    msgpack_pack_double(&pk, price);
    PACK_KEY(&pk, "discount");
    msgpack_pack_double(&pk, discount);
    PACK_KEY(&pk, "total");
    msgpack_pack_double(&pk, total);
    PACK_KEY(&pk, "ts");
    msgpack_pack_int64(&pk, p->ts);
}

void total_pack(char out[PACKED_TOTAL_LEN], double amount)
{
    uint64_t bits;

    memcpy(&bits, &amount, sizeof bits);
    bits = __builtin_bswap64(bits);
    out[0] = (char)0xcb;
    memcpy(out + 1, &bits, sizeof bits);
}

/* ---- batches ---- */

static void note_changed(struct batch *b, struct total *total, struct text user_id)
{
    if (total->changed_in == b->number)
        return;
    total->changed_in = b->number;
    if (b->n_changed == b->changed_cap) {
        b->changed_cap = b->changed_cap * 2 + 256;
        b->changed = realloc(b->changed, b->changed_cap * sizeof *b->changed);
        if (!b->changed)
            die("out of memory");
    }
    b->changed[b->n_changed++] = user_id;
}

static void compute_one(struct batch *b, struct totals *t, const char *data, size_t len)
{
    static const char xadd[] = "*5\r\n$4\r\nXADD\r\n$6\r\n" OFFERS "\r\n$1\r\n*\r\n$4\r\ndata\r\n";
    static msgpack_sbuffer offer;
    struct purchase p;
    struct total *total;
    double discount, price;

    if (!purchase_decode(&p, data, len))
        return;
    discount = discount_of(p.segment);
    price = p.price * (1 - discount);
    total = totals_at(t, p.user_id);
    total->amount = total->amount + price * (double)p.qty;
    note_changed(b, total, p.user_id);
    offer_encode(&offer, &p, price, discount, total->amount);
    bytes_add(&b->commands, xadd, sizeof xadd - 1);
    command_word(&b->commands, offer.data, offer.size);
    b->n_offers++;
}

void batch_compute(struct batch *b, struct totals *t, const redisReply *reply, bool with_acks)
{
    const redisReply *entries, *id = NULL;

    assert(reply->type == REDIS_REPLY_ARRAY && reply->elements == 1);
    entries = reply->element[0]->element[1];
    b->number++;
    b->commands.len = b->acks.len = 0;
    b->n_entries = entries->elements;
    b->n_offers = b->n_changed = 0;
    for (size_t i = 0; i < entries->elements; i++) {
        const redisReply *fields = entries->element[i]->element[1];

        id = entries->element[i]->element[0];
        if (with_acks)
            command_word(&b->acks, id->str, (size_t)id->len);
        for (size_t f = 0; f + 1 < fields->elements; f += 2)
            if (fields->element[f]->len == 4 && memcmp(fields->element[f]->str, "data", 4) == 0)
                compute_one(b, t, fields->element[f + 1]->str, (size_t)fields->element[f + 1]->len);
    }
    assert(id && (size_t)id->len < sizeof b->last_id);
    memcpy(b->last_id, id->str, (size_t)id->len + 1);
}

size_t batch_append_totals(struct batch *b, struct totals *t)
{
    if (b->n_changed == 0)
        return 0;
    command_begin(&b->commands, 2 + 2 * b->n_changed);
    command_text(&b->commands, "$4\r\nHSET\r\n$6\r\n" TOTALS "\r\n");
    for (size_t i = 0; i < b->n_changed; i++) {
        char packed[PACKED_TOTAL_LEN];

        total_pack(packed, totals_at(t, b->changed[i])->amount);
        command_word(&b->commands, b->changed[i].p, b->changed[i].len);
        command_word(&b->commands, packed, sizeof packed);
    }
    return 1;
}
