/* timer_table.h: what timers.c is made of: nodes in a hash table, their memory, and the heap of one
 * queue. What a node says of its batch is timers.c's alone.
 *
 * A node is one member of one queue. It never moves, and is freed by its owner only. Memory of
 * nodes and payloads comes from lists of pieces by size, because a batch makes and frees thousands.
 */
#ifndef TIDEMILL_RULES_TIMER_TABLE_H
#define TIDEMILL_RULES_TIMER_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct timer_bytes {
    uint32_t len;
    char bytes[];
};

/* What Redis held of a member before the batch, as far as it is known. */
enum timer_before { BEFORE_NONE, BEFORE_UNKNOWN, BEFORE_SET };

struct timer_node {
    double due_ms;
    uint64_t hash;
    struct timer_bytes *payload; /* NULL: none, or not loaded (lacks_payload) */
    uint32_t queue;
    uint32_t heap_at; /* TIMER_NO_PLACE: not in the heap */
    uint32_t member_len;
    uint32_t key_end;   /* in the member: where the NUL behind the key is */
    bool is_set;        /* false: it was taken or cancelled in this batch */
    bool lacks_payload; /* it came with a page: Redis is yet to be asked */
    bool is_escaped;    /* the key in the member is not the key itself */

    /* Only of a node that this batch has changed. */
    bool is_changed;
    uint8_t writes; /* bits that only timers_commands knows */
    uint8_t before; /* enum timer_before; with BEFORE_SET also: */
    bool before_lacks_payload;
    double before_due_ms;
    struct timer_bytes *before_payload;
    struct timer_node *sibling; /* the same timer of the other clock, changed as well; or NULL */
    struct timer_node *next_changed;

    char member[];
};

enum { TIMER_NO_PLACE = UINT32_MAX };

/* ── memory and table ── */

enum { TIMER_PIECE = 32, TIMER_PIECE_CLASSES = 24 };

struct timer_table {
    struct timer_node **places; /* NULL: empty; never a tombstone */
    size_t mask, count;
    uint64_t seed;
    void *free[TIMER_PIECE_CLASSES + 1]; /* by size in pieces; each points to the next one */
    void *blocks;                        /* where pieces are cut from */
    char *fresh;                         /* what is not cut yet of the newest block */
    size_t fresh_bytes;
};

void timer_table_init(struct timer_table *t);
void timer_table_fini(struct timer_table *t);

/* `hash`: hash_key of the table's seed; queues of one family may share it. */
struct timer_node *timer_table_find(const struct timer_table *t, uint64_t hash, uint32_t queue,
                                    const char *member, size_t len);
/* A new node of a member that has none: neither set nor in a heap. */
struct timer_node *timer_table_add(struct timer_table *t, uint64_t hash, uint32_t queue,
                                   const char *member, size_t len);
/* Frees a node that is in no heap, and its payload. */
void timer_table_remove(struct timer_table *t, struct timer_node *node);

struct timer_bytes *timer_bytes_create(struct timer_table *t, const char *bytes, size_t len);
void timer_bytes_free(struct timer_table *t, struct timer_bytes *bytes); /* NULL: nothing */

/* ── heap ── */

/* The earliest first, by due time, then member as Redis orders them. The due time stands beside the
 * node, so that most comparisons touch no node. */
struct timer_heap {
    struct timer_heap_item {
        double due_ms;
        struct timer_node *node;
    } * items;
    uint32_t count, cap;
};

int timer_compare(double due_ms, const char *member, size_t len, double other_due_ms,
                  const char *other_member, size_t other_len);

void timer_heap_push(struct timer_heap *h, struct timer_node *node);
void timer_heap_remove(struct timer_heap *h, struct timer_node *node);
/* Puts all of it in order; a heap all the same. */
void timer_heap_sort(struct timer_heap *h);
void timer_heap_fini(struct timer_heap *h);

#endif
