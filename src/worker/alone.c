/* alone.c: see alone.h. */
#include "worker/alone.h"

#include <stdio.h>

enum { RULES_MOST = 1024 }; /* of one stream: those behind are run together with the last */

void alone_init(struct alone *a, const char *partition)
{
    *a = (struct alone){.partition = partition, .careful = {.noted = TRAIL_NONE}};
}

void alone_fini(struct alone *a)
{
    blames_fini(&a->blames);
}

static void name_entry(struct trail *t, const struct rulebook *book,
                       const struct batch_entry *entry)
{
    *t = (struct trail){.ms = (uint64_t)entry->ms, .seq = entry->seq, .attempts = entry->attempts};
    if (entry->stream > 0)
        snprintf(t->stream, sizeof t->stream, "%s", rulebook_stream_name(book, entry->stream));
}

/* ── after an acquire ───────────────────────────────────────────────────────────────────────── */

static bool is_committed(const struct owner *o, const char *stream, struct stream_id id)
{
    const struct source *s = owner_find_source(o, stream, strlen(stream));
    return s != NULL && s->is_known && stream_id_compare(id, s->committed) <= 0;
}

/* Rules that took one engine after the other down at the entry that was found. */
static void blame_found(struct alone *a)
{
    const struct trail *found = &a->careful.found;
    struct blame blame = {
        .ms = (double)found->ms, .seq = found->seq, .attempts = found->attempts, .reason = "crash"};
    snprintf(blame.partition, sizeof blame.partition, "%s", a->partition);
    snprintf(blame.stream, sizeof blame.stream, "%s", found->stream);
    snprintf(blame.message, sizeof blame.message,
             "the engine died %d times in this rule on this event", TRAIL_DEATHS);
    for (size_t at = 0; trail_next_blamed(found, &at, blame.rule, blame.version);)
        blames_add(&a->blames, &blame);
}

void alone_begin(struct alone *a, const struct owner *o, uint32_t batch_events)
{
    struct careful *c = &a->careful;
    bool has_note = o->note[0] != '\0';
    enum careful_before before = o->before == OWNER_MYSELF                 ? CAREFUL_MYSELF
                                 : has_note && o->before == OWNER_STRANGER ? CAREFUL_DEAD
                                                                           : CAREFUL_KNOWN;
    /* One batch was in flight, and one computed. */
    a->owner = o;
    a->peeked = PEEK_NONE;
    careful_begin(c, has_note ? o->note : TRAIL_NONE, before, 2 * batch_events);
    a->is_due = false;
    if (!c->has_found)
        return;
    struct stream_id id = {.ms = c->found.ms, .seq = c->found.seq};
    if (c->found.attempts == 0 && is_committed(o, c->found.stream, id))
        careful_forget(c);
    else
        blame_found(a);
}

void alone_begin_anew(struct alone *a)
{
    careful_survived(&a->careful, 0);
}

bool alone_is_over(const struct alone *a)
{
    return a->blames.count == 0 && !careful_is_on(&a->careful);
}

/* ── choosing ───────────────────────────────────────────────────────────────────────────────── */

static bool is_suspicious(const struct alone *a, const struct read_batch *batch, uint32_t place)
{
    return careful_is_on(&a->careful) &&
           stream_id_compare(batch->ids[place], batch->sources[place]->last_then) <= 0;
}

/* The plan for an entry, with the rules that run on it, when they matter. */
static void plan(const struct alone *a, struct rulebook *book, const struct batch_entry *entry,
                 struct careful_plan *out)
{
    struct trail name;
    struct careful_rule rules[RULES_MOST];
    uint32_t numbers[RULES_MOST], count = 0;
    name_entry(&name, book, entry);
    if (careful_has_found(&a->careful, &name)) {
        count = 1; /* what fires is one rule's, too */
        numbers[0] = entry->only;
        if (entry->only == 0)
            count = rulebook_rules_of(book, entry->stream, numbers, RULES_MOST);
    }
    for (uint32_t i = 0; i < count; i++)
        rules[i] = (struct careful_rule){.name = rulebook_rule_name(book, numbers[i]),
                                         .version = rulebook_rule_version(book, numbers[i])};
    careful_plan(&a->careful, &name, rules, count, out);
}

static void choose_noted(struct alone *a, struct rulebook *book, const struct batch_entry *entry,
                         struct alone_choice *choice)
{
    struct careful_plan now;
    plan(a, book, entry, &now);
    choice->is_held = !now.may_run;
    choice->count = choice->count > 0 && now.may_run ? 1 : 0;
    choice->is_alone = choice->is_noted = true;
    choice->is_rehearsal = now.is_rehearsal;
    choice->most_rules = now.most_rules;
    if (!now.may_run && strcmp(now.note, a->careful.sent) != 0) {
        snprintf(a->note, sizeof a->note, "%s", now.note);
        a->is_due = true;
    }
}

/* Nobody can have died in a timer that was not due yet. */
static bool is_new(const struct alone *a, const struct fired *fired)
{
    return fired->kind == TIMER_WALL && fired->entry.ms > (double)a->owner->redis_ms;
}

