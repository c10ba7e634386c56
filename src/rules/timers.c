/* timers.c: a batch: what it changes, with what was before, until it is sealed or taken back.
 *
 * A node is here because it is pending below its queue's horizon (then it is in the heap), or
 * because the open batch has changed its member; the latter alone goes when the batch is over:
 *
 *             set, below the horizon        take, cancel, set beyond the horizon
 *     (no node) ────────────> in the heap ────────────> changed, in no heap ──seal──> (no node)
 *                                         <────────────
 *                                            discard
 *
 * The queues are timer_queue.c, what goes to Redis timer_commands.c, what comes timer_pages.c. */
#include "rules/timer_queue.h"

#include <assert.h>
#include <math.h>

/* Keeps what the node was, once a batch. A node that is not set is new. */
static void note_change(struct timers *t, struct timer_node *node)
{
    if (node->is_changed)
        return;
    struct timer_queue *q = &t->queues[node->queue];
    node->is_changed = true;
    node->before = node->is_set              ? BEFORE_SET
                   : timer_queue_is_whole(q) ? BEFORE_NONE
                                             : BEFORE_UNKNOWN;
    node->before_due_ms = node->due_ms;
    node->before_payload = node->payload;
    node->before_lacks_payload = node->lacks_payload;
    node->sibling = node->next_changed = NULL;
    if (!q->is_touched) {
        t->touched =
            timer_queue_room(t->touched, t->touched_count, &t->touched_cap, sizeof *t->touched);
        t->touched[t->touched_count++] = node->queue;
        q->is_touched = true;
        q->first_changed = node;
    } else {
        q->last_changed->next_changed = node;
    }
    q->last_changed = node;
    t->serial++;
}

static void keep_until_end(struct timers *t, struct timer_bytes *bytes)
{
    t->garbage =
        timer_queue_room(t->garbage, t->garbage_count, &t->garbage_cap, sizeof *t->garbage);
    t->garbage[t->garbage_count++] = bytes;
}

/* Of a changed node. Its payload may have been handed out. */
static void unset(struct timers *t, struct timer_node *node)
{
    timer_queue_pull(t, &t->queues[node->queue], node);
    node->is_set = node->lacks_payload = false;
    if (node->payload != NULL && node->payload != node->before_payload)
        keep_until_end(t, node->payload);
    node->payload = NULL;
}

/* A changed node of this member; NULL when there is none, nor anything to remove in Redis. */
static struct timer_node *remove_member(struct timers *t, uint32_t queue,
                                        const struct timer_wanted *w)
{
    struct timer_node *node = timer_queue_find(t, queue, w);
    if (node == NULL) {
        if (timer_queue_is_whole(&t->queues[queue]))
            return NULL;
        node = timer_queue_add(t, queue, w);
    }
    note_change(t, node);
    unset(t, node);
    timer_queue_update_next(t, queue);
    return node;
}

static void link_siblings(struct timer_node *a, struct timer_node *b)
{
    if (a != NULL)
        a->sibling = b;
    if (b != NULL)
        b->sibling = a;
}

/* Due times are whole ms that Redis keeps exactly. */
static double whole_ms(double due_ms)
{
    const double most = 9007199254740992.0; /* 2^53 */
    if (!(due_ms > -most))
        return -most;
    return due_ms < most ? floor(due_ms) : most;
}

void timers_set(struct timers *t, uint32_t rule, enum timer_kind kind, const char *key,
                size_t key_len, const char *name, size_t name_len, double due_ms,
                const char *payload, size_t payload_len)
{
    assert(kind != TIMER_WINDOW || payload == NULL);
    uint32_t queue = timer_queue_make(t, rule, kind);
    struct timer_wanted w =
        timer_queue_wanted(t, timer_queue_family(queue), key, key_len, name, name_len);
    struct timer_node *node = timer_queue_find(t, queue, &w);
    if (node == NULL)
        node = timer_queue_add(t, queue, &w);
    note_change(t, node);
    unset(t, node);
    node->is_set = true;
    node->due_ms = whole_ms(due_ms);
    if (payload != NULL) {
        node->payload = timer_bytes_create(&t->table, payload, payload_len);
        t->payloads[rule] = PAYLOADS_SOME;
    }
    struct timer_queue *q = &t->queues[queue];
    if (timer_queue_has_below(q, node->due_ms, node->member, node->member_len))
        timer_queue_push(t, q, node);
    timer_queue_update_next(t, queue);
    if (kind != TIMER_WINDOW)
        link_siblings(node, remove_member(t, timer_queue_other_clock(queue), &w));
}

