/* shadow_view.c: see shadow_view.h. */
#include "cli/shadow_view.h"

#include "base/escape.h"
#include "cli/letter_view.h"
#include "codec/equal.h"
#include "codec/json.h"

#include <stdio.h>
#include <string.h>

enum { DEPTH_MOST = 200 };

static const char *const names[SHADOW_FIELDS] = {
    [SHADOW_STREAM] = "stream",
    [SHADOW_ID] = "id",
    [SHADOW_TIMER] = "timer",
    [SHADOW_WINDOW] = "window",
    [SHADOW_KEY] = "key",
    [SHADOW_VERSION] = "version",
    [SHADOW_OF] = "of",
    [SHADOW_OF_VERSION] = "of_version",
    [SHADOW_WOULD] = "would",
    [SHADOW_DID] = "did",
    [SHADOW_SAME] = "same",
    [SHADOW_REASON] = "reason",
    [SHADOW_MESSAGE] = "message",
    [SHADOW_TRACEBACK] = "traceback",
    [SHADOW_DID_REASON] = "did_reason",
    [SHADOW_DID_MESSAGE] = "did_message",
};

static struct shadow_text no_text(void)
{
    return (struct shadow_text){"", 0};
}

bool shadow_view_read(struct shadow_view *v, const struct keys *keys, const struct reply *entry)
{
    if (entry->type != REPLY_ARRAY || entry->count != 2 ||
        entry->elements[1]->type != REPLY_ARRAY ||
        !letter_view_parse_id(entry->elements[0]->text, &v->ms, &v->sequence))
        return false;
    v->keys = keys;
    for (size_t f = 0; f < SHADOW_FIELDS; f++)
        v->fields[f] = no_text();
    const struct reply *fields = entry->elements[1];
    for (uint32_t i = 0; i + 1 < fields->count; i += 2)
        for (size_t f = 0; f < SHADOW_FIELDS; f++)
            if (reply_is_text(fields->elements[i], names[f]))
                v->fields[f] = (struct shadow_text){fields->elements[i + 1]->text,
                                                    fields->elements[i + 1]->len};
    return true;
}

struct shadow_view shadow_view_copy(const struct shadow_view *v, struct arena *arena)
{
    struct shadow_view copy = *v;
    for (size_t f = 0; f < SHADOW_FIELDS; f++) {
        if (v->fields[f].len == 0)
            continue;
        char *bytes = arena_alloc(arena, v->fields[f].len);
        copy.fields[f].bytes = memcpy(bytes, v->fields[f].bytes, v->fields[f].len);
    }
    return copy;
}

/* -- What it says -- */

static bool is_text(struct shadow_text text, const char *other)
{
    return text.len == strlen(other) && memcmp(text.bytes, other, text.len) == 0;
}

/* No effects, and no failure. */
static bool wanted_nothing(const struct shadow_view *v, enum shadow_field effects,
                           enum shadow_field reason)
{
    return v->fields[reason].len == 0 &&
           (v->fields[effects].len == 0 || is_text(v->fields[effects], "\x90"));
}

enum shadow_verdict shadow_view_verdict(const struct shadow_view *v)
{
    if (is_text(v->fields[SHADOW_SAME], "1"))
        return SHADOW_IS_SAME;
    if (wanted_nothing(v, SHADOW_WOULD, SHADOW_REASON))
        return SHADOW_IS_ONLY_DID;
    if (wanted_nothing(v, SHADOW_DID, SHADOW_DID_REASON))
        return SHADOW_IS_ONLY_WOULD;
    return SHADOW_IS_DIFFERENT;
}

const char *shadow_verdict_name(enum shadow_verdict verdict)
{
    static const char *const texts[SHADOW_VERDICTS] = {
        [SHADOW_IS_SAME] = "same",
        [SHADOW_IS_DIFFERENT] = "different",
        [SHADOW_IS_ONLY_WOULD] = "only would",
        [SHADOW_IS_ONLY_DID] = "only did",
    };
    return texts[verdict];
}

/* -- Halves -- */

bool shadow_view_is_half(const struct shadow_view *v)
{
    enum shadow_verdict verdict = shadow_view_verdict(v);
    return (v->fields[SHADOW_TIMER].len > 0 || v->fields[SHADOW_WINDOW].len > 0) &&
           (verdict == SHADOW_IS_ONLY_WOULD || verdict == SHADOW_IS_ONLY_DID);
}

