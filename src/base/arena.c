/* arena.c: a list of blocks, each filled from its start; a reset keeps the first ones. */
#include "base/arena.h"

#include <assert.h>
#include <stdalign.h>
#include <stdlib.h>

enum { ARENA_BLOCK_BYTES = 256 * 1024 };

struct arena_block {
    struct arena_block *next;
    size_t cap, used;
    alignas(max_align_t) char bytes[];
};

static struct arena_block *block_create(size_t bytes)
{
    size_t cap = bytes > ARENA_BLOCK_BYTES ? bytes : ARENA_BLOCK_BYTES;
    struct arena_block *block = malloc(sizeof *block + cap);
    if (block == NULL)
        abort();
    *block = (struct arena_block){.cap = cap};
    return block;
}

void *arena_alloc(struct arena *a, size_t bytes)
{
    size_t rounded = (bytes + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
    assert(rounded >= bytes);
    struct arena_block *now = a->now;
    if (now == NULL || now->cap - now->used < rounded) {
        /* A kept block that is too small stays behind unused until the next reset. */
        while (now != NULL && now->next != NULL && now->next->cap < rounded)
            now = now->next;
        struct arena_block *next = now != NULL ? now->next : NULL;
        if (next == NULL) {
            next = block_create(rounded);
            if (now != NULL)
                now->next = next;
            else
                a->first = next;
        }
        a->now = now = next;
    }
    void *memory = now->bytes + now->used;
    now->used += rounded;
    a->used_bytes += rounded;
    return memory;
}

void arena_reset(struct arena *a, size_t keep)
{
    size_t kept = 0;
    struct arena_block **link = &a->first;
    while (*link != NULL) {
        struct arena_block *block = *link;
        if (kept + block->cap <= keep) {
            kept += block->cap;
            block->used = 0;
            link = &block->next;
        } else {
            *link = block->next;
            free(block);
        }
    }
    a->now = a->first;
    a->used_bytes = 0;
}

void arena_fini(struct arena *a)
{
    arena_reset(a, 0);
    *a = (struct arena){0};
}
