/* check.c: reads back what a client wrote, and prints the same sums as loader.c does.
 *
 *     check SOCKET OFFERS TOTALS
 *
 * OFFERS is the stream of offers, TOTALS a hash of user -> total. A total may be text, a msgpack
 * number, or Tidemill's [expiry, version, {total = ...}].
 */
#include "common.h"
#include "digest.h"

#include <stdlib.h>

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
        die("a number was expected, msgpack type %d found", (int)o->type);
    }
}

static const msgpack_object *field_of(const msgpack_object *map, const char *name)
{
    if (map->type != MSGPACK_OBJECT_MAP)
        die("a map was expected, msgpack type %d found", (int)map->type);
    for (uint32_t i = 0; i < map->via.map.size; i++) {
        const msgpack_object *key = &map->via.map.ptr[i].key;

        if (key->type == MSGPACK_OBJECT_STR && key->via.str.size == strlen(name) &&
            memcmp(key->via.str.ptr, name, strlen(name)) == 0)
            return &map->via.map.ptr[i].val;
    }
    die("field %s is missing", name);
}

static uint64_t text_of(const msgpack_object *o)
{
    if (o->type != MSGPACK_OBJECT_STR && o->type != MSGPACK_OBJECT_BIN)
        die("a text was expected, msgpack type %d found", (int)o->type);
    return digest_text(o->via.str.ptr, o->via.str.size);
}

static msgpack_object unpack(msgpack_zone *zone, const redisReply *bytes)
{
    msgpack_object o;
    size_t offset = 0;

    msgpack_zone_clear(zone);
    if (msgpack_unpack(bytes->str, (size_t)bytes->len, &offset, zone, &o) != MSGPACK_UNPACK_SUCCESS)
        die("no msgpack value");
    return o;
}

static void read_offers(redisContext *c, msgpack_zone *zone, const char *key, struct result *result)
{
    char from[64] = "-";

    for (;;) {
        redisReply *page = redisCommand(c, "XRANGE %s %s + COUNT 5000", key, from);

        if (!page || page->type != REDIS_REPLY_ARRAY)
            die("XRANGE: %s", page ? page->str : c->errstr);
        if (page->elements == 0) {
            freeReplyObject(page);
            return;
        }
        for (size_t i = 0; i < page->elements; i++) {
            const redisReply *id = page->element[i]->element[0],
                             *fields = page->element[i]->element[1];
            msgpack_object o;

            if (fields->elements != 2 || strcmp(fields->element[0]->str, "data") != 0)
                die("offer %s does not have the one field data", id->str);
            o = unpack(zone, fields->element[1]);
            if (o.via.map.size != 6)
                die("offer %s has %u fields", id->str, o.via.map.size);
            result_add_offer(result, text_of(field_of(&o, "user_id")), text_of(field_of(&o, "sku")),
                             number_of(field_of(&o, "price")), number_of(field_of(&o, "discount")),
                             number_of(field_of(&o, "total")), number_of(field_of(&o, "ts")));
            snprintf(from, sizeof from, "(%s", id->str);
        }
        freeReplyObject(page);
    }
}

static double total_of(msgpack_zone *zone, const redisReply *value)
{
    msgpack_object o;

    if (value->len > 0 && (unsigned char)value->str[0] < 0x80)
        return strtod(value->str, NULL);
    o = unpack(zone, value);
    if (o.type == MSGPACK_OBJECT_ARRAY && o.via.array.size == 3)
        return number_of(field_of(&o.via.array.ptr[2], "total"));
    return number_of(&o);
}

/* HSCAN gives every field at least once; nothing writes the hash any more, so it gives it exactly
 * once. */
static void read_totals(redisContext *c, msgpack_zone *zone, const char *key, struct result *result)
{
    char cursor[32] = "0";

    do {
        redisReply *page = redisCommand(c, "HSCAN %s %s COUNT 5000", key, cursor), *pairs;

        if (!page || page->type != REDIS_REPLY_ARRAY)
            die("HSCAN: %s", page ? page->str : c->errstr);
        snprintf(cursor, sizeof cursor, "%s", page->element[0]->str);
        pairs = page->element[1];
        for (size_t i = 0; i + 1 < pairs->elements; i += 2)
            result_add_total(result,
                             digest_text(pairs->element[i]->str, (size_t)pairs->element[i]->len),
                             total_of(zone, pairs->element[i + 1]));
        freeReplyObject(page);
    } while (strcmp(cursor, "0") != 0);
}

int main(int argc, char **argv)
{
    msgpack_zone *zone = msgpack_zone_new(MSGPACK_ZONE_CHUNK_SIZE);
    struct result result = {0};
    redisContext *c;

    if (argc != 4)
        die("usage: check SOCKET OFFERS TOTALS");
    c = redis_open(argv[1]);
    read_offers(c, zone, argv[2], &result);
    read_totals(c, zone, argv[3], &result);
    result_print(&result);
    printf("}\n");
    return 0;
}
