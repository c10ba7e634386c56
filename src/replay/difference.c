/* difference.c: see difference.h.
 *
 * Wishes of two decisions are paired by what they are: the first emit to a stream with the first
 * emit to it, and so on; a letter is a map of one field, its message; a command one of its text. */
#include "replay/difference.h"

#include "base/escape.h"
#include "codec/json.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { FIELDS_MOST = 64, OUTPUTS_MOST = 200, SAMPLE_BYTES = 160 };

static void *must(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

/* ── life ────────────────────────────────────────────────────────────────────────────────────── */

void difference_init(struct difference *d, const struct plan *plan, size_t samples_most)
{
    *d = (struct difference){.plan = plan, .samples_most = samples_most};
}

static void samples_fini(struct samples *s)
{
    for (size_t i = 0; i < s->count; i++) {
        free(s->list[i].key);
        free(s->list[i].place);
        free(s->list[i].value[SIDE_OLD]);
        free(s->list[i].value[SIDE_NEW]);
    }
    free(s->list);
}

static void output_fini(struct difference_output *o)
{
    for (size_t i = 0; i < o->field_count; i++) {
        free(o->fields[i].name);
        samples_fini(&o->fields[i].samples);
    }
    free(o->fields);
    free(o->name);
    samples_fini(&o->samples[SIDE_OLD]);
    samples_fini(&o->samples[SIDE_NEW]);
}

void difference_fini(struct difference *d)
{
    for (size_t i = 0; i < d->rule_count; i++) {
        struct difference_rule *rule = &d->rules[i];
        for (size_t k = 0; k < rule->output_count; k++)
            output_fini(&rule->outputs[k]);
        free(rule->outputs);
        free(rule->name);
        free(rule->version[SIDE_OLD]);
        free(rule->version[SIDE_NEW]);
    }
    free(d->rules);
    for (int side = 0; side < SIDES; side++) {
        buf_fini(&d->scratch[side]);
        words_fini(&d->words[side]);
    }
    buf_fini(&d->text);
    *d = (struct difference){0};
}

struct difference_rule *difference_find(struct difference *d, const char *name)
{
    size_t low = 0, high = d->rule_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = strcmp(d->rules[middle].name, name);
        if (order == 0)
            return &d->rules[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    d->rules = must(realloc(d->rules, (d->rule_count + 1) * sizeof *d->rules));
    memmove(&d->rules[low + 1], &d->rules[low], (d->rule_count - low) * sizeof *d->rules);
    d->rules[low] = (struct difference_rule){.name = must(strdup(name))};
    d->rule_count++;
    return &d->rules[low];
}

void difference_know(struct difference *d, enum difference_side side, const char *name,
                     const char *version)
{
    struct difference_rule *rule = difference_find(d, name);
    free(rule->version[side]);
    rule->version[side] = must(strdup(version));
}

bool difference_is_none(const struct difference *d)
{
    for (size_t i = 0; i < d->rule_count; i++) {
        const struct difference_rule *rule = &d->rules[i];
        if (rule->changed + rule->only[SIDE_OLD] + rule->only[SIDE_NEW] > 0)
            return false;
    }
    return true;
}

/* ── wishes, alike whatever they are ─────────────────────────────────────────────────────────── */

struct thing {
    enum tally_kind kind;
    struct span name; /* of the output */
    struct span map;  /* of an emit; len 0: it is none */
    struct span text; /* of a letter its message; of anything else that is no map, as it is */
};

static struct thing thing_of(struct difference *d, enum difference_side side,
                             const struct decided *wish)
{
    struct thing thing = {.kind = TALLY_COMMAND, .text = wish->bytes};
    struct span payload;
    if (wish->kind == WISH_LETTER) {
        const char *nul = memchr(wish->bytes.bytes, '\0', wish->bytes.len);
        size_t len = (size_t)(nul - wish->bytes.bytes);
        thing.kind = TALLY_LETTER;
        thing.name = (struct span){wish->bytes.bytes, len};
        thing.text = (struct span){nul + 1, wish->bytes.len - len - 1};
        return thing;
    }
    words_read(&d->words[side], wish->bytes.bytes, wish->bytes.len);
    thing.name = d->words[side].list[0];
    if (!words_emit(&d->words[side], &thing.name, &payload))
        return thing;
    thing.kind = TALLY_EMIT;
    thing.text = payload;
    if (!tally_payload(payload, &d->scratch[side], &thing.map))
        thing.map.len = 0;
    return thing;
}

/* The message without the place in the file that it may begin with: an edit moves lines. */
static struct span without_line(struct span message)
{
    const char *end = message.bytes + message.len, *at = message.bytes;
    while (at < end && *at != ':' && *at != ' ')
        at++;
    const char *digits = at + 1;
    if (at >= end || *at != ':' || at - message.bytes < 4 || memcmp(at - 4, ".lua", 4) != 0)
        return message;
    for (at = digits; at < end && *at >= '0' && *at <= '9';)
        at++;
    if (at == digits || at >= end || *at != ':')
        return message;
    return (struct span){at, (size_t)(end - at)};
}

static bool is_same_place(const struct thing *a, const struct thing *b)
{
    return a->kind == b->kind && span_is(a->name, b->name);
}

static bool are_equal(const struct thing *a, const struct thing *b)
{
    if (!is_same_place(a, b))
        return false;
    if (a->kind == TALLY_LETTER)
        return span_is(without_line(a->text), without_line(b->text));
    if (span_is(a->text, b->text))
        return true;
    return a->map.len > 0 && b->map.len > 0 && packed_equal(a->map, b->map);
}

/* ── rows ────────────────────────────────────────────────────────────────────────────────────── */

static struct difference_output *known_output(struct difference_rule *rule, enum tally_kind kind,
                                              struct span name)
{
    for (size_t i = 0; i < rule->output_count; i++) {
        struct difference_output *o = &rule->outputs[i];
        if (o->kind == kind && span_is((struct span){o->name, o->name_len}, name))
            return o;
    }
    return NULL;
}

/* Beyond OUTPUTS_MOST they share one row. */
static struct difference_output *find_output(struct difference_rule *rule,
                                             const struct thing *thing)
{
    static const struct span others = {"…", sizeof "…" - 1};
    struct span name = rule->output_count < OUTPUTS_MOST ? thing->name : others;
    struct difference_output *known = known_output(rule, thing->kind, thing->name);
    if (known == NULL && rule->output_count >= OUTPUTS_MOST)
        known = known_output(rule, thing->kind, others);
    if (known != NULL)
        return known;
    rule->outputs = must(realloc(rule->outputs, (rule->output_count + 1) * sizeof *rule->outputs));
    rule->outputs[rule->output_count] = (struct difference_output){
        .kind = thing->kind, .name = must(strndup(name.bytes, name.len)), .name_len = name.len};
    return &rule->outputs[rule->output_count++];
}

/* NULL: there are too many. */
static struct difference_field *find_field(struct difference_output *o, struct span name)
{
    for (size_t i = 0; i < o->field_count; i++)
        if (span_is((struct span){o->fields[i].name, o->fields[i].name_len}, name))
            return &o->fields[i];
    if (o->field_count == FIELDS_MOST)
        return NULL;
    o->fields = must(realloc(o->fields, (o->field_count + 1) * sizeof *o->fields));
    o->fields[o->field_count] = (struct difference_field){
        .name = must(strndup(name.bytes, name.len)), .name_len = name.len};
    return &o->fields[o->field_count++];
}

/* ── samples ─────────────────────────────────────────────────────────────────────────────────── */

/* Bytes for people, in one line and not too long. */
static char *show(struct difference *d, struct span bytes)
{
    d->text.len = 0;
    escape_text(&d->text, bytes.bytes, bytes.len < SAMPLE_BYTES ? bytes.len : SAMPLE_BYTES);
    if (bytes.len > SAMPLE_BYTES)
        buf_append_text(&d->text, "…");
    return must(strdup(buf_text(&d->text)));
}

static char *show_packed(struct difference *d, struct span value)
{
    struct buf json = {0};
    char *text;
    if (json_from_msgpack(value.bytes, value.len, 512, &json, NULL) == 0)
        text = show(d, (struct span){json.data, json.len});
    else
        text = show(d, value);
    buf_fini(&json);
    return text;
}

static char *show_command(struct difference *d, struct span command)
{
    struct words words = {0};
    struct buf line = {0};
    words_read(&words, command.bytes, command.len);
    for (size_t i = 0; i < words.count; i++) {
        buf_append_text(&line, i > 0 ? " " : "");
        buf_append(&line, words.list[i].bytes, words.list[i].len);
    }
    char *text = show(d, (struct span){line.data, line.len});
    buf_fini(&line);
    words_fini(&words);
    return text;
}

static char *show_thing(struct difference *d, const struct thing *thing)
{
    if (thing->map.len > 0)
        return show_packed(d, thing->map);
    return thing->kind == TALLY_COMMAND ? show_command(d, thing->text) : show(d, thing->text);
}

static char *show_place(struct difference *d, const struct decision *decision)
{
    const struct decision_head *head = &decision->head;
    struct buf text = {0};
    if (head->kind == DECISION_ENTRY) {
        const struct plan_lane *lane = &d->plan->partitions[head->partition].lanes[head->lane];
        escape_text(&text, lane->name, lane->name_len);
        buf_printf(&text, " %.0f-%llu", head->ms, (unsigned long long)head->seq);
    } else if (head->kind == DECISION_TIMER) {
        buf_append_text(&text, "timer ");
        escape_text(&text, decision->name.bytes, decision->name.len);
        buf_printf(&text, " %.0f", head->due_ms);
    } else {
        buf_append_text(&text, "window ");
        escape_text(&text, decision->name.bytes, decision->name.len);
    }
    char *place = must(strdup(buf_text(&text)));
    buf_fini(&text);
    return place;
}

/* Room for one more sample; NULL: there are enough. */
static struct difference_sample *add_sample(struct difference *d, struct samples *samples,
                                            const struct decision *decision)
{
    if (samples->count == d->samples_most)
        return NULL;
    samples->list = must(realloc(samples->list, (samples->count + 1) * sizeof *samples->list));
    struct difference_sample *s = &samples->list[samples->count++];
    *s =
        (struct difference_sample){.key = show(d, decision->key), .place = show_place(d, decision)};
    return s;
}

/* ── comparing ───────────────────────────────────────────────────────────────────────────────── */

/* `old` or `new` of len 0: the field is not there. */
static void note_field(struct difference *d, struct difference_output *o, struct span name,
                       struct span old, struct span new, const struct decision *decision)
{
    double before, after;
    struct difference_field *field = find_field(o, name);
    if (field == NULL)
        return;
    field->changed++;
    if (old.len > 0 && new.len > 0 && packed_number(old, &before) && packed_number(new, &after) &&
        isfinite(after - before))
        figures_add(&field->figures, after - before);
    struct difference_sample *s = add_sample(d, &field->samples, decision);
    if (s == NULL)
        return;
    s->value[SIDE_OLD] = old.len > 0 ? show_packed(d, old) : NULL;
    s->value[SIDE_NEW] = new.len > 0 ? show_packed(d, new) : NULL;
}

static struct span find_value(struct span map, struct span wanted)
{
    struct packed_walk walk = {0};
    struct span key, value;
    while (packed_next(&walk, map, &key, &value))
        if (packed_equal(key, wanted))
            return value;
    return (struct span){0};
}

static void compare_maps(struct difference *d, struct difference_output *o, struct span old,
                         struct span new, const struct decision *decision)
{
    struct packed_walk walk = {0};
    struct span key, value, name;
    while (packed_next(&walk, new, &key, &value)) {
        struct span before = find_value(old, key);
        if (before.len > 0 && packed_equal(before, value))
            continue;
        note_field(d, o, packed_text(key, &name) ? name : key, before, value, decision);
    }
    walk = (struct packed_walk){0};
    while (packed_next(&walk, old, &key, &value))
        if (find_value(new, key).len == 0)
            note_field(d, o, packed_text(key, &name) ? name : key, value, (struct span){0},
                       decision);
}

/* Two of one output that differ. */
static void compare_things(struct difference *d, struct difference_rule *rule,
                           const struct thing *old, const struct thing *new,
                           const struct decision *decision)
{
    struct difference_output *o = find_output(rule, new);
    if (old->map.len > 0 && new->map.len > 0) {
        compare_maps(d, o, old->map, new->map, decision);
        return;
    }
    const char *name = new->kind == TALLY_LETTER    ? "message"
                       : new->kind == TALLY_COMMAND ? "arguments"
                                                    : "payload";
    struct difference_field *field = find_field(o, (struct span){name, strlen(name)});
    if (field == NULL)
        return;
    field->changed++;
    struct difference_sample *s = add_sample(d, &field->samples, decision);
    if (s == NULL)
        return;
    s->value[SIDE_OLD] = show_thing(d, old);
    s->value[SIDE_NEW] = show_thing(d, new);
}

static void note_alone(struct difference *d, struct difference_rule *rule,
                       enum difference_side side, const struct thing *thing,
                       const struct decision *decision)
{
    struct difference_output *o = find_output(rule, thing);
    o->only[side]++;
    struct difference_sample *s = add_sample(d, &o->samples[side], decision);
    if (s != NULL)
        s->value[side] = show_thing(d, thing);
}

void difference_alone(struct difference *d, struct difference_rule *rule, enum difference_side side,
                      const struct decision *decision)
{
    struct decided wish;
    rule->only[side]++;
    for (size_t at = 0; decision_next_wish(decision, &at, &wish);) {
        struct thing thing = thing_of(d, side, &wish);
        note_alone(d, rule, side, &thing, decision);
    }
}

static bool are_same(struct difference *d, const struct decision *old, const struct decision *new)
{
    size_t at[SIDES] = {0, 0};
    struct decided wish[SIDES];
    if (old->head.wishes != new->head.wishes)
        return false;
    if (span_is(old->wishes, new->wishes))
        return true;
    while (decision_next_wish(old, &at[SIDE_OLD], &wish[SIDE_OLD]) &&
           decision_next_wish(new, &at[SIDE_NEW], &wish[SIDE_NEW])) {
        if (wish[SIDE_OLD].kind == wish[SIDE_NEW].kind &&
            span_is(wish[SIDE_OLD].bytes, wish[SIDE_NEW].bytes))
            continue;
        struct thing a = thing_of(d, SIDE_OLD, &wish[SIDE_OLD]),
                     b = thing_of(d, SIDE_NEW, &wish[SIDE_NEW]);
        if (!are_equal(&a, &b))
            return false;
    }
    return true;
}

/* The first wish of `old` of that output that has no partner yet. */
static bool take_partner(struct difference *d, const struct decision *old, bool *is_taken,
                         const struct thing *wanted, struct thing *partner)
{
    struct decided wish;
    size_t number = 0;
    for (size_t at = 0; decision_next_wish(old, &at, &wish); number++) {
        if (is_taken[number])
            continue;
        *partner = thing_of(d, SIDE_OLD, &wish);
        if (!is_same_place(partner, wanted))
            continue;
        is_taken[number] = true;
        return true;
    }
    return false;
}

void difference_pair(struct difference *d, struct difference_rule *rule, const struct decision *old,
                     const struct decision *new)
{
    struct decided wish;
    bool is_other = false;
    if (are_same(d, old, new)) {
        rule->same++;
        return;
    }
    rule->changed++;
    bool *is_taken = must(calloc(old->head.wishes + 1, sizeof *is_taken));
    for (size_t at = 0; decision_next_wish(new, &at, &wish);) {
        struct thing partner, thing = thing_of(d, SIDE_NEW, &wish);
        bool has_partner = take_partner(d, old, is_taken, &thing, &partner);
        if (has_partner && are_equal(&partner, &thing))
            continue;
        is_other = true;
        if (has_partner)
            compare_things(d, rule, &partner, &thing, new);
        else
            note_alone(d, rule, SIDE_NEW, &thing, new);
    }
    size_t number = 0;
    for (size_t at = 0; decision_next_wish(old, &at, &wish); number++) {
        if (is_taken[number])
            continue;
        struct thing thing = thing_of(d, SIDE_OLD, &wish);
        note_alone(d, rule, SIDE_OLD, &thing, old);
        is_other = true;
    }
    rule->reordered += !is_other;
    free(is_taken);
}
