/* names.c: see names.h. A list of texts, and an open-addressing table of their numbers. */
#include "base/names.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct name {
    char *text;
    size_t len;
    uint64_t hash;
};

struct names {
    pthread_mutex_t lock;
    struct name *list; /* by number - 1 */
    uint32_t count, cap;
    uint32_t *table; /* numbers; 0: free */
    size_t mask;
};

enum { SMALLEST = 64 };

static void *must(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

struct names *names_create(void)
{
    struct names *names = must(calloc(1, sizeof *names));
    pthread_mutex_init(&names->lock, NULL);
    names->mask = SMALLEST - 1;
    names->table = must(calloc(SMALLEST, sizeof *names->table));
    return names;
}

void names_destroy(struct names *names)
{
    if (names == NULL)
        return;
    for (uint32_t i = 0; i < names->count; i++)
        free(names->list[i].text);
    free(names->list);
    free(names->table);
    pthread_mutex_destroy(&names->lock);
    free(names);
}

/* FNV-1a. */
static uint64_t hash_of(const char *text, size_t len)
{
    uint64_t hash = 14695981039346656037ull;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)text[i]) * 1099511628211ull;
    return hash;
}

/* Where a name's number stands, or would stand. */
static uint32_t *place_of(const struct names *names, uint64_t hash, const char *text, size_t len)
{
    for (size_t at = hash & names->mask;; at = (at + 1) & names->mask) {
        uint32_t *place = &names->table[at];
        if (*place == 0)
            return place;
        const struct name *name = &names->list[*place - 1];
        if (name->hash == hash && name->len == len && memcmp(name->text, text, len) == 0)
            return place;
    }
}

static void grow(struct names *names)
{
    free(names->table);
    names->mask = names->mask * 2 + 1;
    names->table = must(calloc(names->mask + 1, sizeof *names->table));
    for (uint32_t i = 0; i < names->count; i++) {
        const struct name *name = &names->list[i];
        *place_of(names, name->hash, name->text, name->len) = i + 1;
    }
}

static uint32_t add(struct names *names, uint64_t hash, const char *text, size_t len)
{
    if (names->count == names->cap) {
        names->cap = names->cap > 0 ? names->cap * 2 : 16;
        names->list = must(realloc(names->list, names->cap * sizeof *names->list));
    }
    struct name *name = &names->list[names->count++];
    *name = (struct name){.text = must(malloc(len + 1)), .len = len, .hash = hash};
    memcpy(name->text, text, len);
    name->text[len] = '\0';
    return names->count;
}

uint32_t names_number(struct names *names, const char *name, size_t len)
{
    uint64_t hash = hash_of(name, len);
    pthread_mutex_lock(&names->lock);
    uint32_t *place = place_of(names, hash, name, len);
    uint32_t number = *place;
    if (number == 0) {
        number = *place = add(names, hash, name, len);
        if (names->count * 2 > names->mask)
            grow(names);
    }
    pthread_mutex_unlock(&names->lock);
    return number;
}

const char *names_text(struct names *names, uint32_t number, size_t *len)
{
    pthread_mutex_lock(&names->lock);
    assert(number >= 1 && number <= names->count);
    const struct name *name = &names->list[number - 1];
    const char *text = name->text;
    if (len != NULL)
        *len = name->len;
    pthread_mutex_unlock(&names->lock);
    return text;
}

uint32_t names_count(struct names *names)
{
    pthread_mutex_lock(&names->lock);
    uint32_t count = names->count;
    pthread_mutex_unlock(&names->lock);
    return count;
}
