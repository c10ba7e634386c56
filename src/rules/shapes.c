/* shapes.c: a small hash table from signature to number. A signature is a row a token: type and
 * length of the head, or key. */
#include "rules/shapes.h"

#include <stdlib.h>
#include <string.h>

enum { SHAPES_MOST = 1024, SHAPE_TOKENS = 128, TABLE = 4096 };

struct row {
    uint8_t type; /* enum token_type; 'k' for the name of a field */
    uint32_t len; /* of a name, or pairs of a map */
    const char *name;
};

struct shape {
    uint64_t hash;
    uint32_t count;
    struct row *rows;
};

struct shapes {
    struct shape list[SHAPES_MOST];
    uint32_t count;
    int16_t table[TABLE];          /* number + 1; 0: empty */
    struct row rows[SHAPE_TOKENS]; /* the signature being looked up */
};

struct shapes *shapes_create(void)
{
    struct shapes *s = calloc(1, sizeof *s);
    if (s == NULL)
        abort();
    return s;
}

void shapes_destroy(struct shapes *s)
{
    if (s == NULL)
        return;
    for (uint32_t i = 0; i < s->count; i++) {
        for (uint32_t k = 0; k < s->list[i].count; k++)
            free((char *)s->list[i].rows[k].name);
        free(s->list[i].rows);
    }
    free(s);
}

static uint64_t mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * 0x9E3779B97F4A7C15ull;
    return hash ^ hash >> 29;
}

static uint64_t name_word(const char *name, uint32_t len)
{
    uint64_t word = 0;
    memcpy(&word, name, len < 8 ? len : 8);
    return word ^ (uint64_t)len << 56;
}

/* Writes the signature of the map at `first`; its rows' count, or 0 when it has no shape. */
static uint32_t sign(struct shapes *s, const struct token *first, uint64_t *hash_out)
{
    const struct token *t = first, *end = first + first->size;
    uint32_t count = 0, depth = 0, left[32];
    uint64_t hash = 0;
    if (first->type != TOKEN_MAP)
        return 0;
    while (t < end) {
        if (count + 2 > SHAPE_TOKENS)
            return 0;
        while (depth > 0 && left[depth - 1] == 0)
            depth--;
        if (depth > 0) { /* a field: its name first */
            if (t->type != TOKEN_STRING)
                return 0;
            left[depth - 1]--;
            s->rows[count++] = (struct row){.type = 'k', .len = t->len, .name = t->bytes};
            hash = mix(hash, name_word(t->bytes, t->len));
            t++;
        }
        uint8_t type = t->type == TOKEN_FALSE ? TOKEN_TRUE : t->type;
        uint32_t len = type == TOKEN_MAP ? t->len : 0;
        s->rows[count++] = (struct row){.type = type, .len = len};
        hash = mix(hash, (uint64_t)type << 32 | len);
        if (type == TOKEN_MAP) {
            if (depth == sizeof left / sizeof *left)
                return 0;
            left[depth++] = len;
            t++;
        } else {
            t += t->size;
        }
    }
    *hash_out = hash;
    return count;
}

static int is_same(const struct shape *shape, uint64_t hash, const struct row *rows, uint32_t count)
{
    if (shape->hash != hash || shape->count != count)
        return 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct row *a = &shape->rows[i], *b = &rows[i];
        if (a->type != b->type || a->len != b->len ||
            (a->type == 'k' && memcmp(a->name, b->name, a->len) != 0))
            return 0;
    }
    return 1;
}

static int32_t add(struct shapes *s, uint64_t hash, uint32_t count)
{
    struct shape *shape = &s->list[s->count];
    *shape =
        (struct shape){.hash = hash, .count = count, .rows = malloc(count * sizeof *shape->rows)};
    if (shape->rows == NULL)
        abort();
    memcpy(shape->rows, s->rows, count * sizeof *shape->rows);
    for (uint32_t i = 0; i < count; i++) {
        if (shape->rows[i].type != 'k')
            continue;
        char *name = malloc(shape->rows[i].len + 1);
        if (name == NULL)
            abort();
        memcpy(name, shape->rows[i].name, shape->rows[i].len);
        shape->rows[i].name = name;
    }
    return (int32_t)s->count++;
}

static int is_same_name(const char *a, const char *b, uint32_t len)
{
    if (len > 16)
        return memcmp(a, b, len) == 0;
    if (len >= 8)
        return memcmp(a, b, 8) == 0 &&
               memcmp(a + len - 8, b + len - 8, 8) == 0; /* fixed sizes become plain loads */
    if (len >= 4)
        return memcmp(a, b, 4) == 0 && memcmp(a + len - 4, b + len - 4, 4) == 0;
    while (len-- > 0)
        if (a[len] != b[len])
            return 0;
    return 1;
}

/* Does the map at `first` have this shape? Without signing it. */
static int has_shape(const struct shape *shape, const struct token *first)
{
    const struct token *t = first, *end = first + first->size;
    for (uint32_t i = 0; i < shape->count; i++) {
        const struct row *row = &shape->rows[i];
        if (t == end)
            return 0;
        if (row->type == 'k') {
            if (t->type != TOKEN_STRING || t->len != row->len ||
                !is_same_name(t->bytes, row->name, row->len))
                return 0;
            t++;
        } else if (row->type == TOKEN_MAP) {
            if (t->type != TOKEN_MAP || t->len != row->len)
                return 0;
            t++;
        } else {
            uint8_t type = t->type == TOKEN_FALSE ? TOKEN_TRUE : t->type;
            if (type != row->type)
                return 0;
            t += t->size;
        }
    }
    return t == end;
}

int32_t shapes_number(struct shapes *s, const struct token *first, int32_t *last)
{
    if (*last >= 0 && (uint32_t)*last < s->count && has_shape(&s->list[*last], first))
        return *last;
    uint64_t hash = 0;
    uint32_t count = sign(s, first, &hash);
    if (count == 0)
        return -1;
    uint32_t place = (uint32_t)(hash >> 17) % TABLE;
    for (; s->table[place] != 0; place = (place + 1) % TABLE)
        if (is_same(&s->list[s->table[place] - 1], hash, s->rows, count)) {
            *last = s->table[place] - 1;
            return *last;
        }
    if (s->count == SHAPES_MOST)
        return -1;
    int32_t number = add(s, hash, count);
    s->table[place] = (int16_t)(number + 1);
    return number;
}
