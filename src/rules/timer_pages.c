/* timer_pages.c: loads queues page by page, and the payloads of what came.
 *
 *     HLEN timerdata, ZRANGEBYSCORE ──> nodes, the horizon behind the last ──> HMGET of those
 *
 * A page begins at the horizon's due time, behind as many as are here of it. */
#include "rules/timer_queue.h"

#include "base/hash.h"
#include "redis/command.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

static void add_want(struct timers *t, enum timer_want_kind kind, uint32_t queue, uint32_t first,
                     uint32_t count)
{
    t->wants = timer_queue_room(t->wants, t->want_count, &t->want_cap, sizeof *t->wants);
    t->wants[t->want_count++] =
        (struct timer_want){.kind = kind, .queue = queue, .first = first, .count = count};
}

static void want_payloads(struct timers *t, const struct timer_names *names, struct buf *out,
                          uint32_t queue)
{
    const struct timer_queue *q = &t->queues[queue];
    uint32_t first = t->asked_count;
    for (uint32_t i = 0; i < q->heap.count; i++) {
        if (!q->heap.items[i].node->lacks_payload)
            continue;
        t->asked = timer_queue_room(t->asked, t->asked_count, &t->asked_cap, sizeof *t->asked);
        t->asked[t->asked_count++] = q->heap.items[i].node;
    }
    while (first < t->asked_count) {
        uint32_t count = t->asked_count - first;
        count = count < TIMERS_COMMAND_MOST ? count : TIMERS_COMMAND_MOST;
        t->scratch.len = 0;
        timer_queue_append_data_key(&t->scratch, names, queue);
        command_begin(out, 2 + count);
        command_argument_text(out, "HMGET");
        command_argument(out, t->scratch.data, t->scratch.len);
        for (uint32_t i = first; i < first + count; i++)
            command_argument(out, t->asked[i]->member, t->asked[i]->member_len);
        add_want(t, WANT_PAYLOADS, queue, first, count);
        first += count;
    }
}

static void want_payload_count(struct timers *t, const struct timer_names *names, struct buf *out,
                               uint32_t queue)
{
    t->scratch.len = 0;
    timer_queue_append_data_key(&t->scratch, names, queue);
    command_begin(out, 2);
    command_argument_text(out, "HLEN");
    command_argument(out, t->scratch.data, t->scratch.len);
    add_want(t, WANT_PAYLOAD_COUNT, queue, 0, 0);
}

static void want_page(struct timers *t, const struct timer_names *names, struct buf *out,
                      uint32_t queue)
{
    const struct timer_queue *q = &t->queues[queue];
    uint32_t offset = q->strangers;
    for (uint32_t i = 0; i < q->heap.count; i++)
        offset += q->heap.items[i].due_ms == q->horizon_ms;
    t->scratch.len = 0;
    timer_queue_append_key(&t->scratch, names, queue);
    command_begin(out, 8);
    command_argument_text(out, "ZRANGEBYSCORE");
    command_argument(out, t->scratch.data, t->scratch.len);
    timer_queue_append_score(out, q->horizon_ms);
    command_argument_text(out, "+inf");
    command_argument_text(out, "WITHSCORES");
    command_argument_text(out, "LIMIT");
    command_argument_number(out, offset);
    command_argument_number(out, TIMERS_PAGE);
    add_want(t, WANT_PAGE, queue, 0, 0);
}

uint32_t timers_wants(struct timers *t, const struct timer_names *names, struct buf *out)
{
    assert(t->touched_count == 0);
    uint32_t counted = UINT32_MAX; /* the rule whose payloads have been asked for last */
    t->want_count = t->asked_count = 0;
    t->asked_serial = t->serial;
    for (uint32_t i = 0; i < t->queue_count; i++) {
        struct timer_queue *q = &t->queues[i];
        uint32_t before = t->want_count, rule = i / TIMER_KINDS;
        if (!q->is_attended)
            continue;
        if (q->may_lack) {
            want_payloads(t, names, out, i);
            q->may_lack = t->want_count > before;
        }
        if (q->is_whole || q->heap.count >= TIMERS_PAGE / 4 || q->may_lack)
            continue;
        if (t->payloads[rule] == PAYLOADS_UNKNOWN && timer_queue_kind(i) != TIMER_WINDOW &&
            counted != rule)
            want_payload_count(t, names, out, i);
        counted = rule;
        want_page(t, names, out, i);
    }
    return t->want_count;
}

