/* equal.c: see equal.h. */
#include "codec/equal.h"

#include "codec/msgpack.h"

#include <stdlib.h>
#include <string.h>

enum { DEPTH_MOST = 200, SMALL = 16 /* pairs */ };

static bool is_equal(const struct token *a, const struct token *b);

/* The value of a key that equals `key`, or NULL. */
static const struct token *find(const struct token *map, const struct token *key)
{
    const struct token *k = map + 1;
    for (uint32_t i = 0; i < map->len; i++, k += 1 + (k + 1)->size)
        if (k->size == 1 && is_equal(k, key))
            return k + 1;
    return NULL;
}

static bool is_equal_small(const struct token *a, const struct token *b)
{
    const struct token *key = a + 1;
    for (uint32_t i = 0; i < a->len; i++, key += 1 + (key + 1)->size) {
        const struct token *other = find(b, key);
        if (other == NULL || !is_equal(key + 1, other))
            return false;
    }
    return true;
}

/* Any order will do, in which keys of the same type that are equal are neighbours. Keys are no
 * maps and arrays: those are found nowhere. */
static int compare_keys(const void *left, const void *right)
{
    const struct token *a = *(const struct token *const *)left,
                       *b = *(const struct token *const *)right;
    if (a->type != b->type)
        return a->type < b->type ? -1 : 1;
    if (a->type != TOKEN_STRING && a->type != TOKEN_EXT)
        return (a->u64 > b->u64) - (a->u64 < b->u64);
    if (a->len != b->len)
        return a->len < b->len ? -1 : 1;
    return memcmp(a->bytes, b->bytes, a->len);
}

static const struct token **sorted_keys(const struct token *map)
{
    const struct token **keys = malloc(map->len * sizeof *keys), *key = map + 1;
    if (keys == NULL)
        abort();
    for (uint32_t i = 0; i < map->len; i++, key += 1 + (key + 1)->size)
        keys[i] = key;
    qsort(keys, map->len, sizeof *keys, compare_keys);
    return keys;
}

/* Looking for each key would take minutes. */
static bool is_equal_large(const struct token *a, const struct token *b)
{
    const struct token **x = sorted_keys(a), **y = sorted_keys(b);
    bool same = true;
    for (uint32_t i = 0; same && i < a->len; i++)
        same = x[i]->size == 1 && is_equal(x[i], y[i]) && is_equal(x[i] + 1, y[i] + 1);
    free(x);
    free(y);
    return same;
}

static bool is_equal_map(const struct token *a, const struct token *b)
{
    return a->len <= SMALL ? is_equal_small(a, b) : is_equal_large(a, b);
}

/* As deep as the values are: DEPTH_MOST. */
static bool is_equal(const struct token *a, const struct token *b)
{
    if (a->type != b->type)
        return false;
    switch (a->type) {
    case TOKEN_MAP:
        return a->len == b->len && is_equal_map(a, b);
    case TOKEN_ARRAY: {
        const struct token *x = a + 1, *y = b + 1;
        bool same = a->len == b->len;
        for (uint32_t i = 0; same && i < a->len; i++, x += x->size, y += y->size)
            same = is_equal(x, y);
        return same;
    }
    case TOKEN_EXT:
        if (a->ext_type != b->ext_type)
            return false;
        /* fall through */
    case TOKEN_STRING:
        return a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0;
    case TOKEN_NUMBER: /* nan is itself here: nothing has changed */
        return a->number == b->number || (a->number != a->number && b->number != b->number);
    case TOKEN_NIL:
    case TOKEN_TRUE:
    case TOKEN_FALSE:
        return true;
    default:
        return a->u64 == b->u64;
    }
}

bool msgpack_is_equal(const void *a, size_t a_len, const void *b, size_t b_len)
{
    static const struct msgpack_limits limits = {.depth = DEPTH_MOST, .elements = 1u << 24};
    struct tokens x = {0}, y = {0};
    if (a_len == b_len && memcmp(a, b, a_len) == 0)
        return true;
    bool is_same = msgpack_tokens(a, a_len, &limits, &x, NULL) == 0 &&
                   msgpack_tokens(b, b_len, &limits, &y, NULL) == 0 && is_equal(x.list, y.list);
    tokens_fini(&x);
    tokens_fini(&y);
    return is_same;
}
