/* wishes.c: see wishes.h. */
#include "replay/wishes.h"

#include <stdio.h>
#include <stdlib.h>

void wishes_fini(struct wishes *w)
{
    words_fini(&w->words);
    free(w->items);
    *w = (struct wishes){0};
}

void wishes_count(struct bridge *bridge, uint32_t *effects, uint32_t *letters)
{
    (void)bridge_effects(bridge, effects);
    (void)bridge_letters(bridge, letters);
}

void wish_window(const struct fired *f, char *text, size_t size)
{
    if (f->start_ms == 0 && f->stop_ms == 0)
        snprintf(text, size, "%.*s", (int)f->name_len, f->name);
    else
        snprintf(text, size, "%.0f-%.0f", f->start_ms, f->stop_ms);
}

/* As the bridge orders effects: what fired stands in front of the entry that it fired before. */
static uint64_t rank_of(const struct bridge *bridge, uint32_t entry)
{
    const struct fired *fired = bridge_fired(bridge, entry);
    return fired != NULL ? 2ull * fired->before : 2ull * entry + 1;
}

static int compare_items(const void *left, const void *right)
{
    const struct item *a = left, *b = right;
    if (a->rank != b->rank)
        return a->rank < b->rank ? -1 : 1;
    if (a->entry != b->entry)
        return a->entry < b->entry ? -1 : 1;
    if (a->rule != b->rule)
        return a->rule < b->rule ? -1 : 1;
    return a->number < b->number ? -1 : a->number > b->number;
}

static void give(struct wishes *w, struct bridge *bridge, const struct batch_entry *entries,
                 uint32_t count, const struct item *item, wish_call *call, void *context)
{
    struct wish wish = {.rule = item->rule,
                        .is_letter = item->effect == NULL,
                        .words = &w->words,
                        .bytes = item->bytes,
                        .fired = bridge_fired(bridge, item->entry)};
    words_read(&w->words, item->bytes.bytes, item->bytes.len);
    if (wish.fired == NULL)
        wish.entry = &entries[item->entry];
    else if (wish.fired->before < count)
        wish.before = &entries[wish.fired->before];
    if (wish.is_letter)
        wish.key = words_field(&w->words, WISH_LETTER_FIELDS, "key");
    else
        wish.key.bytes = bridge_effect_key(bridge, item->effect, &wish.key.len);
    call(context, &wish);
}

/* Letters stand in the order in which they came about; among effects they come last, which makes no
 * difference: a rule that fails has no effects. */
static size_t add_letters(struct wishes *w, struct bridge *bridge, size_t at)
{
    uint32_t count;
    const struct buf *letters = bridge_letters(bridge, &count);
    const char *bytes = letters->data;
    for (uint32_t i = 0; i < count; i++) {
        struct item item = {.number = UINT32_MAX};
        words_read(&w->words, bytes, letters->len - (size_t)(bytes - letters->data));
        item.bytes = (struct span){bytes, w->words.len};
        item.entry = bridge_letter_entry(bridge, i, &item.rule);
        item.rank = rank_of(bridge, item.entry);
        w->items[at++] = item;
        bytes += w->words.len;
    }
    return at;
}

void wishes_each(struct wishes *w, struct bridge *bridge, const struct batch_entry *entries,
                 uint32_t count, wish_call *call, void *context)
{
    uint32_t effect_count, letter_count;
    const struct effect *effects = bridge_effects(bridge, &effect_count);
    (void)bridge_letters(bridge, &letter_count);
    if (effect_count + letter_count > w->cap) {
        w->cap = (effect_count + letter_count) * 2ull;
        w->items = realloc(w->items, w->cap * sizeof *w->items);
        if (w->items == NULL)
            abort();
    }
    for (uint32_t i = 0; i < effect_count; i++)
        w->items[i] =
            (struct item){.effect = &effects[i],
                          .bytes = {bridge_effect_bytes(bridge, &effects[i]), effects[i].len},
                          .rank = rank_of(bridge, effects[i].entry),
                          .entry = effects[i].entry,
                          .rule = effects[i].rule,
                          .number = effects[i].ordinal};
    size_t total = add_letters(w, bridge, effect_count);
    if (letter_count > 0)
        qsort(w->items, total, sizeof *w->items, compare_items);
    for (size_t i = 0; i < total; i++)
        give(w, bridge, entries, count, &w->items[i], call, context);
}
