/* timers.c: per queue a heap of what lies below its horizon; one table of nodes for all queues; of
 * each node that a batch changes, what it was before.
 *
 * A node is here because it is pending below its queue's horizon (then it is in the heap), or
 * because the open batch has changed its member; the latter alone goes when the batch is over:
 *
 *             set, below the horizon        take, cancel, set beyond the horizon
 *     (no node) ────────────> in the heap ────────────> changed, in no heap ──seal──> (no node)
 *                                         <────────────
 *                                            discard
 *
 * (1) Between batches every node is in a heap, and every heap is what Redis holds below the
 * horizon. (2) The horizon moves only between batches, or up. (3) A node that a batch has changed
 * is on the list of its queue, once. */
#include "rules/timers.h"

#include "redis/command.h"
#include "rules/timer_table.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    PAGE = 2000,       /* members asked for at once */
    PAGES_MOST = 4,    /* more than that many are cut ... */
    PAGES_KEPT = 2,    /* ... down to these, at the next begin */
    COMMAND_MOST = 512 /* members of one command */
};

struct queue {
    struct timer_heap heap;
    bool is_attended;
    bool is_whole;      /* the horizon is infinite */
    bool may_lack;      /* payloads of some nodes may not be here */
    bool is_touched;    /* it has a list of changed nodes */
    uint8_t writes;     /* what its changed nodes need, together */
    uint32_t nodes;     /* also those in no heap */
    uint32_t strangers; /* passed by pages at the horizon's due time: no members of ours */
    double horizon_ms;  /* -INFINITY: nothing is known yet */
    struct buf horizon; /* its member */
    struct timer_node *first_changed, *last_changed;
};

/* Whether a rule has any payload in Redis. */
enum payloads { PAYLOADS_UNKNOWN, PAYLOADS_NONE, PAYLOADS_SOME };

enum want_kind { WANT_PAYLOAD_COUNT, WANT_PAGE, WANT_PAYLOADS };

struct want {
    enum want_kind kind;
    uint32_t queue;
    uint32_t first, count; /* in `asked`, of WANT_PAYLOADS */
};

struct timers {
    struct timer_table table;
    struct queue *queues; /* by rule * TIMER_KINDS + kind */
    uint8_t *payloads;    /* by rule: enum payloads */
    uint32_t queue_count;
    double *nexts; /* of the first next_count queues; the others are not attended */
    uint32_t next_count;
    double next_wall_ms;
    uint32_t *touched; /* queues with changes */
    uint32_t touched_count, touched_cap;
    struct timer_bytes *
        *garbage; /* texts that were handed out, or replaced: until the batch ends */
    uint32_t garbage_count, garbage_cap;
    size_t pending;
    bool is_bulky;      /* a heap has grown beyond PAGES_MOST */
    struct buf scratch; /* the member in question, the key of a command */
    struct want *wants;
    uint32_t want_count, want_cap;
    struct timer_node **asked;
    uint32_t asked_count, asked_cap;
    uint64_t serial, asked_serial; /* how often something changed; when the wants were asked */
};

