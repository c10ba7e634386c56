/* compare.c: see compare.h.
 *
 * (1) Of decisions on entries both sides have the same order, so they are merged as they come. (2)
 * A timer or window may fire at another place in the other version, or before an entry that this
 * side has not come to: those wait in a table until the other side has the same, and at the end are
 * alone. (3) One side is read ahead of the other, so that both work, but only so far. */
#include "replay/compare.h"

#include "base/hash.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

enum { AHEAD_BYTES = 64 << 20, READ_BYTES = 256 * 1024, BUCKETS = 1 << 16 };

/* A decision of what fired, which the other side has not had yet. */
struct waiting {
    struct waiting *next;
    uint64_t hash;
    char bytes[]; /* the record */
};

struct compare_side {
    int fd;
    struct buf in;
    size_t at; /* so far it is worked off */
    bool is_over, has_end;
    uint64_t events;
    struct feed_sum *sums; /* as they come: by partition and lane */
    size_t sum_count;
    struct waiting **table;
    bool has_head; /* `head` is the record at `at` */
    struct decision head;
};

static void *must(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

void compare_init(struct compare *c, const struct plan *plan, struct difference *difference,
                  const struct compare_rules rules[SIDES], const int ends[SIDES])
{
    *c = (struct compare){.difference = difference, .plan = plan};
    c->sides = must(calloc(SIDES, sizeof *c->sides));
    for (int side = 0; side < SIDES; side++) {
        c->rules[side] = rules[side];
        c->sides[side].fd = ends[side];
        c->sides[side].table = must(calloc(BUCKETS, sizeof *c->sides[side].table));
    }
}

void compare_fini(struct compare *c)
{
    for (int side = 0; c->sides != NULL && side < SIDES; side++) {
        struct compare_side *s = &c->sides[side];
        for (size_t i = 0; i < BUCKETS; i++)
            for (struct waiting *w = s->table[i], *next; w != NULL; w = next) {
                next = w->next;
                free(w);
            }
        free(s->table);
        free(s->sums);
        buf_fini(&s->in);
    }
    free(c->sides);
    *c = (struct compare){0};
}

/* ── what a side says ────────────────────────────────────────────────────────────────────────── */

static void take_sum(struct compare_side *s, const struct decision_head *head)
{
    s->sums = must(realloc(s->sums, (s->sum_count + 1) * sizeof *s->sums));
    s->sums[s->sum_count++] = head->sum;
}

/* Fills `head` with the side's next decision, if it is there. */
static bool has_decision(struct compare_side *s)
{
    while (!s->has_head) {
        struct span left = {s->in.data + s->at, s->in.len - s->at};
        if (left.len == 0 || !decision_read(left, &s->head))
            return false;
        s->has_head = s->head.head.kind < DECISION_SUM;
        if (s->head.head.kind == DECISION_SUM)
            take_sum(s, &s->head.head);
        if (s->head.head.kind == DECISION_END) {
            s->has_end = true;
            s->events = s->head.head.events;
        }
        if (!s->has_head)
            s->at += s->head.head.len;
    }
    return true;
}

static void pass(struct compare_side *s)
{
    s->at += s->head.head.len;
    s->has_head = false;
}

/* Reads what is there. */
static int fill(struct compare_side *s, struct error *error)
{
    buf_consume(&s->in, s->at);
    s->at = 0;
    s->has_head = false; /* it points into what has moved */
    buf_reserve(&s->in, READ_BYTES);
    ssize_t got = read(s->fd, s->in.data + s->in.len, READ_BYTES);
    if (got < 0 && errno != EINTR && errno != EAGAIN)
        return error_set(error, ERROR_SYSTEM, "cannot hear a child: %s", strerror(errno));
    s->is_over = got == 0;
    s->in.len += got > 0 ? (size_t)got : 0;
    return 0;
}

/* ── matching ────────────────────────────────────────────────────────────────────────────────── */

static int compare_numbers(double a, double b)
{
    return (a > b) - (a < b);
}

/* Where they stand; what fired stands in front of its entry. Of one place: by rule. */
static int compare_places(const struct decision *a, const struct decision *b, const char *a_rule,
                          const char *b_rule)
{
    const struct decision_head *x = &a->head, *y = &b->head;
    int order = compare_numbers(x->partition, y->partition);
    order = order != 0 ? order : compare_numbers(x->ms, y->ms);
    order = order != 0 ? order : (x->seq > y->seq) - (x->seq < y->seq);
    order = order != 0 ? order : compare_numbers(x->lane, y->lane);
    order = order != 0 ? order : (x->kind == DECISION_ENTRY) - (y->kind == DECISION_ENTRY);
    return order != 0 || x->kind != DECISION_ENTRY ? order : strcmp(a_rule, b_rule);
}

static const char *rule_name(const struct compare *c, enum difference_side side,
                             const struct decision *d)
{
    return d->head.rule == 0 ? "" : c->rules[side].names[d->head.rule - 1];
}

/* What makes two decisions of what fired the same one. */
static bool is_same_fired(const struct compare *c, const struct decision *a,
                          enum difference_side a_side, const struct decision *b,
                          enum difference_side b_side)
{
    return a->head.kind == b->head.kind && a->head.due_ms == b->head.due_ms &&
           a->head.partition == b->head.partition && span_is(a->key, b->key) &&
           span_is(a->name, b->name) &&
           strcmp(rule_name(c, a_side, a), rule_name(c, b_side, b)) == 0;
}

static uint64_t hash_fired(const struct compare *c, enum difference_side side,
                           const struct decision *d)
{
    const char *rule = rule_name(c, side, d);
    uint64_t hash = hash_key(d->head.partition, d->head.kind, rule, strlen(rule));
    hash = hash_key(hash, 0, d->key.bytes, d->key.len);
    hash = hash_key(hash, 0, d->name.bytes, d->name.len);
    return hash_key(hash, 0, (const char *)&d->head.due_ms, sizeof d->head.due_ms);
}

static void keep_waiting(struct compare_side *s, const struct decision *d, uint64_t hash)
{
    struct waiting *w = must(malloc(sizeof *w + d->head.len)), **end = &s->table[hash % BUCKETS];
    *w = (struct waiting){.hash = hash};
    memcpy(w->bytes, s->in.data + s->at, d->head.len);
    while (*end != NULL) /* the first that came is the first that is matched */
        end = &(*end)->next;
    *end = w;
}

static struct decision waiting_decision(const struct waiting *w)
{
    struct decision d;
    uint32_t len;
    memcpy(&len, w->bytes + offsetof(struct decision_head, len), sizeof len);
    bool is_whole = decision_read((struct span){w->bytes, len}, &d);
    assert(is_whole);
    return d;
}

static struct difference_rule *row(const struct compare *c, enum difference_side side,
                                   const struct decision *d)
{
    return difference_find(c->difference, rule_name(c, side, d));
}

static void pair(const struct compare *c, enum difference_side side, const struct decision *mine,
                 const struct decision *other)
{
    difference_pair(c->difference, row(c, side, mine), side == SIDE_OLD ? mine : other,
                    side == SIDE_OLD ? other : mine);
}

/* (2) */
static void take_fired(struct compare *c, enum difference_side side)
{
    struct compare_side *s = &c->sides[side], *other = &c->sides[SIDES - 1 - side];
    enum difference_side other_side = (enum difference_side)(SIDES - 1 - side);
    uint64_t hash = hash_fired(c, side, &s->head);
    for (struct waiting **at = &other->table[hash % BUCKETS]; *at != NULL; at = &(*at)->next) {
        struct waiting *w = *at;
        if (w->hash != hash)
            continue;
        struct decision d = waiting_decision(w);
        if (!is_same_fired(c, &s->head, side, &d, other_side))
            continue;
        pair(c, side, &s->head, &d);
        *at = w->next;
        free(w);
        pass(s);
        return;
    }
    keep_waiting(s, &s->head, hash);
    pass(s);
}

static void take_alone(struct compare *c, enum difference_side side)
{
    struct compare_side *s = &c->sides[side];
    if (s->head.head.kind != DECISION_ENTRY) {
        take_fired(c, side);
        return;
    }
    difference_alone(c->difference, row(c, side, &s->head), side, &s->head);
    pass(s);
}

/* One decision further. False: more must be read first. */
static bool merge(struct compare *c)
{
    struct compare_side *old = &c->sides[SIDE_OLD], *new = &c->sides[SIDE_NEW];
    bool has_old = has_decision(old), has_new = has_decision(new);
    if ((!has_old && !old->has_end) || (!has_new && !new->has_end) || (!has_old && !has_new))
        return false;
    int order = !has_old ? 1
                : !has_new
                    ? -1
                    : compare_places(&old->head, &new->head, rule_name(c, SIDE_OLD, &old->head),
                                     rule_name(c, SIDE_NEW, &new->head));
    if (order == 0 && old->head.head.kind == DECISION_ENTRY) {
        pair(c, SIDE_OLD, &old->head, &new->head);
        pass(old);
        pass(new);
        return true;
    }
    take_alone(c, order <= 0 ? SIDE_OLD : SIDE_NEW);
    return true;
}

/* ── driving ─────────────────────────────────────────────────────────────────────────────────── */

/* It has ended, and what it said has no end. */
static bool is_cut_off(struct compare_side *s)
{
    return s->is_over && !has_decision(s) && !s->has_end;
}

/* Nothing more can be merged. */
static bool is_done(struct compare *c)
{
    struct compare_side *old = &c->sides[SIDE_OLD], *new = &c->sides[SIDE_NEW];
    return (old->is_over && new->is_over) || is_cut_off(old) || is_cut_off(new);
}

bool compare_step(struct compare *c, int wait_ms, struct error *error)
{
    struct pollfd ends[SIDES];
    error->code = ERROR_NONE;
    while (merge(c))
        continue;
    if (is_done(c))
        return true;
    for (int side = 0; side < SIDES; side++) {
        struct compare_side *s = &c->sides[side];
        bool is_far = s->in.len - s->at >= AHEAD_BYTES && has_decision(s); /* (3) */
        bool wants = !s->is_over && !is_far;
        ends[side] = (struct pollfd){.fd = wants ? s->fd : -1, .events = POLLIN};
    }
    if (poll(ends, SIDES, wait_ms) <= 0)
        return false;
    for (int side = 0; side < SIDES; side++)
        if (ends[side].revents != 0 && fill(&c->sides[side], error) != 0)
            return true;
    return false;
}

bool compare_is_over(const struct compare *c, enum difference_side side)
{
    return c->sides[side].is_over;
}

static void tell_waiting(struct compare *c, enum difference_side side)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        for (const struct waiting *w = c->sides[side].table[i]; w != NULL; w = w->next) {
            struct decision d = waiting_decision(w);
            difference_alone(c->difference, row(c, side, &d), side, &d);
        }
    }
}

