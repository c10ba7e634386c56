/* limiter.c: see limiter.h. A short list, searched from the front: kinds are few, and what repeats
 * is rare. */
#include "base/limiter.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

static struct limiter_kind *limiter_find(struct limiter *l, const char *kind)
{
    for (int i = 0; i < LIMITER_KINDS; i++) {
        if (l->kinds[i].name[0] != '\0' &&
            strncmp(l->kinds[i].name, kind, LIMITER_NAME_LEN - 1) == 0)
            return &l->kinds[i];
    }
    return NULL;
}

/* A free place, or that of the kind that spoke longest ago and owes no count; NULL when every kind
 * owes one. */
static struct limiter_kind *limiter_place(struct limiter *l)
{
    struct limiter_kind *oldest = NULL;
    for (int i = 0; i < LIMITER_KINDS; i++) {
        struct limiter_kind *k = &l->kinds[i];
        if (k->name[0] == '\0')
            return k;
        if (k->held_count == 0 && (oldest == NULL || k->free_at_ms < oldest->free_at_ms))
            oldest = k;
    }
    return oldest;
}

bool limiter_may_pass(struct limiter *l, const char *kind, int tag, uint64_t now_ms,
                      uint64_t *held_count)
{
    struct limiter_kind *k = limiter_find(l, kind);
    if (k != NULL && now_ms < k->free_at_ms) {
        k->held_count++;
        k->tag = tag;
        return false;
    }
    *held_count = 0;
    if (k == NULL) {
        k = limiter_place(l);
        if (k == NULL)
            return true;
        *k = (struct limiter_kind){0};
        snprintf(k->name, sizeof k->name, "%s", kind);
    }
    *held_count = k->held_count;
    k->held_count = 0;
    k->free_at_ms = now_ms + LIMITER_SPACE_MS;
    k->tag = tag;
    return true;
}

bool limiter_take_held(struct limiter *l, uint64_t now_ms, const char **kind, int *tag,
                       uint64_t *held_count)
{
    for (int i = 0; i < LIMITER_KINDS; i++) {
        struct limiter_kind *k = &l->kinds[i];
        if (k->name[0] == '\0' || k->held_count == 0 || now_ms < k->free_at_ms)
            continue;
        *kind = k->name;
        *tag = k->tag;
        *held_count = k->held_count;
        k->held_count = 0;
        k->free_at_ms = now_ms + LIMITER_SPACE_MS;
        return true;
    }
    return false;
}