/* What fires before the entry, or without one. False: nothing that matters. */
static bool choose_fired(struct alone *a, struct rulebook *book, bool has_entry,
                         struct alone_choice *choice)
{
    bool is_wanted = a->peeked == PEEK_FIRED && (has_entry || !is_new(a, &a->next));
    choice->is_peek = a->peeked == PEEK_NONE;
    a->peeked = PEEK_NONE;
    if (choice->is_peek) {
        choice->is_alone = true;
        choice->count = has_entry ? 1 : 0;
    } else if (is_wanted) {
        choose_noted(a, book, &a->next.entry, choice);
        choice->is_fired = true;
    }
    return choice->is_peek || is_wanted;
}

void alone_peeked(struct alone *a, const struct fired *fired)
{
    a->peeked = fired != NULL ? PEEK_FIRED : PEEK_NOTHING;
    if (fired != NULL)
        a->next = (struct fired){.entry = fired->entry, .kind = fired->kind};
}

void alone_choose(struct alone *a, struct rulebook *book, const struct read_batch *batch,
                  uint32_t first, const struct batch_entry *entries, uint32_t count,
                  struct alone_choice *choice)
{
    *choice = (struct alone_choice){.count = count};
    bool is_careful = careful_is_on(&a->careful);
    if (is_careful && (batch == NULL || is_suspicious(a, batch, first))) {
        if (!choose_fired(a, book, batch != NULL, choice) && batch != NULL)
            choose_noted(a, book, entries, choice);
        return;
    }
    if (batch == NULL)
        return;
    uint32_t place = blames_first(&a->blames, book, entries, count);
    choice->is_alone = place == 0;
    if (place < count)
        choice->count = place == 0 ? 1 : place;
    for (uint32_t i = 1; i < choice->count && is_careful; i++)
        if (is_suspicious(a, batch, first + i))
            choice->count = i;
}

void alone_put(const struct alone *a, struct rulebook *book, struct bridge *bridge,
               const struct batch_entry *entry, const struct alone_choice *choice)
{
    if (choice->is_peek || choice->is_fired)
        bridge_put_step(bridge, choice->is_peek ? BRIDGE_PEEK : BRIDGE_FIRE_ONE);
    if (entry == NULL)
        return;
    blames_put(&a->blames, book, bridge, entry);
    if (choice->is_peek)
        bridge_limit(bridge, 0);
    else if (choice->is_rehearsal)
        bridge_limit(bridge, choice->most_rules);
}

void alone_survived(struct alone *a, const struct alone_choice *choice)
{
    careful_survived(&a->careful, choice->most_rules);
}

bool alone_rest(struct alone *a)
{
    careful_rest_note(&a->careful, a->note);
    a->is_due = strcmp(a->note, a->careful.noted) != 0;
    return a->is_due;
}

/* ── commits ────────────────────────────────────────────────────────────────────────────────── */

/* The note behind an entry that was run alone, or behind a batch. */
static void note_next(struct alone *a, struct rulebook *book, const struct alone_choice *choice,
                      const struct read_batch *batch, uint32_t next)
{
    struct careful_plan ahead;
    bool is_last = choice != NULL && choice->is_noted && a->careful.left == 1;
    if (batch != NULL && !batch->is_inbox && next < batch->count && !is_last &&
        is_suspicious(a, batch, next)) {
        plan(a, book, &batch->entries[next], &ahead);
        snprintf(a->note, sizeof a->note, "%s", ahead.note);
    } else if (choice != NULL && choice->is_noted) {
        snprintf(a->note, sizeof a->note, "%s", TRAIL_NONE);
    } else {
        careful_rest_note(&a->careful, a->note);
    }
}

const char *alone_send(struct alone *a, struct rulebook *book, const struct alone_choice *choice,
                       const struct read_batch *batch, uint32_t next)
{
    struct careful *c = &a->careful;
    if (!a->is_due && !careful_is_on(c) && strcmp(c->noted, TRAIL_NONE) == 0)
        return NULL;
    if (!a->is_due)
        note_next(a, book, choice, batch, next);
    a->is_due = false;
    if (strcmp(a->note, c->noted) == 0)
        return NULL;
    careful_sent(c, a->note);
    return a->note;
}

void alone_land(struct alone *a, const struct alone_landed *landed)
{
    struct trail name;
    const struct alone_choice *choice = landed->choice;
    bool is_noted = choice != NULL && choice->is_noted;
    if (is_noted)
        name_entry(&name, landed->book, choice->is_fired ? &landed->fired[0].entry : landed->entry);
    careful_landed(&a->careful, is_noted ? &name : NULL);
}

static bool is_over(const struct blame *blame, const struct owner *o,
                    const struct alone_landed *landed)
{
    struct stream_id id = {.ms = (uint64_t)blame->ms, .seq = blame->seq};
    for (uint32_t i = 0; i < landed->fired_count; i++)
        if (bridge_is_blamed(blame, landed->book, &landed->fired[i]))
            return true;
    if (blame->attempts > 0)
        return landed->is_letter && blame_is_about(blame, landed->book, landed->entry);
    return is_committed(o, blame->stream, id);
}

bool alone_next_over(struct alone *a, const struct owner *o, const struct alone_landed *landed,
                     size_t *at, struct blame *over)
{
    for (; *at < a->blames.count; (*at)++) {
        if (!is_over(&a->blames.list[*at], o, landed))
            continue;
        *over = a->blames.list[*at];
        blames_remove(&a->blames, *at);
        return true;
    }
    return false;
}
