/* peer_bound.c: peer (b), the bound: how fast stock hiredis can do this work at all when nothing is
 * ever recovered.
 *
 *     peer_bound SOCKET [COUNT]           runs until it is killed
 *
 *     reader   XREAD n+1 is sent as soon as the reply of n is here, so that Redis fetches while we
 * compute writer   MULTI, XADD ..., one HSET with the totals that changed, XGROUP SETID, EXEC: one
 * write a batch; one transaction in flight while the next batch is computed
 *
 * No pending list, no acknowledgement, no fence, no position read back, no totals read back.
 */
#include "common.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void send_read(redisContext *reader, const char *count, const char *after_id)
{
    struct bytes b = {0};

    command_begin(&b, 8);
    command_text(&b, "$5\r\nXREAD\r\n$5\r\nCOUNT\r\n");
    command_word(&b, count, strlen(count));
    command_text(&b, "$5\r\nBLOCK\r\n$4\r\n1000\r\n$7\r\nSTREAMS\r\n$6\r\n" STREAM "\r\n");
    command_word(&b, after_id, strlen(after_id));
    redis_send(reader, &b);
    bytes_free(&b);
}

/* The last entry's ID, before anything else is done with the reply, so that the next read can
 * leave. */
static void note_last_id(const redisReply *reply, char *id, size_t size)
{
    const redisReply *entries = reply->element[0]->element[1];

    snprintf(id, size, "%s", entries->element[entries->elements - 1]->element[0]->str);
}

/* Waits for the transaction in flight. `queued` commands were in it. */
static void collect(redisContext *writer, size_t queued)
{
    redisReply *exec;

    if (queued == 0)
        return;
    redis_discard(writer, 1 + queued); /* +OK of MULTI, +QUEUED of each */
    exec = redis_receive(writer);
    if (exec->type != REDIS_REPLY_ARRAY)
        die("EXEC did nothing");
    for (size_t i = 0; i < exec->elements; i++)
        if (exec->element[i]->type == REDIS_REPLY_ERROR)
            die("EXEC: %s", exec->element[i]->str);
    freeReplyObject(exec);
}

int main(int argc, char **argv)
{
    const char *count = argc > 2 ? argv[2] : "1000";
    redisContext *reader, *writer;
    struct totals totals;
    struct batch batch = {0};
    struct bytes out = {0};
    size_t queued = 0; /* commands in the transaction in flight */
    char last_id[48] = "0-0";

    if (argc < 2)
        die("usage: peer_bound SOCKET [COUNT]");
    reader = redis_open(argv[1]);
    writer = redis_open(argv[1]);
    redis_make_group(writer);
    totals_init(&totals);

    send_read(reader, count, last_id);
    for (;;) {
        redisReply *reply = redis_receive(reader);
        bool is_empty = reply->type == REDIS_REPLY_NIL;

        if (!is_empty)
            note_last_id(reply, last_id, sizeof last_id);
        send_read(reader, count, last_id);
        if (!is_empty) {
            size_t n;

            batch_compute(&batch, &totals, reply, false);
            n = batch.n_offers + batch_append_totals(&batch, &totals) + 1;
            command_text(&out, "*1\r\n$5\r\nMULTI\r\n");
            bytes_add(&out, batch.commands.data, batch.commands.len);
            command_text(&out, "*5\r\n$6\r\nXGROUP\r\n$5\r\nSETID\r\n$6\r\n" STREAM
                               "\r\n$5\r\n" GROUP "\r\n");
            command_word(&out, batch.last_id, strlen(batch.last_id));
            command_text(&out, "*1\r\n$4\r\nEXEC\r\n");
            collect(writer, queued);
            redis_send(writer, &out);
            queued = n;
        } else {
            collect(writer, queued);
            queued = 0;
        }
        freeReplyObject(reply);
    }
}
