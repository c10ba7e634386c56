/* shadow_sums.c: see shadow_sums.h. An emit of the one rule is compared with that of the other in
 * the same place of the record, when both go to one stream. */
#include "cli/shadow_sums.h"

#include "base/escape.h"
#include "codec/msgpack.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MOST = 200, FIELDS_MOST = 200 /* of all outputs; what comes later is not summed */ };

/* With a NUL behind it. */
static const char *keep(struct arena *arena, const char *bytes, size_t len)
{
    char *kept = arena_alloc(arena, len + 1);
    memcpy(kept, bytes, len);
    kept[len] = '\0';
    return kept;
}

static bool is_same_text(const struct token *t, const char *bytes, size_t len)
{
    return t->type == TOKEN_STRING && t->len == len && memcmp(t->bytes, bytes, len) == 0;
}

/* NULL: there are too many. */
static struct shadow_sum *sum_of(struct shadow_sums *s, const struct token *stream,
                                 const struct token *field)
{
    for (size_t i = 0; i < s->count; i++)
        if (is_same_text(stream, s->list[i].stream, s->list[i].stream_len) &&
            is_same_text(field, s->list[i].field, s->list[i].field_len))
            return &s->list[i];
    if (s->count == FIELDS_MOST)
        return NULL;
    s->list = realloc(s->list, (s->count + 1) * sizeof *s->list);
    if (s->list == NULL)
        abort();
    s->list[s->count] = (struct shadow_sum){
        .stream = keep(&s->texts, stream->bytes, stream->len),
        .stream_len = stream->len,
        .field = keep(&s->texts, field->bytes, field->len),
        .field_len = field->len,
    };
    return &s->list[s->count++];
}

static bool is_number(const struct token *t, double *number)
{
    *number = t->type == TOKEN_NUMBER  ? t->number
              : t->type == TOKEN_INT64 ? (double)t->i64
                                       : (double)t->u64;
    return t->type == TOKEN_NUMBER || t->type == TOKEN_INT64 || t->type == TOKEN_UINT64;
}

/* The number of a field, in a map that may be missing. */
static bool find_number(const struct token *map, const struct token *field, double *number)
{
    const struct token *key = map == NULL ? NULL : map + 1;
    for (uint32_t i = 0; map != NULL && i < map->len; i++, key += 1 + (key + 1)->size)
        if (is_same_text(key, field->bytes, field->len))
            return is_number(key + 1, number);
    return false;
}

/* The map of an effect that emits one, else NULL. */
static const struct token *event_of(const struct token *effect)
{
    bool is_emit = effect != NULL && effect->type == TOKEN_ARRAY && effect->len == 2 &&
                   effect[1].type == TOKEN_STRING && effect[2].type == TOKEN_MAP;
    return is_emit ? &effect[2] : NULL;
}

/* What `mine` emits counts for its side, and, when that is the shadow rule's, against the other's.
 */
static void add_emit(struct shadow_sums *s, const struct token *mine, const struct token *other,
                     bool is_would)
{
    const struct token *event = event_of(mine), *theirs = event_of(other);
    if (event == NULL)
        return;
    if (theirs != NULL && !is_same_text(&other[1], mine[1].bytes, mine[1].len))
        theirs = NULL;
    const struct token *field = event + 1;
    for (uint32_t i = 0; i < event->len; i++, field += 1 + (field + 1)->size) {
        double number, their_number;
        struct shadow_sum *sum;
        if (field->type != TOKEN_STRING || !is_number(field + 1, &number) ||
            (sum = sum_of(s, &mine[1], field)) == NULL)
            continue;
        *(is_would ? &sum->would : &sum->did) += number;
        if (!is_would || !find_number(theirs, field, &their_number))
            continue;
        sum->compared++;
        sum->difference += number - their_number;
        sum->difference_count += number != their_number;
    }
}

static void add_effects(struct shadow_sums *s, const struct token *mine, const struct token *other,
                        bool is_would)
{
    const struct token *effect = mine + 1, *its = other + 1;
    for (uint32_t i = 0; i < mine->len; i++, effect += effect->size) {
        add_emit(s, effect, i < other->len ? its : NULL, is_would);
        if (i < other->len)
            its += its->size;
    }
}

