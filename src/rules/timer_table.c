/* timer_table.c: an open-addressing table of pointers, pieces of memory by size, a binary heap that
 * tells each node its place. */
#include "rules/timer_table.h"

#include "base/hash.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { TABLE_SMALLEST = 1024, BLOCK_BYTES = 64 * 1024, BLOCK_HEAD = 16, HEAP_SMALLEST = 64 };

static void *must(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

/* ── memory ──────────────────────────────────────────────────────────────────────────────────── */

/* The class of a size: how many pieces; 0: too big for a class, malloc's. A sanitizer sees what is
 * used after it was freed only when all is malloc's. */
static size_t class_of(size_t bytes)
{
#ifdef __SANITIZE_ADDRESS__
    (void)bytes;
    return 0;
#else
    size_t pieces = (bytes + TIMER_PIECE - 1) / TIMER_PIECE;
    return pieces <= TIMER_PIECE_CLASSES ? pieces : 0;
#endif
}

static void *memory_take(struct timer_table *t, size_t bytes)
{
    size_t class = class_of(bytes);
    if (class == 0)
        return must(malloc(bytes));
    void *found = t->free[class];
    if (found != NULL) {
        memcpy(&t->free[class], found, sizeof found);
        return found;
    }
    bytes = class * TIMER_PIECE;
    if (t->fresh_bytes < bytes) { /* the rest of the old block stays unused */
        char *block = must(malloc(BLOCK_BYTES));
        memcpy(block, &t->blocks, sizeof t->blocks);
        t->blocks = block;
        t->fresh = block + BLOCK_HEAD;
        t->fresh_bytes = BLOCK_BYTES - BLOCK_HEAD;
    }
    found = t->fresh;
    t->fresh += bytes;
    t->fresh_bytes -= bytes;
    return found;
}

static void memory_give(struct timer_table *t, void *memory, size_t bytes)
{
    size_t class = class_of(bytes);
    if (class == 0) {
        free(memory);
        return;
    }
    memcpy(memory, &t->free[class], sizeof memory);
    t->free[class] = memory;
}

struct timer_bytes *timer_bytes_create(struct timer_table *t, const char *bytes, size_t len)
{
    assert(len <= UINT32_MAX);
    struct timer_bytes *made = memory_take(t, sizeof *made + len);
    made->len = (uint32_t)len;
    if (len > 0)
        memcpy(made->bytes, bytes, len);
    return made;
}

void timer_bytes_free(struct timer_table *t, struct timer_bytes *bytes)
{
    if (bytes != NULL)
        memory_give(t, bytes, sizeof *bytes + bytes->len);
}

/* ── table ───────────────────────────────────────────────────────────────────────────────────── */

void timer_table_init(struct timer_table *t)
{
    *t = (struct timer_table){.mask = TABLE_SMALLEST - 1};
    t->places = must(calloc(TABLE_SMALLEST, sizeof *t->places));
    t->seed = hash_seed(t);
}

void timer_table_fini(struct timer_table *t)
{
    for (size_t i = 0; i <= t->mask; i++) {
        struct timer_node *node = t->places[i];
        if (node == NULL)
            continue;
        timer_bytes_free(t, node->payload);
        memory_give(t, node, sizeof *node + node->member_len);
    }
    free(t->places);
    while (t->blocks != NULL) {
        void *block = t->blocks;
        memcpy(&t->blocks, block, sizeof block);
        free(block);
    }
    *t = (struct timer_table){0};
}

struct timer_node *timer_table_find(const struct timer_table *t, uint64_t hash, uint32_t queue,
                                    const char *member, size_t len)
{
    for (size_t i = hash & t->mask;; i = (i + 1) & t->mask) {
        struct timer_node *node = t->places[i];
        if (node == NULL)
            return NULL;
        if (node->hash == hash && node->queue == queue && node->member_len == len &&
            memcmp(node->member, member, len) == 0)
            return node;
    }
}

static void put_in_place(struct timer_table *t, struct timer_node *node)
{
    size_t i = node->hash & t->mask;
    while (t->places[i] != NULL)
        i = (i + 1) & t->mask;
    t->places[i] = node;
}

static void grow(struct timer_table *t)
{
    size_t old_count = t->mask + 1;
    struct timer_node **old = t->places;
    t->mask = old_count * 2 - 1;
    t->places = must(calloc(t->mask + 1, sizeof *t->places));
    for (size_t i = 0; i < old_count; i++)
        if (old[i] != NULL)
            put_in_place(t, old[i]);
    free(old);
}

struct timer_node *timer_table_add(struct timer_table *t, uint64_t hash, uint32_t queue,
                                   const char *member, size_t len)
{
    assert(len <= UINT32_MAX);
    if ((t->count + 1) * 2 > t->mask + 1)
        grow(t);
    struct timer_node *node = memory_take(t, sizeof *node + len);
    memset(node, 0, sizeof *node);
    node->hash = hash;
    node->queue = queue;
    node->heap_at = TIMER_NO_PLACE;
    node->member_len = (uint32_t)len;
    memcpy(node->member, member, len);
    put_in_place(t, node);
    t->count++;
    return node;
}

void timer_table_remove(struct timer_table *t, struct timer_node *node)
{
    assert(node->heap_at == TIMER_NO_PLACE);
    size_t i = node->hash & t->mask;
    while (t->places[i] != node)
        i = (i + 1) & t->mask;
    t->places[i] = NULL;
    t->count--;
    timer_bytes_free(t, node->payload);
    memory_give(t, node, sizeof *node + node->member_len);
    /* Those behind it that belong earlier move up (Knuth 6.4, algorithm R). */
    for (size_t j = (i + 1) & t->mask; t->places[j] != NULL; j = (j + 1) & t->mask) {
        size_t home = t->places[j]->hash & t->mask;
        bool stays = i <= j ? home > i && home <= j : home > i || home <= j;
        if (!stays) {
            t->places[i] = t->places[j];
            t->places[j] = NULL;
            i = j;
        }
    }
}

/* ── heap ────────────────────────────────────────────────────────────────────────────────────── */

int timer_compare(double due_ms, const char *member, size_t len, double other_due_ms,
                  const char *other_member, size_t other_len)
{
    if (due_ms != other_due_ms)
        return due_ms < other_due_ms ? -1 : 1;
    size_t shared = len < other_len ? len : other_len;
    int order = shared > 0 ? memcmp(member, other_member, shared) : 0;
    if (order != 0)
        return order;
    return len < other_len ? -1 : len > other_len;
}

static int compare_items(const void *left, const void *right)
{
    const struct timer_heap_item *a = left, *b = right;
    if (a->due_ms != b->due_ms)
        return a->due_ms < b->due_ms ? -1 : 1;
    return timer_compare(a->due_ms, a->node->member, a->node->member_len, b->due_ms,
                         b->node->member, b->node->member_len);
}

static void put_item(struct timer_heap *h, uint32_t at, struct timer_heap_item item)
{
    h->items[at] = item;
    item.node->heap_at = at;
}

/* Moves an item that belongs at `at` or nearer to the top. */
static void sift_up(struct timer_heap *h, uint32_t at, struct timer_heap_item item)
{
    while (at > 0) {
        uint32_t parent = (at - 1) / 2;
        if (compare_items(&h->items[parent], &item) <= 0)
            break;
        put_item(h, at, h->items[parent]);
        at = parent;
    }
    put_item(h, at, item);
}

static void sift_down(struct timer_heap *h, uint32_t at, struct timer_heap_item item)
{
    for (;;) {
        uint32_t child = at * 2 + 1;
        if (child >= h->count)
            break;
        if (child + 1 < h->count && compare_items(&h->items[child + 1], &h->items[child]) < 0)
            child++;
        if (compare_items(&item, &h->items[child]) <= 0)
            break;
        put_item(h, at, h->items[child]);
        at = child;
    }
    put_item(h, at, item);
}

void timer_heap_push(struct timer_heap *h, struct timer_node *node)
{
    assert(node->heap_at == TIMER_NO_PLACE);
    if (h->count == h->cap) {
        h->cap = h->cap > 0 ? h->cap * 2 : HEAP_SMALLEST;
        h->items = must(realloc(h->items, h->cap * sizeof *h->items));
    }
    sift_up(h, h->count++, (struct timer_heap_item){.due_ms = node->due_ms, .node = node});
}

void timer_heap_remove(struct timer_heap *h, struct timer_node *node)
{
    uint32_t at = node->heap_at;
    assert(at < h->count && h->items[at].node == node);
    struct timer_heap_item last = h->items[--h->count];
    node->heap_at = TIMER_NO_PLACE;
    if (last.node == node)
        return;
    if (at > 0 && compare_items(&last, &h->items[(at - 1) / 2]) < 0)
        sift_up(h, at, last);
    else
        sift_down(h, at, last);
}

void timer_heap_sort(struct timer_heap *h)
{
    if (h->count > 0)
        qsort(h->items, h->count, sizeof *h->items, compare_items);
    for (uint32_t i = 0; i < h->count; i++)
        h->items[i].node->heap_at = i;
}

void timer_heap_fini(struct timer_heap *h)
{
    free(h->items);
    *h = (struct timer_heap){0};
}
