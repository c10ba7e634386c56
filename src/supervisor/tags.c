/* tags.c: see tags.h. */
#include "supervisor/tags.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct tag *tags_find(const struct tags *t, const char *bytes, size_t len)
{
    for (size_t i = 0; i < t->count; i++)
        if (t->list[i].len == len && memcmp(t->list[i].bytes, bytes, len) == 0)
            return &t->list[i];
    return NULL;
}

size_t tags_count(const struct tags *t, unsigned worker)
{
    size_t count = 0;
    for (size_t i = 0; i < t->count; i++)
        count += t->list[i].worker == worker;
    return count;
}

static unsigned least_loaded(const struct tags *t, unsigned workers)
{
    unsigned least = 0;
    for (unsigned i = 1; i < workers; i++)
        if (tags_count(t, i) < tags_count(t, least))
            least = i;
    return least;
}

struct tag *tags_add(struct tags *t, const char *bytes, size_t len, enum message_later later,
                     unsigned workers)
{
    assert(workers > 0 && tags_find(t, bytes, len) == NULL);
    unsigned worker = least_loaded(t, workers);
    t->list = realloc(t->list, (t->count + 1) * sizeof *t->list);
    char *kept = strndup(bytes, len);
    if (t->list == NULL || kept == NULL)
        abort();
    t->list[t->count] = (struct tag){.bytes = kept, .len = len, .worker = worker, .later = later};
    return &t->list[t->count++];
}

void tags_fini(struct tags *t)
{
    for (size_t i = 0; i < t->count; i++)
        free(t->list[i].bytes);
    free(t->list);
    *t = (struct tags){0};
}
