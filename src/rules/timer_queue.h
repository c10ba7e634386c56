/* timer_queue.h: the queues of timers.h, for the files that they are made of.
 *
 * (1) Between batches every node is in a heap, and every heap is what Redis holds below the
 * horizon. (2) The horizon moves only between batches. (3) A node that a batch has changed is on
 * the list of its queue, once. */
#ifndef TIDEMILL_RULES_TIMER_QUEUE_H
#define TIDEMILL_RULES_TIMER_QUEUE_H

#include "rules/timer_table.h"
#include "rules/timers.h"

enum {
    TIMERS_PAGE = 2000,       /* members asked for at once */
    TIMERS_PAGES_MOST = 4,    /* more than that many are cut ... */
    TIMERS_PAGES_KEPT = 2,    /* ... down to these, at the next begin */
    TIMERS_COMMAND_MOST = 512 /* members of one command */
};

struct timer_queue {
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
enum timer_payloads { PAYLOADS_UNKNOWN, PAYLOADS_NONE, PAYLOADS_SOME };

enum timer_want_kind { WANT_PAYLOAD_COUNT, WANT_PAGE, WANT_PAYLOADS };

struct timer_want {
    enum timer_want_kind kind;
    uint32_t queue;
    uint32_t first, count; /* in `asked`, of WANT_PAYLOADS */
};

struct timers {
    struct timer_table table;
    struct timer_queue *queues; /* by rule * TIMER_KINDS + kind */
    uint8_t *payloads;          /* by rule: enum timer_payloads */
    uint32_t queue_count;
    double *nexts; /* of the first next_count queues; the others are not attended */
    uint32_t next_count;
    double next_wall_ms;
    uint32_t *touched; /* queues with changes */
    uint32_t touched_count, touched_cap;
    struct timer_bytes **garbage; /* texts that were handed out: until the batch ends */
    uint32_t garbage_count, garbage_cap;
    size_t pending;
    bool is_bulky;      /* a heap has grown beyond TIMERS_PAGES_MOST */
    bool knows_all;     /* every queue is whole, and none is cut */
    struct buf scratch; /* the member in question, the key of a command */
    struct timer_want *wants;
    uint32_t want_count, want_cap;
    struct timer_node **asked;
    uint32_t asked_count, asked_cap;
    uint64_t serial, asked_serial; /* how often something changed; when the wants were asked */
};

/* Room for one more in an array that doubles. */
void *timer_queue_room(void *array, uint32_t count, uint32_t *cap, size_t size);

/* ── one queue ── */

/* Its number is rule * TIMER_KINDS + kind. */
enum timer_kind timer_queue_kind(uint32_t queue);
/* The queue of the same rule's other clock; windows have none. */
uint32_t timer_queue_other_clock(uint32_t queue);
/* What shares members: the two clocks of a rule. */
uint32_t timer_queue_family(uint32_t queue);

/* NULL: nobody has asked for it yet. */
const struct timer_queue *timer_queue_peek(const struct timers *t, uint32_t rule,
                                           enum timer_kind kind);
/* Its number; pointers to queues are void when it is new. */
uint32_t timer_queue_make(struct timers *t, uint32_t rule, enum timer_kind kind);

/* Everything in this queue is known here. */
bool timer_queue_is_whole(const struct timer_queue *q);
/* This place in the order is below the horizon. */
bool timer_queue_has_below(const struct timer_queue *q, double due_ms, const char *member,
                           size_t len);
void timer_queue_set_horizon(struct timer_queue *q, double due_ms, const char *member, size_t len);

/* To be called when the head or the horizon may have moved. */
void timer_queue_update_next(struct timers *t, uint32_t queue);

/* ── nodes ── */

/* The member of a key and a name, as it is looked for; in t->scratch. */
struct timer_wanted {
    const char *member;
    size_t len, key_end;
    uint64_t hash;
    bool is_escaped;
};
struct timer_wanted timer_queue_wanted(struct timers *t, uint32_t family, const char *key,
                                       size_t key_len, const char *name, size_t name_len);
struct timer_node *timer_queue_find(const struct timers *t, uint32_t queue,
                                    const struct timer_wanted *w);
/* A new node, in no heap. */
struct timer_node *timer_queue_add(struct timers *t, uint32_t queue, const struct timer_wanted *w);
void timer_queue_remove(struct timers *t, struct timer_node *node);

/* Into the heap; out of it, if it is in. */
void timer_queue_push(struct timers *t, struct timer_queue *q, struct timer_node *node);
void timer_queue_pull(struct timers *t, struct timer_queue *q, struct timer_node *node);

/* ── members, names in Redis ── */

/* Where the key ends, and whether it is escaped. False: this is no member. */
bool timer_member_key_end(const char *member, size_t len, size_t *end, bool *is_escaped);
/* Writes the key of `len` escaped bytes; returns its length. */
size_t timer_member_unescape(char *into, const char *escaped, size_t len);

void timer_queue_append_key(struct buf *out, const struct timer_names *names, uint32_t queue);
/* Of the hash of payloads. */
void timer_queue_append_data_key(struct buf *out, const struct timer_names *names, uint32_t queue);
/* As an argument: exact, and short for whole numbers. */
void timer_queue_append_score(struct buf *out, double due_ms);

#endif