void shadow_sums_add(struct shadow_sums *s, const struct shadow_view *v)
{
    static const struct msgpack_limits limits = {.depth = DEPTH_MOST, .elements = 1u << 24};
    const struct shadow_text *would = &v->fields[SHADOW_WOULD], *did = &v->fields[SHADOW_DID];
    struct tokens a = {0}, b = {0};
    if (s->kept++ == 0) {
        const struct shadow_text *of = &v->fields[SHADOW_OF];
        s->of = (struct shadow_text){keep(&s->texts, of->bytes, of->len), of->len};
    }
    s->failed += v->fields[SHADOW_REASON].len > 0;
    s->verdicts[shadow_view_verdict(v)]++;
    if (msgpack_tokens(would->bytes, would->len, &limits, &a, NULL) == 0 &&
        msgpack_tokens(did->bytes, did->len, &limits, &b, NULL) == 0 &&
        a.list[0].type == TOKEN_ARRAY && b.list[0].type == TOKEN_ARRAY) {
        add_effects(s, a.list, b.list, true);
        add_effects(s, b.list, a.list, false);
    }
    tokens_fini(&a);
    tokens_fini(&b);
}

void shadow_sums_fini(struct shadow_sums *s)
{
    free(s->list);
    arena_fini(&s->texts);
    *s = (struct shadow_sums){0};
}

/* -- For people -- */

static bool is_telling(const struct shadow_sum *sum)
{
    return sum->difference_count > 0 || sum->would != sum->did;
}

static void add_number(struct table *table, double number)
{
    char text[40];
    snprintf(text, sizeof text, "%.10g", number);
    table_add_text(table, text);
}

static double mean_of(const struct shadow_sum *sum)
{
    return sum->compared > 0 ? sum->difference / (double)sum->compared : 0;
}

void shadow_sums_append_table(const struct shadow_sums *s, struct buf *out, bool is_coloured)
{
    static const char *const heads[] = {"OUTPUT",    "FIELD",          "DID", "WOULD", "COMPARED",
                                        "DIFFERENT", "MEAN DIFFERENCE"};
    struct table table = {.columns = sizeof heads / sizeof heads[0]};
    for (size_t i = 0; i < table.columns; i++)
        table_add_text(&table, heads[i]);
    for (size_t i = 0; i < s->count; i++) {
        const struct shadow_sum *sum = &s->list[i];
        if (!is_telling(sum))
            continue;
        table_add(&table, sum->stream, sum->stream_len);
        table_add(&table, sum->field, sum->field_len);
        add_number(&table, sum->did);
        add_number(&table, sum->would);
        add_number(&table, (double)sum->compared);
        add_number(&table, (double)sum->difference_count);
        add_number(&table, mean_of(sum));
    }
    if (table.cells > table.columns) {
        buf_append_text(out, "\n");
        table_print(&table, out, 0, is_coloured);
    }
    table_fini(&table);
}

/* -- JSON -- */

static void append_number(struct buf *out, const char *name, double number)
{
    if (number - number == 0) /* JSON has no infinity and no nan */
        buf_printf(out, ",\"%s\":%.17g", name, number);
    else
        buf_printf(out, ",\"%s\":null", name);
}

static void append_sum(struct buf *out, const struct shadow_sum *sum)
{
    buf_append_text(out, "{\"output\":");
    escape_json(out, sum->stream, sum->stream_len);
    buf_append_text(out, ",\"field\":");
    escape_json(out, sum->field, sum->field_len);
    append_number(out, "did", sum->did);
    append_number(out, "would", sum->would);
    append_number(out, "compared", (double)sum->compared);
    append_number(out, "different", (double)sum->difference_count);
    append_number(out, "mean_difference", mean_of(sum));
    buf_append_text(out, "}");
}

void shadow_sums_append_json(const struct shadow_sums *s, const char *name, struct buf *out)
{
    buf_append_text(out, "{\"rule\":");
    escape_json(out, name, strlen(name));
    buf_append_text(out, ",\"of\":");
    if (s->of.len > 0)
        escape_json(out, s->of.bytes, s->of.len);
    else
        buf_append_text(out, "null");
    append_number(out, "kept", (double)s->kept);
    append_number(out, "same", (double)s->verdicts[SHADOW_IS_SAME]);
    append_number(out, "different", (double)s->verdicts[SHADOW_IS_DIFFERENT]);
    append_number(out, "only_would", (double)s->verdicts[SHADOW_IS_ONLY_WOULD]);
    append_number(out, "only_did", (double)s->verdicts[SHADOW_IS_ONLY_DID]);
    append_number(out, "failed", (double)s->failed);
    buf_append_text(out, ",\"fields\":[");
    for (size_t i = 0; i < s->count; i++) {
        buf_append_text(out, i > 0 ? "," : "");
        append_sum(out, &s->list[i]);
    }
    buf_append_text(out, "]}\n");
}
