/* fired.c: reads what timers wrote when they fired, and prints the same sums as carts.c does.
 *
 *     fired SOCKET STREAM
 *
 * Each entry: field `data`, a msgpack map {user_id, due} and perhaps total. `disordered` counts
 * entries that are due before the one in front of them: timers fire in the order in which they are
 * due.
 */
#include "fired.h"
#include "common.h"

#include <stdlib.h>

struct firing {
    struct text user_id;
    double due, total;
};

static double number_of(const msgpack_object *o)
{
    switch (o->type) {
    case MSGPACK_OBJECT_FLOAT64:
    case MSGPACK_OBJECT_FLOAT32:
        return o->via.f64;
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        return (double)o->via.u64;
    default:
        die("a number was expected, msgpack type %d found", (int)o->type);
    }
}

static bool is_named(const msgpack_object *key, const char *name)
{
    return key->type == MSGPACK_OBJECT_STR && key->via.str.size == strlen(name) &&
           memcmp(key->via.str.ptr, name, key->via.str.size) == 0;
}

static struct firing firing_of(msgpack_zone *zone, const redisReply *fields)
{
    struct firing f = {0};
    msgpack_object o;
    size_t offset = 0;

    msgpack_zone_clear(zone);
    if (fields->elements != 2 ||
        msgpack_unpack(fields->element[1]->str, (size_t)fields->element[1]->len, &offset, zone,
                       &o) != MSGPACK_UNPACK_SUCCESS ||
        o.type != MSGPACK_OBJECT_MAP)
        die("an entry is no msgpack map");
    for (uint32_t i = 0; i < o.via.map.size; i++) {
        const msgpack_object *key = &o.via.map.ptr[i].key, *value = &o.via.map.ptr[i].val;

        if (is_named(key, "user_id") && value->type == MSGPACK_OBJECT_STR)
            f.user_id = (struct text){value->via.str.ptr, value->via.str.size};
        else if (is_named(key, "due"))
            f.due = number_of(value);
        else if (is_named(key, "total"))
            f.total = number_of(value);
    }
    if (!f.user_id.p || f.due == 0)
        die("an entry lacks user_id or due");
    return f;
}

int main(int argc, char **argv)
{
    msgpack_zone *zone = msgpack_zone_new(MSGPACK_ZONE_CHUNK_SIZE);
    uint64_t disordered = 0;
    struct fired fired = {0};
    char from[64] = "-";
    double before = 0;
    redisContext *c;
    bool has_more = true;

    if (argc != 3)
        die("usage: fired SOCKET STREAM");
    c = redis_open(argv[1]);
    while (has_more) {
        redisReply *page = redisCommand(c, "XRANGE %s %s + COUNT 5000", argv[2], from);

        if (!page || page->type != REDIS_REPLY_ARRAY)
            die("XRANGE: %s", page ? page->str : c->errstr);
        has_more = page->elements > 0;
        for (size_t i = 0; i < page->elements; i++) {
            struct firing f = firing_of(zone, page->element[i]->element[1]);

            fired_add(&fired, f.user_id.p, f.user_id.len, f.due, f.total);
            disordered += f.due < before;
            before = f.due;
            snprintf(from, sizeof from, "(%s", page->element[i]->element[0]->str);
        }
        freeReplyObject(page);
    }
    printf("{\"fired\": ");
    fired_print(&fired);
    printf(", \"disordered\": %" PRIu64 "}\n", disordered);
    return 0;
}