static int compare_texts(struct shadow_text a, struct shadow_text b)
{
    int order = memcmp(a.bytes, b.bytes, a.len < b.len ? a.len : b.len);
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

int shadow_view_compare_halves(const struct shadow_view *a, const struct shadow_view *b)
{
    static const enum shadow_field what[] = {SHADOW_TIMER, SHADOW_WINDOW, SHADOW_ID, SHADOW_KEY};
    for (size_t i = 0; i < sizeof what / sizeof what[0]; i++) {
        int order = compare_texts(a->fields[what[i]], b->fields[what[i]]);
        if (order != 0)
            return order;
    }
    return 0;
}

struct shadow_view shadow_view_join(const struct shadow_view *a, const struct shadow_view *b)
{
    static const enum shadow_field theirs[] = {SHADOW_DID, SHADOW_DID_REASON, SHADOW_DID_MESSAGE};
    bool is_would = shadow_view_verdict(a) == SHADOW_IS_ONLY_WOULD;
    const struct shadow_view *would = is_would ? a : b, *did = is_would ? b : a;
    struct shadow_view joined = *would;
    joined.ms = a->ms;
    joined.sequence = a->sequence;
    for (size_t i = 0; i < sizeof theirs / sizeof theirs[0]; i++)
        joined.fields[theirs[i]] = did->fields[theirs[i]];
    bool same = compare_texts(would->fields[SHADOW_REASON], did->fields[SHADOW_DID_REASON]) == 0 &&
                msgpack_is_equal(would->fields[SHADOW_WOULD].bytes, would->fields[SHADOW_WOULD].len,
                                 did->fields[SHADOW_DID].bytes, did->fields[SHADOW_DID].len);
    joined.fields[SHADOW_SAME] = (struct shadow_text){same ? "1" : "0", 1};
    return joined;
}

/* -- The table -- */

void shadow_view_add_heading(struct table *table, bool has_partition)
{
    static const char *const heads[] = {"ID", "KEY", "VERDICT", "WOULD", "DID"};
    enum { COUNT = sizeof heads / sizeof heads[0] };
    table->columns = COUNT + has_partition;
    if (has_partition)
        table_add_text(table, "PARTITION");
    for (size_t i = 0; i < COUNT; i++)
        table_add_text(table, heads[i]);
}

/* The entry, or "timer remind 1700000000000": when it was due. */
static void add_what(const struct shadow_view *v, struct table *table)
{
    struct buf what = {0};
    static const enum shadow_field fired[] = {SHADOW_TIMER, SHADOW_WINDOW};
    for (size_t i = 0; i < sizeof fired / sizeof fired[0]; i++) {
        if (v->fields[fired[i]].len == 0)
            continue;
        buf_printf(&what, "%s ", names[fired[i]]);
        buf_append(&what, v->fields[fired[i]].bytes, v->fields[fired[i]].len);
        buf_append_text(&what, " ");
    }
    buf_append(&what, v->fields[SHADOW_ID].bytes, v->fields[SHADOW_ID].len);
    table_add(table, what.data, what.len);
    buf_fini(&what);
}

/* Effects as their JSON, without the brackets around all of them; or why there are none. */
static void add_effects(const struct shadow_view *v, struct table *table, enum shadow_field effects,
                        enum shadow_field reason, enum shadow_field message)
{
    struct buf text = {0};
    if (v->fields[reason].len > 0) {
        buf_append(&text, v->fields[reason].bytes, v->fields[reason].len);
        buf_append_text(&text, ": ");
        buf_append(&text, v->fields[message].bytes, v->fields[message].len);
        table_add(table, text.data, text.len);
    } else if (json_from_msgpack(v->fields[effects].bytes, v->fields[effects].len, DEPTH_MOST,
                                 &text, NULL) == 0 &&
               text.len >= 2) {
        table_add(table, text.data + 1, text.len - 2);
    } else {
        table_add_text(table, "");
    }
    buf_fini(&text);
}

void shadow_view_add_row(const struct shadow_view *v, struct table *table, bool has_partition)
{
    if (has_partition)
        table_add(table, v->keys->tag.data, v->keys->tag.len);
    add_what(v, table);
    table_add(table, v->fields[SHADOW_KEY].bytes, v->fields[SHADOW_KEY].len);
    table_add_text(table, shadow_verdict_name(shadow_view_verdict(v)));
    add_effects(v, table, SHADOW_WOULD, SHADOW_REASON, SHADOW_MESSAGE);
    add_effects(v, table, SHADOW_DID, SHADOW_DID_REASON, SHADOW_DID_MESSAGE);
}

/* -- JSON -- */

static void append_value(const struct shadow_view *v, enum shadow_field f, struct buf *out)
{
    struct shadow_text text = v->fields[f];
    if (f == SHADOW_SAME)
        buf_append_text(out, is_text(text, "1") ? "true" : "false");
    else if ((f != SHADOW_WOULD && f != SHADOW_DID) ||
             json_from_msgpack(text.bytes, text.len, DEPTH_MOST, out, NULL) != 0)
        escape_json(out, text.bytes, text.len);
}

void shadow_view_append_json(const struct shadow_view *v, struct buf *out)
{
    buf_printf(out, "{\"record\":\"%llu-%llu\",\"partition\":", v->ms, v->sequence);
    if (v->keys->tag.len == 0)
        buf_append_text(out, "null");
    else
        escape_json(out, v->keys->tag.data, v->keys->tag.len);
    for (enum shadow_field f = 0; f < SHADOW_FIELDS; f++) {
        if (v->fields[f].len == 0)
            continue;
        buf_printf(out, ",\"%s\":", names[f]);
        append_value(v, f, out);
    }
    buf_append_text(out, "}\n");
}
