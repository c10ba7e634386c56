/* timer_queue.c: see timer_queue.h, and timers.h for what is public. */
#include "rules/timer_queue.h"

#include "base/hash.h"
#include "redis/command.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void *must(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

void *timer_queue_room(void *array, uint32_t count, uint32_t *cap, size_t size)
{
    if (count < *cap)
        return array;
    *cap = *cap > 0 ? *cap * 2 : 64;
    return must(realloc(array, *cap * size));
}

enum timer_kind timer_queue_kind(uint32_t queue)
{
    return (enum timer_kind)(queue % TIMER_KINDS);
}

uint32_t timer_queue_other_clock(uint32_t queue)
{
    return timer_queue_kind(queue) == TIMER_WALL ? queue + 1 : queue - 1;
}

uint32_t timer_queue_family(uint32_t queue)
{
    return queue / TIMER_KINDS * 2 + (timer_queue_kind(queue) == TIMER_WINDOW);
}

const struct timer_queue *timer_queue_peek(const struct timers *t, uint32_t rule,
                                           enum timer_kind kind)
{
    assert(kind < TIMER_KINDS);
    uint32_t queue = rule * TIMER_KINDS + kind;
    return queue < t->queue_count ? &t->queues[queue] : NULL;
}

uint32_t timer_queue_make(struct timers *t, uint32_t rule, enum timer_kind kind)
{
    assert(kind < TIMER_KINDS);
    if ((rule + 1) * TIMER_KINDS > t->queue_count) {
        uint32_t rules = t->queue_count / TIMER_KINDS * 2;
        rules = rules > rule ? rules : rule + 1;
        uint32_t count = rules * TIMER_KINDS;
        t->queues = must(realloc(t->queues, count * sizeof *t->queues));
        t->payloads = must(realloc(t->payloads, rules));
        for (uint32_t i = t->queue_count; i < count; i++)
            t->queues[i] = (struct timer_queue){.horizon_ms = -INFINITY, .is_whole = t->knows_all};
        memset(t->payloads + t->queue_count / TIMER_KINDS, PAYLOADS_UNKNOWN,
               rules - t->queue_count / TIMER_KINDS);
        t->queue_count = count;
    }
    return rule * TIMER_KINDS + kind;
}

bool timer_queue_is_whole(const struct timer_queue *q)
{
    return q->is_attended && q->is_whole;
}

bool timer_queue_has_below(const struct timer_queue *q, double due_ms, const char *member,
                           size_t len)
{
    if (!q->is_attended || q->is_whole)
        return q->is_attended;
    return timer_compare(due_ms, member, len, q->horizon_ms, q->horizon.data, q->horizon.len) < 0;
}

static void find_next_wall(struct timers *t)
{
    double least = INFINITY;
    for (uint32_t i = TIMER_WALL; i < t->next_count; i += TIMER_KINDS)
        if (t->nexts[i] < least)
            least = t->nexts[i];
    t->next_wall_ms = least;
}

void timer_queue_update_next(struct timers *t, uint32_t queue)
{
    const struct timer_queue *q = &t->queues[queue];
    if (queue >= t->next_count)
        return;
    double next = !q->is_attended     ? INFINITY
                  : q->heap.count > 0 ? q->heap.items[0].due_ms
                  : q->is_whole       ? INFINITY
                                      : q->horizon_ms;
    double old = t->nexts[queue];
    if (next == old)
        return;
    t->nexts[queue] = next;
    if (timer_queue_kind(queue) != TIMER_WALL)
        return;
    if (next < t->next_wall_ms)
        t->next_wall_ms = next;
    else if (old == t->next_wall_ms)
        find_next_wall(t);
}

void timer_queue_push(struct timers *t, struct timer_queue *q, struct timer_node *node)
{
    timer_heap_push(&q->heap, node);
    t->pending++;
    if (q->heap.count > TIMERS_PAGES_MOST * TIMERS_PAGE)
        t->is_bulky = true;
}

void timer_queue_pull(struct timers *t, struct timer_queue *q, struct timer_node *node)
{
    if (node->heap_at == TIMER_NO_PLACE)
        return;
    timer_heap_remove(&q->heap, node);
    t->pending--;
}

struct timer_node *timer_queue_add(struct timers *t, uint32_t queue, const struct timer_wanted *w)
{
    struct timer_node *node = timer_table_add(&t->table, w->hash, queue, w->member, w->len);
    node->key_end = (uint32_t)w->key_end;
    node->is_escaped = w->is_escaped;
    t->queues[queue].nodes++;
    return node;
}

void timer_queue_remove(struct timers *t, struct timer_node *node)
{
    struct timer_queue *q = &t->queues[node->queue];
    timer_queue_pull(t, q, node);
    assert(q->nodes > 0);
    q->nodes--;
    timer_table_remove(&t->table, node);
}

void timer_queue_set_horizon(struct timer_queue *q, double due_ms, const char *member, size_t len)
{
    q->horizon_ms = due_ms;
    q->horizon.len = 0;
    buf_append(&q->horizon, member, len);
}

/* Nothing of this queue is known any more. Not while a change is open. */
static void forget_queue(struct timers *t, uint32_t queue)
{
    struct timer_queue *q = &t->queues[queue];
    while (q->heap.count > 0)
        timer_queue_remove(t, q->heap.items[q->heap.count - 1].node);
    assert(q->nodes == 0); /* (1) */
    timer_queue_set_horizon(q, -INFINITY, NULL, 0);
    q->is_whole = t->knows_all;
    q->may_lack = false;
    q->strangers = 0;
}

