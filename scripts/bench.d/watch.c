/* watch.c: sees entries appear on a stream, as any consumer would, and says when.
 *
 *     watch SOCKET STREAM < PIPE
 *
 * XREAD BLOCK from the stream's start. For each entry, whose one field `data` holds a flat msgpack
 * map, one line of JSON: the entry's ID (`id`), the wall clock when its reply was received
 * (`at_us`), and the map's fields. Entries of one reply were all visible when it was received. Ends
 * when its standard input has ended and a read found nothing more.
 */
#include "common.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int64_t wall_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void print_text(const char *p, size_t len)
{
    putchar('"');
    for (size_t i = 0; i < len; i++) {
        unsigned char byte = (unsigned char)p[i];

        if (byte < ' ' || byte >= 127 || byte == '"' || byte == '\\')
            printf("\\u%04x", byte);
        else
            putchar(byte);
    }
    putchar('"');
}

static void print_value(const msgpack_object *o)
{
    switch (o->type) {
    case MSGPACK_OBJECT_STR:
        return print_text(o->via.str.ptr, o->via.str.size);
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        printf("%" PRIu64, o->via.u64);
        return;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        printf("%" PRId64, o->via.i64);
        return;
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64:
        printf("%.17g", o->via.f64);
        return;
    default:
        die("a text or a number was expected, msgpack type %d found", (int)o->type);
    }
}

static void print_entry(const redisReply *entry, int64_t at_us)
{
    static msgpack_zone *zone;
    const redisReply *id = entry->element[0], *fields = entry->element[1];
    msgpack_object o;
    size_t offset = 0;

    if (!zone)
        zone = msgpack_zone_new(MSGPACK_ZONE_CHUNK_SIZE);
    msgpack_zone_clear(zone);
    if (fields->elements != 2 ||
        msgpack_unpack(fields->element[1]->str, (size_t)fields->element[1]->len, &offset, zone,
                       &o) != MSGPACK_UNPACK_SUCCESS ||
        o.type != MSGPACK_OBJECT_MAP)
        die("entry %s is no msgpack map", id->str);
    printf("{\"id\": \"%s\", \"at_us\": %" PRId64, id->str, at_us);
    for (uint32_t i = 0; i < o.via.map.size; i++) {
        printf(", ");
        print_value(&o.via.map.ptr[i].key);
        printf(": ");
        print_value(&o.via.map.ptr[i].val);
    }
    printf("}\n");
}

static bool input_has_ended(void)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    char byte;

    return poll(&input, 1, 0) > 0 && read(STDIN_FILENO, &byte, 1) <= 0;
}

int main(int argc, char **argv)
{
    char last_id[48] = "0-0";
    redisContext *c;

    if (argc != 3)
        die("usage: watch SOCKET STREAM");
    c = redis_open(argv[1]);
    for (;;) {
        bool is_last = input_has_ended();
        redisReply *r = redisCommand(c, "XREAD COUNT 10000 BLOCK %d STREAMS %s %s",
                                     is_last ? 1 : 100, argv[2], last_id);
        int64_t at_us = wall_us();
        const redisReply *entries;

        if (!r || r->type == REDIS_REPLY_ERROR)
            die("XREAD: %s", r ? r->str : c->errstr);
        if (r->type == REDIS_REPLY_ARRAY && r->elements > 0) {
            entries = r->element[0]->element[1];
            for (size_t i = 0; i < entries->elements; i++)
                print_entry(entries->element[i], at_us);
            snprintf(last_id, sizeof last_id, "%s",
                     entries->element[entries->elements - 1]->element[0]->str);
        } else if (is_last) {
            return 0;
        }
        freeReplyObject(r);
    }
}
