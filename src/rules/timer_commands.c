/* timer_commands.c: what a batch has changed, as commands: what was before decides which it takes.
 */
#include "rules/timer_queue.h"

#include "redis/command.h"

#include <assert.h>
#include <stdlib.h>

enum writes { WRITE_ZREM = 1, WRITE_HDEL = 2, WRITE_ZADD = 4, WRITE_HSET = 8 };

static bool is_same(const struct timer_bytes *a, const struct timer_bytes *b)
{
    return a != NULL && b != NULL && a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0;
}

/* Before the batch, Redis may have held a payload for it. */
static bool may_have_payload(const struct timer_node *node)
{
    return node->before == BEFORE_UNKNOWN ||
           (node->before == BEFORE_SET &&
            (node->before_payload != NULL || node->before_lacks_payload));
}

/* What a payload needs. The two clocks share one field: who holds the timer now writes it, and only
 * when nobody does, it is deleted, by one of them. */
static uint8_t payload_writes(const struct timers *t, const struct timer_node *node)
{
    const struct timer_node *sibling = node->sibling;
    const struct timer_bytes *payload = node->payload;
    if (payload != NULL) {
        bool is_there = node->before == BEFORE_SET && is_same(payload, node->before_payload);
        return is_there ? 0 : WRITE_HSET;
    }
    if (t->payloads[node->queue / TIMER_KINDS] == PAYLOADS_NONE || !may_have_payload(node))
        return 0;
    if (sibling != NULL && sibling->payload != NULL)
        return 0;
    if (sibling != NULL && timer_queue_kind(node->queue) == TIMER_EVENT &&
        may_have_payload(sibling))
        return 0;
    return WRITE_HDEL;
}

static uint8_t writes_of(const struct timers *t, const struct timer_node *node)
{
    uint8_t writes = 0;
    if (node->is_set && (node->before != BEFORE_SET || node->before_due_ms != node->due_ms))
        writes |= WRITE_ZADD;
    if (!node->is_set && node->before != BEFORE_NONE)
        writes |= WRITE_ZREM;
    if (timer_queue_kind(node->queue) != TIMER_WINDOW)
        writes |= payload_writes(t, node);
    return writes;
}

static void append_write(struct timers *t, const struct timer_names *names, struct buf *out,
                         uint32_t queue, enum writes write, struct timer_node *const *nodes,
                         size_t count)
{
    const char *verb = write == WRITE_ZADD   ? "ZADD"
                       : write == WRITE_ZREM ? "ZREM"
                       : write == WRITE_HSET ? "HSET"
                                             : "HDEL";
    bool has_pairs = write == WRITE_ZADD || write == WRITE_HSET;
    t->scratch.len = 0;
    if (write == WRITE_ZADD || write == WRITE_ZREM)
        timer_queue_append_key(&t->scratch, names, queue);
    else
        timer_queue_append_data_key(&t->scratch, names, queue);
    command_begin(out, 2 + count * (has_pairs ? 2 : 1));
    command_argument(out, verb, 4);
    command_argument(out, t->scratch.data, t->scratch.len);
    for (size_t i = 0; i < count; i++) {
        if (write == WRITE_ZADD)
            timer_queue_append_score(out, nodes[i]->due_ms);
        command_argument(out, nodes[i]->member, nodes[i]->member_len);
        if (write == WRITE_HSET)
            command_argument(out, nodes[i]->payload->bytes, nodes[i]->payload->len);
    }
}

/* The commands of one kind for one queue; returns how many. */
static uint32_t append_writes(struct timers *t, const struct timer_names *names, struct buf *out,
                              uint32_t queue, enum writes write)
{
    struct timer_node *row[TIMERS_COMMAND_MOST];
    size_t in_row = 0;
    uint32_t commands = 0;
    if ((t->queues[queue].writes & write) == 0)
        return 0;
    for (struct timer_node *n = t->queues[queue].first_changed; n != NULL; n = n->next_changed) {
        if ((n->writes & write) != 0)
            row[in_row++] = n;
        if (in_row == TIMERS_COMMAND_MOST || (in_row > 0 && n->next_changed == NULL)) {
            append_write(t, names, out, queue, write, row, in_row);
            in_row = 0;
            commands++;
        }
    }
    return commands;
}

static int compare_numbers(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return a < b ? -1 : a > b;
}

uint32_t timers_commands(struct timers *t, const struct timer_names *names, struct buf *out)
{
    uint32_t commands = 0;
    if (t->touched_count > 1)
        qsort(t->touched, t->touched_count, sizeof *t->touched, compare_numbers);
    for (uint32_t i = 0; i < t->touched_count; i++) {
        struct timer_queue *q = &t->queues[t->touched[i]];
        q->writes = 0;
        for (struct timer_node *node = q->first_changed; node != NULL; node = node->next_changed) {
            node->writes = writes_of(t, node);
            q->writes |= node->writes;
        }
    }
    for (uint32_t i = 0; i < t->touched_count; i++)
        for (int write = WRITE_ZREM; write <= WRITE_HSET; write <<= 1)
            commands += append_writes(t, names, out, t->touched[i], (enum writes)write);
    return commands;
}