static bool take_payload_count(struct timers *t, uint32_t queue, const struct reply *reply)
{
    uint8_t *payloads = &t->payloads[queue / TIMER_KINDS];
    bool is_fine = reply->type == REPLY_INTEGER;
    if (*payloads == PAYLOADS_UNKNOWN)
        *payloads = is_fine && reply->integer > 0 ? PAYLOADS_SOME : PAYLOADS_NONE;
    return is_fine;
}

static bool take_payloads(struct timers *t, const struct timer_want *want,
                          const struct reply *reply)
{
    bool is_fine = reply->type == REPLY_ARRAY && reply->count == want->count;
    for (uint32_t i = 0; i < want->count; i++) {
        struct timer_node *node = t->asked[want->first + i];
        const struct reply *value = is_fine ? reply->elements[i] : NULL;
        node->lacks_payload = false;
        if (value != NULL && value->type == REPLY_STRING)
            node->payload = timer_bytes_create(&t->table, value->text, value->len);
    }
    return is_fine;
}

/* One member of a page. What is here already stays as it is. False: it is no member of ours. */
static bool take_member(struct timers *t, uint32_t queue, const struct reply *member, double due_ms)
{
    struct timer_queue *q = &t->queues[queue];
    struct timer_wanted w = {.member = member->text, .len = member->len};
    if (isnan(due_ms) || !timer_member_key_end(w.member, w.len, &w.key_end, &w.is_escaped))
        return false;
    w.hash = hash_key(t->table.seed, timer_queue_family(queue), w.member, w.len);
    if (timer_queue_find(t, queue, &w) != NULL)
        return true;
    struct timer_node *node = timer_queue_add(t, queue, &w);
    node->is_set = true;
    node->due_ms = due_ms;
    if (timer_queue_kind(queue) != TIMER_WINDOW &&
        t->payloads[queue / TIMER_KINDS] != PAYLOADS_NONE)
        node->lacks_payload = q->may_lack = true;
    timer_queue_push(t, q, node);
    return true;
}

static bool is_page(const struct reply *reply)
{
    if (reply->type != REPLY_ARRAY || reply->count % 2 != 0)
        return false;
    for (uint32_t i = 0; i < reply->count; i++)
        if (reply->elements[i]->type != REPLY_STRING)
            return false;
    return true;
}

static bool take_page(struct timers *t, uint32_t queue, const struct reply *reply)
{
    struct timer_queue *q = &t->queues[queue];
    bool is_fine = is_page(reply);
    uint32_t count = is_fine ? reply->count / 2 : 0, strangers = 0;
    double due_ms = q->horizon_ms;
    for (uint32_t i = 0; i < count; i++) {
        double score = strtod(reply->elements[i * 2 + 1]->text, NULL);
        if (score != due_ms)
            strangers = 0;
        due_ms = score;
        if (take_member(t, queue, reply->elements[i * 2], due_ms))
            continue;
        strangers++;
        is_fine = false;
    }
    q->strangers = due_ms == q->horizon_ms ? q->strangers + strangers : strangers;
    q->is_whole = count < TIMERS_PAGE;
    if (count > 0) { /* behind the last one */
        const struct reply *last = reply->elements[count * 2 - 2];
        if (timer_compare(due_ms, last->text, last->len, q->horizon_ms, q->horizon.data,
                          q->horizon.len) >= 0) {
            timer_queue_set_horizon(q, due_ms, last->text, last->len);
            buf_append(&q->horizon, "", 1);
        }
    }
    timer_queue_update_next(t, queue);
    return is_fine;
}

bool timers_take_reply(struct timers *t, uint32_t number, const struct reply *reply)
{
    /* What was forgotten or changed meanwhile is asked for again. */
    if (number >= t->want_count || t->asked_serial != t->serial)
        return true;
    const struct timer_want *want = &t->wants[number];
    switch (want->kind) {
    case WANT_PAYLOAD_COUNT:
        return take_payload_count(t, want->queue, reply);
    case WANT_PAYLOADS:
        return take_payloads(t, want, reply);
    case WANT_PAGE:
        return take_page(t, want->queue, reply);
    }
    return false;
}
