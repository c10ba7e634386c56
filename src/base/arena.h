/* arena.h: memory that is given back all at once. Replies live in one; so do the batches cut from
 * them. */
#ifndef TIDEMILL_BASE_ARENA_H
#define TIDEMILL_BASE_ARENA_H

#include <stddef.h>

struct arena_block;

struct arena {
    struct arena_block *first; /* all blocks, in the order in which they are filled */
    struct arena_block *now;   /* the one being filled */
    size_t used_bytes;         /* handed out since the last reset */
};

/* A zeroed struct is an empty arena. Memory is aligned for any type, not cleared, and valid until
 * reset or fini. Aborts when the machine is out of memory. */
void *arena_alloc(struct arena *a, size_t bytes);

/* Takes all memory back for reuse; keeps at most about `keep` bytes of blocks. */
void arena_reset(struct arena *a, size_t keep);

void arena_fini(struct arena *a);

#endif