static void *must(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

/* Room for one more in an array that doubles. */
#define MAKE_ROOM(array, count, cap)                                                               \
    do {                                                                                           \
        if ((count) == (cap)) {                                                                    \
            (cap) = (cap) > 0 ? (cap)*2 : 64;                                                      \
            (array) = must(realloc((array), (cap) * sizeof *(array)));                             \
        }                                                                                          \
    } while (0)

/* ── members ─────────────────────────────────────────────────────────────────────────────────── */

void timer_member(struct buf *out, const char *key, size_t key_len, const char *name,
                  size_t name_len)
{
    buf_reserve(out, key_len + 1 + name_len);
    while (key_len > 0) {
        const char *nul = memchr(key, 0, key_len);
        size_t part = nul != NULL ? (size_t)(nul - key) + 1 : key_len;
        buf_append(out, key, part);
        if (nul != NULL)
            buf_append(out, "\xff", 1);
        key += part;
        key_len -= part;
    }
    buf_append(out, "", 1);
    buf_append(out, name, name_len);
}

/* Where the key ends, and whether it is escaped. False: this is no member. */
static bool find_key_end(const char *member, size_t len, size_t *end, bool *is_escaped)
{
    const char *from = member, *nul;
    *is_escaped = false;
    for (;;) {
        size_t rest = len - (size_t)(from - member);
        nul = rest > 0 ? memchr(from, 0, rest) : NULL;
        if (nul == NULL)
            return false;
        if (nul + 1 == member + len || (unsigned char)nul[1] != 0xff)
            break;
        *is_escaped = true;
        from = nul + 2;
    }
    *end = (size_t)(nul - member);
    size_t name_len = len - *end - 1;
    return name_len == 0 || memchr(nul + 1, 0, name_len) == NULL;
}

/* Writes the key of `len` escaped bytes; returns its length. */
static size_t unescape(char *into, const char *escaped, size_t len)
{
    size_t made = 0;
    for (size_t i = 0; i < len; i++) {
        into[made++] = escaped[i];
        if (escaped[i] == 0)
            i++; /* its FF */
    }
    return made;
}

bool timer_member_parse(const char *member, size_t len, struct buf *key, const char **name,
                        size_t *name_len)
{
    size_t end;
    bool is_escaped;
    if (!find_key_end(member, len, &end, &is_escaped))
        return false;
    buf_reserve(key, end);
    if (end > 0)
        key->len += unescape(key->data + key->len, member, end);
    *name = member + end + 1;
    *name_len = len - end - 1;
    return true;
}

/* ── queues ──────────────────────────────────────────────────────────────────────────────────── */

static enum timer_kind kind_of(uint32_t queue)
{
    return (enum timer_kind)(queue % TIMER_KINDS);
}

/* The queue of the other clock; of windows, there is none. */
static uint32_t other_clock(uint32_t queue)
{
    return kind_of(queue) == TIMER_WALL ? queue + 1 : queue - 1;
}

/* What shares members: the two clocks of a rule. */
static uint32_t family_of(uint32_t queue)
{
    return queue / TIMER_KINDS * 2 + (kind_of(queue) == TIMER_WINDOW);
}

static const struct queue *peek_queue(const struct timers *t, uint32_t rule, enum timer_kind kind)
{
    assert(kind < TIMER_KINDS);
    uint32_t queue = rule * TIMER_KINDS + kind;
    return queue < t->queue_count ? &t->queues[queue] : NULL;
}

static uint32_t make_queue(struct timers *t, uint32_t rule, enum timer_kind kind)
{
    assert(kind < TIMER_KINDS);
    if ((rule + 1) * TIMER_KINDS > t->queue_count) {
        uint32_t rules = t->queue_count / TIMER_KINDS * 2;
        rules = rules > rule ? rules : rule + 1;
        uint32_t count = rules * TIMER_KINDS;
        t->queues = must(realloc(t->queues, count * sizeof *t->queues));
        t->payloads = must(realloc(t->payloads, rules));
        for (uint32_t i = t->queue_count; i < count; i++)
            t->queues[i] = (struct queue){.horizon_ms = -INFINITY};
        memset(t->payloads + t->queue_count / TIMER_KINDS, PAYLOADS_UNKNOWN,
               rules - t->queue_count / TIMER_KINDS);
        t->queue_count = count;
    }
    return rule * TIMER_KINDS + kind;
}

/* Everything in this queue is known here. */
static bool is_whole(const struct queue *q)
{
    return q->is_attended && q->is_whole;
}

static bool is_below_horizon(const struct queue *q, double due_ms, const char *member, size_t len)
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

static void update_next(struct timers *t, uint32_t queue)
{
    const struct queue *q = &t->queues[queue];
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
    if (kind_of(queue) != TIMER_WALL)
        return;
    if (next < t->next_wall_ms)
        t->next_wall_ms = next;
    else if (old == t->next_wall_ms)
        find_next_wall(t);
}

static void push(struct timers *t, struct queue *q, struct timer_node *node)
{
    timer_heap_push(&q->heap, node);
    t->pending++;
    if (q->heap.count > PAGES_MOST * PAGE)
        t->is_bulky = true;
}

static void pull(struct timers *t, struct queue *q, struct timer_node *node)
{
    if (node->heap_at == TIMER_NO_PLACE)
        return;
    timer_heap_remove(&q->heap, node);
    t->pending--;
}

static struct timer_node *add_node(struct timers *t, uint32_t queue, uint64_t hash,
                                   const char *member, size_t len, size_t key_end, bool is_escaped)
{
    struct timer_node *node = timer_table_add(&t->table, hash, queue, member, len);
    node->key_end = (uint32_t)key_end;
    node->is_escaped = is_escaped;
    t->queues[queue].nodes++;
    return node;
}

static void remove_node(struct timers *t, struct timer_node *node)
{
    struct queue *q = &t->queues[node->queue];
    pull(t, q, node);
    assert(q->nodes > 0);
    q->nodes--;
    timer_table_remove(&t->table, node);
}

static void set_horizon(struct queue *q, double due_ms, const char *member, size_t len)
{
    q->horizon_ms = due_ms;
    q->horizon.len = 0;
    buf_append(&q->horizon, member, len);
}

/* Nothing of this queue is known any more. Not while a change is open. */
static void forget_queue(struct timers *t, uint32_t queue)
{
    struct queue *q = &t->queues[queue];
    while (q->heap.count > 0)
        remove_node(t, q->heap.items[q->heap.count - 1].node);
    assert(q->nodes == 0); /* (1) */
    set_horizon(q, -INFINITY, NULL, 0);
    q->is_whole = q->may_lack = false;
    q->strangers = 0;
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

void timers_drop(struct timers *t)
{
    timers_discard(t);
    for (uint32_t i = 0; i < t->queue_count; i++) {
        forget_queue(t, i);
        timer_heap_fini(&t->queues[i].heap);
        update_next(t, i);
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
    uint32_t queue = make_queue(t, rule, kind);
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
    update_next(t, queue);
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

/* ── a batch ─────────────────────────────────────────────────────────────────────────────────── */

/* Keeps the earliest PAGES_KEPT pages; the horizon is at the first that goes. */
static void cut(struct timers *t, struct queue *q)
{
    const uint32_t kept = PAGES_KEPT * PAGE;
    timer_heap_sort(&q->heap);
    const struct timer_node *first = q->heap.items[kept].node;
    set_horizon(q, first->due_ms, first->member, first->member_len);
    q->is_whole = false;
    q->strangers = 0; /* or some: a page may then begin too early, never too late */
    while (q->heap.count > kept)
        remove_node(t, q->heap.items[q->heap.count - 1].node);
}

void timers_begin(struct timers *t)
{
    assert(t->touched_count == 0);
    if (!t->is_bulky)
        return;
    for (uint32_t i = 0; i < t->queue_count; i++)
        if (t->queues[i].heap.count > PAGES_MOST * PAGE)
            cut(t, &t->queues[i]);
    t->is_bulky = false;
    t->serial++;
}

/* Keeps what the node was, once a batch. A node that is not set is new. */
static void note_change(struct timers *t, struct timer_node *node)
{
    if (node->is_changed)
        return;
    struct queue *q = &t->queues[node->queue];
    node->is_changed = true;
    node->before = node->is_set ? BEFORE_SET : is_whole(q) ? BEFORE_NONE : BEFORE_UNKNOWN;
    node->before_due_ms = node->due_ms;
    node->before_payload = node->payload;
    node->before_lacks_payload = node->lacks_payload;
    node->sibling = node->next_changed = NULL;
    if (!q->is_touched) {
        MAKE_ROOM(t->touched, t->touched_count, t->touched_cap);
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
    MAKE_ROOM(t->garbage, t->garbage_count, t->garbage_cap);
    t->garbage[t->garbage_count++] = bytes;
}

/* Of a changed node. Its payload may have been handed out. */
static void unset(struct timers *t, struct timer_node *node)
{
    pull(t, &t->queues[node->queue], node);
    node->is_set = node->lacks_payload = false;
    if (node->payload != NULL && node->payload != node->before_payload)
        keep_until_end(t, node->payload);
    node->payload = NULL;
}

/* The member of a key and a name, as it is looked for; in t->scratch. */
struct wanted {
    const char *member;
    size_t len, key_end;
    uint64_t hash;
    bool is_escaped;
};

static struct wanted wanted_of(struct timers *t, uint32_t family, const char *key, size_t key_len,
                               const char *name, size_t name_len)
{
    t->scratch.len = 0;
    timer_member(&t->scratch, key, key_len, name, name_len);
    struct wanted w = {.member = t->scratch.data, .len = t->scratch.len};
    w.key_end = w.len - name_len - 1;
    w.is_escaped = w.key_end != key_len;
    w.hash = timer_table_hash(&t->table, family, w.member, w.len);
    return w;
}

static struct timer_node *find_node(const struct timers *t, uint32_t queue, const struct wanted *w)
{
    if (queue >= t->queue_count || t->queues[queue].nodes == 0)
        return NULL;
    return timer_table_find(&t->table, w->hash, queue, w->member, w->len);
}

/* A changed node of this member; NULL when there is none, nor anything to remove in Redis. */
static struct timer_node *remove_member(struct timers *t, uint32_t queue, const struct wanted *w)
{
    struct timer_node *node = find_node(t, queue, w);
    if (node == NULL) {
        if (is_whole(&t->queues[queue]))
            return NULL;
        node = add_node(t, queue, w->hash, w->member, w->len, w->key_end, w->is_escaped);
    }
    note_change(t, node);
    unset(t, node);
    update_next(t, queue);
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
    uint32_t queue = make_queue(t, rule, kind);
    struct wanted w = wanted_of(t, family_of(queue), key, key_len, name, name_len);
    struct timer_node *node = find_node(t, queue, &w);
    if (node == NULL)
        node = add_node(t, queue, w.hash, w.member, w.len, w.key_end, w.is_escaped);
    note_change(t, node);
    unset(t, node);
    node->is_set = true;
    node->due_ms = whole_ms(due_ms);
    if (payload != NULL) {
        node->payload = timer_bytes_create(&t->table, payload, payload_len);
        t->payloads[rule] = PAYLOADS_SOME;
    }
    struct queue *q = &t->queues[queue];
    if (is_below_horizon(q, node->due_ms, node->member, node->member_len))
        push(t, q, node);
    update_next(t, queue);
    if (kind != TIMER_WINDOW)
        link_siblings(node, remove_member(t, other_clock(queue), &w));
}

void timers_cancel(struct timers *t, uint32_t rule, enum timer_kind kind, const char *key,
                   size_t key_len, const char *name, size_t name_len)
{
    uint32_t queue = make_queue(t, rule, kind);
    struct wanted w = wanted_of(t, family_of(queue), key, key_len, name, name_len);
    struct timer_node *node = remove_member(t, queue, &w);
    if (kind != TIMER_WINDOW)
        link_siblings(node, remove_member(t, other_clock(queue), &w));
}

double timers_find(struct timers *t, uint32_t rule, enum timer_kind kind, const char *key,
                   size_t key_len, const char *name, size_t name_len)
{
    uint32_t queue = make_queue(t, rule, kind);
    struct wanted w = wanted_of(t, family_of(queue), key, key_len, name, name_len);
    bool is_known = true;
    for (int clocks = kind == TIMER_WINDOW ? 1 : 2; clocks > 0; clocks--) {
        const struct timer_node *node = find_node(t, queue, &w);
        if (node != NULL && node->is_set)
            return node->due_ms;
        if (node == NULL && !is_whole(&t->queues[queue]))
            is_known = false;
        if (clocks > 1)
            queue = other_clock(queue);
    }
    return is_known ? TIMERS_NONE : TIMERS_UNKNOWN;
}

bool timers_is_short(const struct timers *t, uint32_t rule, enum timer_kind kind)
{
    const struct queue *q = peek_queue(t, rule, kind);
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
        out->key_len = (uint32_t)unescape(key->bytes, node->member, node->key_end);
    }
    if (node->payload != NULL) {
        out->payload = node->payload->bytes;
        out->payload_len = node->payload->len;
    }
}

bool timers_take(struct timers *t, uint32_t rule, enum timer_kind kind, struct timer *out)
{
    const struct queue *q = peek_queue(t, rule, kind);
    if (q == NULL || q->heap.count == 0 || q->heap.items[0].node->lacks_payload)
        return false;
    struct timer_node *node = q->heap.items[0].node;
    describe(t, node, out);
    note_change(t, node);
    unset(t, node);
    update_next(t, node->queue);
    return true;
}

bool timers_peek(struct timers *t, uint32_t rule, enum timer_kind kind, uint32_t number,
                 struct timer *out)
{
    const struct queue *q = peek_queue(t, rule, kind);
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
        remove_node(t, node);
        return;
    }
    node->is_set = true;
    node->due_ms = node->before_due_ms;
    node->lacks_payload = node->before_lacks_payload;
    push(t, &t->queues[node->queue], node);
}

static void settle(struct timers *t, struct timer_node *node)
{
    node->is_changed = false;
    timer_bytes_free(&t->table, node->before_payload);
    node->before_payload = NULL;
    if (node->heap_at == TIMER_NO_PLACE)
        remove_node(t, node);
}

static void end_batch(struct timers *t, void (*end)(struct timers *, struct timer_node *))
{
    for (uint32_t i = 0; i < t->touched_count; i++) {
        struct queue *q = &t->queues[t->touched[i]];
        for (struct timer_node *node = q->first_changed, *next; node != NULL; node = next) {
            next = node->next_changed;
            end(t, node);
        }
        q->first_changed = q->last_changed = NULL;
        q->is_touched = false;
        update_next(t, t->touched[i]);
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

/* ── commands ────────────────────────────────────────────────────────────────────────────────── */

enum writes { WRITE_ZREM = 1, WRITE_HDEL = 2, WRITE_ZADD = 4, WRITE_HSET = 8 };

static const char *const QUEUE_ENDS[TIMER_KINDS] = {":wall", ":event", ":window"};

static void append_queue_key(struct buf *out, const struct timer_names *names, uint32_t queue)
{
    buf_append_text(out, names->prefix);
    buf_append_text(out, "timers:");
    buf_append_text(out, names->name(names->context, queue / TIMER_KINDS));
    buf_append_text(out, QUEUE_ENDS[kind_of(queue)]);
}

static void append_data_key(struct buf *out, const struct timer_names *names, uint32_t queue)
{
    buf_append_text(out, names->prefix);
    buf_append_text(out, "timerdata:");
    buf_append_text(out, names->name(names->context, queue / TIMER_KINDS));
}

/* Exact, and short for whole numbers. */
static void append_score(struct buf *out, double due_ms)
{
    char text[32];
    if (due_ms >= -9007199254740992.0 && due_ms <= 9007199254740992.0 && floor(due_ms) == due_ms) {
        command_argument_number(out, (long long)due_ms);
        return;
    }
    int len = snprintf(text, sizeof text, "%.17g", due_ms);
    command_argument(out, text, (size_t)len);
}

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
    if (sibling != NULL && kind_of(node->queue) == TIMER_EVENT && may_have_payload(sibling))
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
    if (kind_of(node->queue) != TIMER_WINDOW)
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
        append_queue_key(&t->scratch, names, queue);
    else
        append_data_key(&t->scratch, names, queue);
    command_begin(out, 2 + count * (has_pairs ? 2 : 1));
    command_argument(out, verb, 4);
    command_argument(out, t->scratch.data, t->scratch.len);
    for (size_t i = 0; i < count; i++) {
        if (write == WRITE_ZADD)
            append_score(out, nodes[i]->due_ms);
        command_argument(out, nodes[i]->member, nodes[i]->member_len);
        if (write == WRITE_HSET)
            command_argument(out, nodes[i]->payload->bytes, nodes[i]->payload->len);
    }
}

/* The commands of one kind for one queue; returns how many. */
static uint32_t append_writes(struct timers *t, const struct timer_names *names, struct buf *out,
                              uint32_t queue, enum writes write)
{
    struct timer_node *row[COMMAND_MOST];
    size_t in_row = 0;
    uint32_t commands = 0;
    if ((t->queues[queue].writes & write) == 0)
        return 0;
    for (struct timer_node *n = t->queues[queue].first_changed; n != NULL; n = n->next_changed) {
        if ((n->writes & write) != 0)
            row[in_row++] = n;
        if (in_row == COMMAND_MOST || (in_row > 0 && n->next_changed == NULL)) {
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
        struct queue *q = &t->queues[t->touched[i]];
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

/* ── loading ─────────────────────────────────────────────────────────────────────────────────── */

static void add_want(struct timers *t, enum want_kind kind, uint32_t queue, uint32_t first,
                     uint32_t count)
{
    MAKE_ROOM(t->wants, t->want_count, t->want_cap);
    t->wants[t->want_count++] =
        (struct want){.kind = kind, .queue = queue, .first = first, .count = count};
}

static void want_payloads(struct timers *t, const struct timer_names *names, struct buf *out,
                          uint32_t queue)
{
    const struct queue *q = &t->queues[queue];
    uint32_t first = t->asked_count;
    for (uint32_t i = 0; i < q->heap.count; i++) {
        if (!q->heap.items[i].node->lacks_payload)
            continue;
        MAKE_ROOM(t->asked, t->asked_count, t->asked_cap);
        t->asked[t->asked_count++] = q->heap.items[i].node;
    }
    while (first < t->asked_count) {
        uint32_t count = t->asked_count - first;
        count = count < COMMAND_MOST ? count : COMMAND_MOST;
        t->scratch.len = 0;
        append_data_key(&t->scratch, names, queue);
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
    append_data_key(&t->scratch, names, queue);
    command_begin(out, 2);
    command_argument_text(out, "HLEN");
    command_argument(out, t->scratch.data, t->scratch.len);
    add_want(t, WANT_PAYLOAD_COUNT, queue, 0, 0);
}

static void want_page(struct timers *t, const struct timer_names *names, struct buf *out,
                      uint32_t queue)
{
    const struct queue *q = &t->queues[queue];
    uint32_t offset = q->strangers;
    for (uint32_t i = 0; i < q->heap.count; i++)
        offset += q->heap.items[i].due_ms == q->horizon_ms;
    t->scratch.len = 0;
    append_queue_key(&t->scratch, names, queue);
    command_begin(out, 8);
    command_argument_text(out, "ZRANGEBYSCORE");
    command_argument(out, t->scratch.data, t->scratch.len);
    append_score(out, q->horizon_ms);
    command_argument_text(out, "+inf");
    command_argument_text(out, "WITHSCORES");
    command_argument_text(out, "LIMIT");
    command_argument_number(out, offset);
    command_argument_number(out, PAGE);
    add_want(t, WANT_PAGE, queue, 0, 0);
}

uint32_t timers_wants(struct timers *t, const struct timer_names *names, struct buf *out)
{
    assert(t->touched_count == 0);
    uint32_t counted = UINT32_MAX; /* the rule whose payloads have been asked for last */
    t->want_count = t->asked_count = 0;
    t->asked_serial = t->serial;
    for (uint32_t i = 0; i < t->queue_count; i++) {
        struct queue *q = &t->queues[i];
        uint32_t before = t->want_count, rule = i / TIMER_KINDS;
        if (!q->is_attended)
            continue;
        if (q->may_lack) {
            want_payloads(t, names, out, i);
            q->may_lack = t->want_count > before;
        }
        if (q->is_whole || q->heap.count >= PAGE / 4 || q->may_lack)
            continue;
        if (t->payloads[rule] == PAYLOADS_UNKNOWN && kind_of(i) != TIMER_WINDOW && counted != rule)
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

static bool take_payloads(struct timers *t, const struct want *want, const struct reply *reply)
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
    struct queue *q = &t->queues[queue];
    struct wanted w = {.member = member->text, .len = member->len};
    if (isnan(due_ms) || !find_key_end(w.member, w.len, &w.key_end, &w.is_escaped))
        return false;
    w.hash = timer_table_hash(&t->table, family_of(queue), w.member, w.len);
    if (find_node(t, queue, &w) != NULL)
        return true;
    struct timer_node *node = add_node(t, queue, w.hash, w.member, w.len, w.key_end, w.is_escaped);
    node->is_set = true;
    node->due_ms = due_ms;
    if (kind_of(queue) != TIMER_WINDOW && t->payloads[queue / TIMER_KINDS] != PAYLOADS_NONE)
        node->lacks_payload = q->may_lack = true;
    push(t, q, node);
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
    struct queue *q = &t->queues[queue];
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
    q->is_whole = count < PAGE;
    if (count > 0) { /* behind the last one */
        const struct reply *last = reply->elements[count * 2 - 2];
        if (timer_compare(due_ms, last->text, last->len, q->horizon_ms, q->horizon.data,
                          q->horizon.len) >= 0) {
            set_horizon(q, due_ms, last->text, last->len);
            buf_append(&q->horizon, "", 1);
        }
    }
    update_next(t, queue);
    return is_fine;
}

bool timers_take_reply(struct timers *t, uint32_t number, const struct reply *reply)
{
    /* What was forgotten or changed meanwhile is asked for again. */
    if (number >= t->want_count || t->asked_serial != t->serial)
        return true;
    const struct want *want = &t->wants[number];
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
