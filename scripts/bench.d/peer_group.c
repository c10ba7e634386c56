/* peer_group.c: peer (a), what a good engineer writes in plain C today: a consumer group.
 *
 *     peer_group SOCKET [COUNT]           runs until it is killed
 *
 * Two links, so that a read that blocks never holds an effect back, and so that Redis fetches the
 * next batch while this one is computed:
 *
 *     reader   XREADGROUP n+1 is sent as soon as the reply of n is here
 *     writer   XADD ..., one HSET with the totals that changed, one XACK with all IDs: one write a
 * batch; its replies are collected before the next batch's effects leave
 *
 * Totals are kept in memory and never read back: a crash loses the count of what was in flight and
 * processes pending entries never again. This is what the peer leaves out, not what it does badly.
 */
#include "common.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void send_read(redisContext *reader, const char *count)
{
    struct bytes b = {0};

    command_begin(&b, 11);
    command_text(&b, "$10\r\nXREADGROUP\r\n$5\r\nGROUP\r\n$5\r\n" GROUP
                     "\r\n$2\r\nc1\r\n$5\r\nCOUNT\r\n");
    command_word(&b, count, strlen(count));
    command_text(&b,
                 "$5\r\nBLOCK\r\n$4\r\n1000\r\n$7\r\nSTREAMS\r\n$6\r\n" STREAM "\r\n$1\r\n>\r\n");
    redis_send(reader, &b);
    bytes_free(&b);
}

int main(int argc, char **argv)
{
    const char *count = argc > 2 ? argv[2] : "500";
    redisContext *reader, *writer;
    struct totals totals;
    struct batch batch = {0};
    size_t in_flight = 0; /* replies that the writer still owes us */

    if (argc < 2)
        die("usage: peer_group SOCKET [COUNT]");
    reader = redis_open(argv[1]);
    writer = redis_open(argv[1]);
    redis_make_group(writer);
    totals_init(&totals);

    send_read(reader, count);
    for (;;) {
        redisReply *reply = redis_receive(reader);

        send_read(reader, count);
        if (reply->type != REDIS_REPLY_NIL) {
            batch_compute(&batch, &totals, reply, true);
            redis_discard(writer, in_flight);
            in_flight = batch.n_offers + batch_append_totals(&batch, &totals) + 1;
            command_begin(&batch.commands, 3 + batch.n_entries);
            command_text(&batch.commands, "$4\r\nXACK\r\n$6\r\n" STREAM "\r\n$5\r\n" GROUP "\r\n");
            bytes_add(&batch.commands, batch.acks.data, batch.acks.len);
            redis_send(writer, &batch.commands);
        } else {
            redis_discard(writer, in_flight);
            in_flight = 0;
        }
        freeReplyObject(reply);
    }
}