void timers_cancel(struct timers *t, uint32_t rule, enum timer_kind kind, const char *key,
                   size_t key_len, const char *name, size_t name_len)
{
    uint32_t queue = timer_queue_make(t, rule, kind);
    struct timer_wanted w =
        timer_queue_wanted(t, timer_queue_family(queue), key, key_len, name, name_len);
    struct timer_node *node = remove_member(t, queue, &w);
    if (kind != TIMER_WINDOW)
        link_siblings(node, remove_member(t, timer_queue_other_clock(queue), &w));
}

double timers_find(struct timers *t, uint32_t rule, enum timer_kind kind, const char *key,
                   size_t key_len, const char *name, size_t name_len)
{
    uint32_t queue = timer_queue_make(t, rule, kind);
    struct timer_wanted w =
        timer_queue_wanted(t, timer_queue_family(queue), key, key_len, name, name_len);
    bool is_known = true;
    for (int clocks = kind == TIMER_WINDOW ? 1 : 2; clocks > 0; clocks--) {
        const struct timer_node *node = timer_queue_find(t, queue, &w);
        if (node != NULL && node->is_set)
            return node->due_ms;
        if (node == NULL && !t->knows_all && !timer_queue_is_whole(&t->queues[queue]))
            is_known = false;
        if (clocks > 1)
            queue = timer_queue_other_clock(queue);
    }
    return is_known ? TIMERS_NONE : TIMERS_UNKNOWN;
}

bool timers_is_short(const struct timers *t, uint32_t rule, enum timer_kind kind)
{
    const struct timer_queue *q = timer_queue_peek(t, rule, kind);
    if (q == NULL || !q->is_attended)
        return false;
    return q->heap.count > 0 ? q->heap.items[0].node->lacks_payload : !q->is_whole;
}

static void describe(struct timers *t, const struct timer_node *node, struct timer *out)
{
    *out = (struct timer){
        .due_ms = node->due_ms,
        .key = node->member,
        .key_len = node->key_end,
        .name = node->member + node->key_end + 1,
        .name_len = node->member_len - node->key_end - 1,
    };
    if (node->is_escaped) {
        struct timer_bytes *key = timer_bytes_create(&t->table, node->member, node->key_end);
        keep_until_end(t, key);
        out->key = key->bytes;
        out->key_len = (uint32_t)timer_member_unescape(key->bytes, node->member, node->key_end);
    }
    if (node->payload != NULL) {
        out->payload = node->payload->bytes;
        out->payload_len = node->payload->len;
    }
}

bool timers_take(struct timers *t, uint32_t rule, enum timer_kind kind, struct timer *out)
{
    const struct timer_queue *q = timer_queue_peek(t, rule, kind);
    if (q == NULL || q->heap.count == 0 || q->heap.items[0].node->lacks_payload)
        return false;
    struct timer_node *node = q->heap.items[0].node;
    describe(t, node, out);
    note_change(t, node);
    unset(t, node);
    timer_queue_update_next(t, node->queue);
    return true;
}

bool timers_peek(struct timers *t, uint32_t rule, enum timer_kind kind, uint32_t number,
                 struct timer *out)
{
    const struct timer_queue *q = timer_queue_peek(t, rule, kind);
    if (q == NULL || number >= q->heap.count)
        return false;
    describe(t, q->heap.items[number].node, out);
    return true;
}

static void restore(struct timers *t, struct timer_node *node)
{
    unset(t, node);
    node->is_changed = false;
    node->payload = node->before_payload;
    node->before_payload = NULL;
    if (node->before != BEFORE_SET) {
        timer_queue_remove(t, node);
        return;
    }
    node->is_set = true;
    node->due_ms = node->before_due_ms;
    node->lacks_payload = node->before_lacks_payload;
    timer_queue_push(t, &t->queues[node->queue], node);
}

static void settle(struct timers *t, struct timer_node *node)
{
    node->is_changed = false;
    timer_bytes_free(&t->table, node->before_payload);
    node->before_payload = NULL;
    if (node->heap_at == TIMER_NO_PLACE)
        timer_queue_remove(t, node);
}

static void end_batch(struct timers *t, void (*end)(struct timers *, struct timer_node *))
{
    for (uint32_t i = 0; i < t->touched_count; i++) {
        struct timer_queue *q = &t->queues[t->touched[i]];
        for (struct timer_node *node = q->first_changed, *next; node != NULL; node = next) {
            next = node->next_changed;
            end(t, node);
        }
        q->first_changed = q->last_changed = NULL;
        q->is_touched = false;
        timer_queue_update_next(t, t->touched[i]);
    }
    t->touched_count = 0;
    while (t->garbage_count > 0)
        timer_bytes_free(&t->table, t->garbage[--t->garbage_count]);
}

void timers_discard(struct timers *t)
{
    end_batch(t, restore);
}

void timers_seal(struct timers *t)
{
    end_batch(t, settle);
}
