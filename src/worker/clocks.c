/* clocks.c: see clocks.h. */
#include "worker/clocks.h"

static void know_clock(struct bridge *bridge, const struct owner *o, struct rulebook *book,
                       const struct owner_clock *clock)
{
    struct names *rules = rulebook_registry(book)->rules;
    struct seen seen = {.rule = names_number(rules, clock->rule, strlen(clock->rule)),
                        .ms = clock->ms};
    if (clock->stream[0] != '\0') {
        const struct source *s = owner_find_source(o, clock->stream, strlen(clock->stream));
        if (s == NULL || s->number == 0)
            return; /* no rule reads it; when one does, a new acquire comes first */
        seen.stream = s->number;
    }
    bridge_know_seen(bridge, &seen);
}

void clocks_begin(struct bridge *bridge, const struct owner *o, struct rulebook *book)
{
    bridge_forget_clocks(bridge);
    for (size_t i = 0; i < o->clock_count; i++)
        know_clock(bridge, o, book, &o->clocks[i]);
    clocks_go_on(bridge, o);
}

void clocks_go_on(struct bridge *bridge, const struct owner *o)
{
    for (size_t i = 0; i < o->source_count; i++) {
        const struct source *s = o->sources[i];
        if (s->number == 0 || !s->is_known)
            continue;
        const struct stream_id *at = s->sent_count > 0 ? &s->sent : &s->committed;
        bridge_attend(bridge, s->number, (double)at->ms);
    }
    bridge_tell_clocks(bridge);
}
