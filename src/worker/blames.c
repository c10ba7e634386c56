/* blames.c: see blames.h. There are rarely more than one: so it is a list. */
#include "worker/blames.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void blames_fini(struct blames *b)
{
    free(b->list);
    *b = (struct blames){0};
}

/* The sentences may differ. */
static bool is_same(const struct blame *a, const struct blame *b)
{
    return a->ms == b->ms && a->seq == b->seq && a->attempts == b->attempts &&
           strcmp(a->rule, b->rule) == 0 && strcmp(a->version, b->version) == 0 &&
           strcmp(a->stream, b->stream) == 0 && strcmp(a->partition, b->partition) == 0;
}

void blames_add(struct blames *b, const struct blame *blame)
{
    for (size_t i = 0; i < b->count; i++)
        if (is_same(&b->list[i], blame))
            return;
    b->list = realloc(b->list, (b->count + 1) * sizeof *b->list);
    if (b->list == NULL)
        abort();
    b->list[b->count++] = *blame;
}

void blames_remove(struct blames *b, size_t place)
{
    assert(place < b->count);
    b->count--;
    memmove(&b->list[place], &b->list[place + 1], (b->count - place) * sizeof *b->list);
}

void blames_forget(struct blames *b, const struct blame *blame)
{
    for (size_t i = 0; i < b->count; i++)
        if (is_same(&b->list[i], blame)) {
            blames_remove(b, i);
            return;
        }
}

/* Of a timer or window: the bridge finds it when that fires. */
static bool is_of_fired(const struct blame *blame)
{
    return blame->stream[0] == '\0';
}

bool blame_is_about(const struct blame *blame, const struct rulebook *book,
                    const struct batch_entry *entry)
{
    return !is_of_fired(blame) && blame->ms == entry->ms && blame->seq == entry->seq &&
           blame->attempts == entry->attempts &&
           strcmp(blame->stream, rulebook_stream_name(book, entry->stream)) == 0 &&
           (entry->only == 0 || strcmp(blame->rule, rulebook_rule_name(book, entry->only)) == 0);
}

uint32_t blames_first(const struct blames *b, const struct rulebook *book,
                      const struct batch_entry *entries, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        for (size_t k = 0; k < b->count; k++)
            if (blame_is_about(&b->list[k], book, &entries[i]))
                return i;
    return count;
}

void blames_put(const struct blames *b, struct rulebook *book, struct bridge *bridge,
                const struct batch_entry *entry)
{
    for (size_t i = 0; i < b->count; i++) {
        const struct blame *blame = &b->list[i];
        if (!blame_is_about(blame, book, entry))
            continue;
        uint32_t rule = rulebook_rule_number(book, blame->rule, strlen(blame->rule));
        if (rule > 0 && strcmp(rulebook_rule_version(book, rule), blame->version) == 0)
            bridge_blame(bridge, rule, blame->reason, blame->message);
    }
}

void blames_put_fired(const struct blames *b, struct bridge *bridge)
{
    for (size_t i = 0; i < b->count; i++)
        if (is_of_fired(&b->list[i]))
            bridge_blame_fired(bridge, &b->list[i]);
}