/* Both have read the same of each stream? */
static int check_sums(const struct compare *c, struct error *error)
{
    const struct compare_side *old = &c->sides[SIDE_OLD], *new = &c->sides[SIDE_NEW];
    size_t number = 0;
    for (size_t i = 0; i < c->plan->partition_count; i++) {
        const struct plan_partition *p = &c->plan->partitions[i];
        for (size_t k = 0; k < p->lane_count; k++, number++) {
            assert(number < old->sum_count && number < new->sum_count);
            struct feed_sum a = old->sums[number], b = new->sums[number];
            if (a.entries != b.entries || a.ids != b.ids)
                return error_set(error, ERROR_REPLY,
                                 "%s was trimmed while it was read: the two versions have not had "
                                 "the same entries (%llu and %llu); begin later, with --from or "
                                 "--last",
                                 p->lanes[k].name, (unsigned long long)a.entries,
                                 (unsigned long long)b.entries);
        }
    }
    return 0;
}

int compare_end(struct compare *c, uint64_t *events, struct error *error)
{
    for (int side = 0; side < SIDES; side++)
        if (!c->sides[side].has_end)
            return error_set(error, ERROR_SYSTEM, "a replay ended before its last entry");
    int code = check_sums(c, error);
    if (code != 0)
        return code;
    tell_waiting(c, SIDE_OLD);
    tell_waiting(c, SIDE_NEW);
    *events = c->sides[SIDE_NEW].events;
    return 0;
}
