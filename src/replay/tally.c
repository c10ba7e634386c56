/* tally.c: see tally.h. What comes next is mostly what came before: an output and its fields are
 * looked for where the last one was found. */
#include "replay/tally.h"

#include "codec/json.h"

#include <math.h>
#include <stdlib.h>

static void *must(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

void figures_add(struct figures *f, double number)
{
    f->least = f->count == 0 || number < f->least ? number : f->least;
    f->most = f->count == 0 || number > f->most ? number : f->most;
    f->sum += number;
    f->count++;
}

double figures_mean(const struct figures *f)
{
    return f->count == 0 ? 0 : f->sum / (double)f->count;
}

void tally_init(struct tally *t, size_t rules)
{
    *t = (struct tally){.rules = must(calloc(rules + 1, sizeof *t->rules)), .rule_count = rules};
}

static void output_fini(struct tally_output *o)
{
    for (size_t i = 0; i < o->field_count; i++)
        free(o->fields[i].name);
    free(o->fields);
    free(o->name);
}

void tally_fini(struct tally *t)
{
    for (size_t i = 0; t->rules != NULL && i <= t->rule_count; i++) {
        for (size_t k = 0; k < t->rules[i].output_count; k++)
            output_fini(&t->rules[i].outputs[k]);
        free(t->rules[i].outputs);
    }
    free(t->rules);
    buf_fini(&t->scratch);
    *t = (struct tally){0};
}

static bool is_output(const struct tally_output *o, enum tally_kind kind, struct span name)
{
    return o->kind == kind && span_is((struct span){o->name, o->name_len}, name);
}

static bool find_known(struct tally_rule *rule, enum tally_kind kind, struct span name)
{
    if (rule->last < rule->output_count && is_output(&rule->outputs[rule->last], kind, name))
        return true;
    for (rule->last = 0; rule->last < rule->output_count; rule->last++)
        if (is_output(&rule->outputs[rule->last], kind, name))
            return true;
    return false;
}

static struct tally_output *find_output(struct tally_rule *rule, enum tally_kind kind,
                                        struct span name)
{
    if (find_known(rule, kind, name))
        return &rule->outputs[rule->last];
    if (rule->output_count >= TALLY_OUTPUTS_MOST) {
        name = (struct span){"…", sizeof "…" - 1};
        if (find_known(rule, kind, name))
            return &rule->outputs[rule->last];
    }
    rule->outputs = must(realloc(rule->outputs, (rule->last + 1) * sizeof *rule->outputs));
    rule->outputs[rule->last] = (struct tally_output){
        .kind = kind, .name = must(strndup(name.bytes, name.len)), .name_len = name.len};
    return &rule->outputs[rule->output_count++];
}

static bool stands_before(const struct tally_field *field, struct span name)
{
    size_t common = field->name_len < name.len ? field->name_len : name.len;
    int order = memcmp(field->name, name.bytes, common);
    return order != 0 ? order < 0 : field->name_len < name.len;
}

/* By name: the order in which a table of Lua has its fields is another in every run. */
static struct tally_field *insert_field(struct tally_output *o, struct span name)
{
    size_t at = o->field_count++;
    o->fields = must(realloc(o->fields, o->field_count * sizeof *o->fields));
    for (; at > 0 && !stands_before(&o->fields[at - 1], name); at--)
        o->fields[at] = o->fields[at - 1];
    o->fields[at] =
        (struct tally_field){.name = must(strndup(name.bytes, name.len)), .name_len = name.len};
    return &o->fields[at];
}

/* `hint`: where it is likely to be. NULL: there are too many. */
static struct tally_field *find_field(struct tally_output *o, struct span name, size_t *hint)
{
    for (size_t i = 0; i < o->field_count; i++) {
        size_t at = (*hint + i) % o->field_count;
        if (!span_is((struct span){o->fields[at].name, o->fields[at].name_len}, name))
            continue;
        *hint = at + 1;
        return &o->fields[at];
    }
    if (o->field_count == TALLY_FIELDS_MOST)
        return NULL;
    return insert_field(o, name);
}

bool tally_payload(struct span payload, struct buf *scratch, struct span *map)
{
    *map = payload;
    if (payload.len > 0 && payload.bytes[0] == '{') {
        scratch->len = 0;
        if (json_to_msgpack(payload.bytes, payload.len, 512, scratch, NULL) != 0)
            return false;
        *map = (struct span){scratch->data, scratch->len};
    }
    return packed_is_map(*map);
}

static void add_fields(struct tally_output *o, struct span map)
{
    struct packed_walk walk = {0};
    struct span key, value, name;
    size_t hint = 0;
    while (packed_next(&walk, map, &key, &value)) {
        double number;
        if (!packed_text(key, &name))
            continue;
        struct tally_field *field = find_field(o, name, &hint);
        if (field == NULL)
            o->unkept++;
        else if (packed_number(value, &number) && isfinite(number))
            figures_add(&field->figures, number);
        else
            field->others++;
    }
}

void tally_add(struct tally *t, const struct wish *wish)
{
    struct tally_rule *rule = &t->rules[wish->rule];
    struct span stream, payload, map;
    if (wish->is_letter) {
        struct span reason = words_field(wish->words, WISH_LETTER_FIELDS, "reason");
        find_output(rule, TALLY_LETTER, reason)->count++;
        return;
    }
    if (!words_emit(wish->words, &stream, &payload)) {
        find_output(rule, TALLY_COMMAND, wish->words->list[0])->count++;
        return;
    }
    struct tally_output *o = find_output(rule, TALLY_EMIT, stream);
    o->count++;
    if (tally_payload(payload, &t->scratch, &map))
        add_fields(o, map);
}