struct timer_wanted timer_queue_wanted(struct timers *t, uint32_t family, const char *key,
                                       size_t key_len, const char *name, size_t name_len)
{
    t->scratch.len = 0;
    timer_member(&t->scratch, key, key_len, name, name_len);
    struct timer_wanted w = {.member = t->scratch.data, .len = t->scratch.len};
    w.key_end = w.len - name_len - 1;
    w.is_escaped = w.key_end != key_len;
    w.hash = hash_key(t->table.seed, family, w.member, w.len);
    return w;
}

struct timer_node *timer_queue_find(const struct timers *t, uint32_t queue,
                                    const struct timer_wanted *w)
{
    if (queue >= t->queue_count || t->queues[queue].nodes == 0)
        return NULL;
    return timer_table_find(&t->table, w->hash, queue, w->member, w->len);
}

/* ── names in Redis ──────────────────────────────────────────────────────────────────────────── */

static const char *const QUEUE_ENDS[TIMER_KINDS] = {":wall", ":event", ":window"};

void timer_queue_append_key(struct buf *out, const struct timer_names *names, uint32_t queue)
{
    buf_append_text(out, names->prefix);
    buf_append_text(out, "timers:");
    buf_append_text(out, names->name(names->context, queue / TIMER_KINDS));
    buf_append_text(out, QUEUE_ENDS[timer_queue_kind(queue)]);
}

void timer_queue_append_data_key(struct buf *out, const struct timer_names *names, uint32_t queue)
{
    buf_append_text(out, names->prefix);
    buf_append_text(out, "timerdata:");
    buf_append_text(out, names->name(names->context, queue / TIMER_KINDS));
}

void timer_queue_append_score(struct buf *out, double due_ms)
{
    char text[32];
    if (due_ms >= -9007199254740992.0 && due_ms <= 9007199254740992.0 && floor(due_ms) == due_ms) {
        command_argument_number(out, (long long)due_ms);
        return;
    }
    int len = snprintf(text, sizeof text, "%.17g", due_ms);
    command_argument(out, text, (size_t)len);
}

/* ── life ────────────────────────────────────────────────────────────────────────────────────── */

struct timers *timers_create(void)
{
    struct timers *t = must(calloc(1, sizeof *t));
    timer_table_init(&t->table);
    t->next_wall_ms = INFINITY;
    return t;
}

void timers_destroy(struct timers *t)
{
    if (t == NULL)
        return;
    timers_drop(t);
    timer_table_fini(&t->table);
    for (uint32_t i = 0; i < t->queue_count; i++) {
        timer_heap_fini(&t->queues[i].heap);
        buf_fini(&t->queues[i].horizon);
    }
    free(t->queues);
    free(t->payloads);
    free(t->nexts);
    free(t->touched);
    free(t->garbage);
    free(t->wants);
    free(t->asked);
    buf_fini(&t->scratch);
    free(t);
}

void timers_know_all(struct timers *t)
{
    assert(t->queue_count == 0);
    t->knows_all = true;
}

void timers_drop(struct timers *t)
{
    timers_discard(t);
    for (uint32_t i = 0; i < t->queue_count; i++) {
        forget_queue(t, i);
        timer_heap_fini(&t->queues[i].heap);
        timer_queue_update_next(t, i);
    }
    if (t->queue_count > 0)
        memset(t->payloads, PAYLOADS_UNKNOWN, t->queue_count / TIMER_KINDS);
    assert(t->table.count == 0 && t->pending == 0);
    timer_table_fini(&t->table);
    timer_table_init(&t->table);
    t->want_count = t->asked_count = 0;
    t->is_bulky = false;
}

void timers_attend(struct timers *t, uint32_t rule, enum timer_kind kind, bool is_attended)
{
    assert(t->touched_count == 0);
    uint32_t queue = timer_queue_make(t, rule, kind);
    if (t->next_count < t->queue_count) {
        t->nexts = must(realloc(t->nexts, t->queue_count * sizeof *t->nexts));
        for (; t->next_count < t->queue_count; t->next_count++)
            t->nexts[t->next_count] = INFINITY;
    }
    if (t->queues[queue].is_attended == is_attended)
        return;
    forget_queue(t, queue);
    t->queues[queue].is_attended = is_attended;
    t->serial++;
    timer_queue_update_next(t, queue);
}

const double *timers_nexts(const struct timers *t)
{
    return t->nexts;
}

double timers_next_wall(const struct timers *t)
{
    return t->next_wall_ms;
}

size_t timers_count(const struct timers *t)
{
    return t->pending;
}

/* Keeps the earliest TIMERS_PAGES_KEPT pages; the horizon is at the first that goes. */
static void cut(struct timers *t, struct timer_queue *q)
{
    const uint32_t kept = TIMERS_PAGES_KEPT * TIMERS_PAGE;
    timer_heap_sort(&q->heap);
    const struct timer_node *first = q->heap.items[kept].node;
    timer_queue_set_horizon(q, first->due_ms, first->member, first->member_len);
    q->is_whole = false;
    q->strangers = 0; /* or some: a page may then begin too early, never too late */
    while (q->heap.count > kept)
        timer_queue_remove(t, q->heap.items[q->heap.count - 1].node);
}

void timers_begin(struct timers *t)
{
    assert(t->touched_count == 0);
    if (!t->is_bulky || t->knows_all)
        return;
    for (uint32_t i = 0; i < t->queue_count; i++)
        if (t->queues[i].heap.count > TIMERS_PAGES_MOST * TIMERS_PAGE)
            cut(t, &t->queues[i]);
    t->is_bulky = false;
    t->serial++;
}
