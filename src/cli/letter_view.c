/* letter_view.c: see letter_view.h. */
#include "cli/letter_view.h"

#include "base/escape.h"
#include "base/utc.h"
#include "cli/entry.h"
#include "codec/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MOST = 200, NAME_WIDTH = 11 };

bool letter_view_read(struct letter_view *l, const struct keys *keys, const struct reply *entry,
                      bool is_retrying)
{
    if (entry->type != REPLY_ARRAY || entry->count != 2 ||
        entry->elements[0]->type != REPLY_STRING || entry->elements[1]->type != REPLY_ARRAY)
        return false;
    *l = (struct letter_view){.keys = keys,
                              .id = entry->elements[0],
                              .fields = entry->elements[1],
                              .is_retrying = is_retrying};
    return true;
}

const struct reply *letter_view_id(const struct letter_view *l)
{
    const struct reply *original = l->is_retrying ? reply_field(l->fields, "letter") : NULL;
    return original != NULL && original->type == REPLY_STRING ? original : l->id;
}

const char *letter_view_field(const struct letter_view *l, const char *name, size_t *len)
{
    const struct reply *value = reply_field(l->fields, name);
    bool is_there = value != NULL && value->type == REPLY_STRING;
    *len = is_there ? value->len : 0;
    return is_there ? value->text : "";
}

static bool field_is(const struct letter_view *l, const char *name, const char *text)
{
    size_t len;
    const char *value = letter_view_field(l, name, &len);
    return text == NULL || (strlen(text) == len && memcmp(value, text, len) == 0);
}

bool letter_view_is_wanted(const struct letter_view *l, const struct config *config)
{
    return field_is(l, "rule", config->dlq.rule) && field_is(l, "reason", config->dlq.reason);
}

/* Milliseconds up to `stop` as a moment; false when they are none. */
static bool take_moment(const char **at, char stop, char text[UTC_LEN])
{
    char *end;
    if (**at < '0' || **at > '9')
        return false;
    unsigned long long ms = strtoull(*at, &end, 10);
    if (*end != stop)
        return false;
    utc_format(ms, text);
    *at = stop == '\0' ? end : end + 1;
    return true;
}

/* The moment of `at`, or - when it is no time. */
static void describe_moment(const struct letter_view *l, char text[UTC_LEN])
{
    size_t len;
    const char *at = letter_view_field(l, "at", &len);
    if (!take_moment(&at, '\0', text))
        snprintf(text, UTC_LEN, "-");
}

/* What failed, for people: an entry's ID, or a timer or window that fired, whose `id` is when it
 * was due. */
struct failed {
    const char *kind;  /* "entry", "timer" or "window" */
    struct buf name;   /* of entries: the ID; of windows: START to STOP */
    char due[UTC_LEN]; /* "" for entries */
};

static void describe_failed(const struct letter_view *l, struct failed *out)
{
    size_t timer_len, window_len, id_len;
    const char *timer = letter_view_field(l, "timer", &timer_len),
               *window = letter_view_field(l, "window", &window_len),
               *id = letter_view_field(l, "id", &id_len), *at = window;
    char start[UTC_LEN], stop[UTC_LEN];
    *out = (struct failed){.kind = timer_len > 0 ? "timer" : window_len > 0 ? "window" : "entry"};
    if (timer_len > 0)
        buf_append(&out->name, timer, timer_len);
    else if (window_len > 0 && take_moment(&at, '-', start) && take_moment(&at, '\0', stop))
        buf_printf(&out->name, "%s to %s", start, stop);
    else if (window_len > 0)
        buf_append(&out->name, window, window_len);
    if (timer_len + window_len == 0)
        buf_append(&out->name, id, id_len);
    else if (!take_moment(&id, '\0', out->due))
        snprintf(out->due, sizeof out->due, "%s", id);
}

/* -- The table -- */

void letter_view_add_heading(struct table *table, bool has_partition)
{
    static const char *const names[] = {"ID",     "WHEN",  "RULE",  "REASON",
                                        "STREAM", "ENTRY", "TRIES", "STATUS"};
    table->columns = sizeof names / sizeof names[0] + 1 + has_partition;
    if (has_partition)
        table_add_text(table, "PARTITION");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        table_add_text(table, names[i]);
    table_add_text(table, "MESSAGE");
}

static void add_field(const struct letter_view *l, struct table *table, const char *name)
{
    size_t len;
    const char *value = letter_view_field(l, name, &len);
    table_add(table, value, len);
}

/* "timer remind due 2026-…" stands where an entry has its ID. */
static void add_failed(const struct letter_view *l, struct table *table)
{
    struct failed failed;
    struct buf cell = {0};
    describe_failed(l, &failed);
    if (failed.kind[0] != 'e')
        buf_printf(&cell, "%s ", failed.kind);
    escape_text(&cell, failed.name.data, failed.name.len);
    if (failed.kind[0] == 't' && failed.due[0] != '\0')
        buf_printf(&cell, " due %s", failed.due);
    table_add(table, cell.data, cell.len);
    buf_fini(&cell);
    buf_fini(&failed.name);
}

void letter_view_add_row(const struct letter_view *l, struct table *table, bool has_partition)
{
    char moment[UTC_LEN];
    describe_moment(l, moment);
    if (has_partition)
        table_add(table, l->keys->tag.data, l->keys->tag.len);
    table_add(table, letter_view_id(l)->text, letter_view_id(l)->len);
    table_add_text(table, moment);
    add_field(l, table, "rule");
    add_field(l, table, "reason");
    add_field(l, table, "stream");
    add_failed(l, table);
    add_field(l, table, "attempts");
    table_add_text(table, l->is_retrying ? "retrying" : "dead");
    add_field(l, table, "message");
}

/* -- The raw event and the payload -- */

/* Appends "event":{…} or "fields":{…}; false when the letter has no event, as for timers and
 * windows. */
static bool append_event(const struct letter_view *l, int codec, struct buf *out)
{
    size_t len;
    const char *raw = letter_view_field(l, "event", &len);
    return entry_append_packed(out, codec, raw, len);
}

/* The number of a header line of the Redis protocol, `*3` or `$5`; false when there is none. */
static bool take_header(const char **at, const char *end, char kind, size_t *number)
{
    const char *p = *at;
    if (p == end || *p++ != kind)
        return false;
    *number = 0;
    for (; p < end && *p >= '0' && *p <= '9' && *number < UINT32_MAX; p++)
        *number = *number * 10 + (size_t)(*p - '0');
    if (end - p < 2 || p[0] != '\r' || p[1] != '\n')
        return false;
    *at = p + 2;
    return true;
}

/* A refused command is kept as it was sent: shown as an array of its words. */
static bool append_command(const char *bytes, size_t len, struct buf *out)
{
    const char *at = bytes, *end = bytes + len;
    size_t before = out->len, words, word;
    if (!take_header(&at, end, '*', &words) || words == 0)
        return false;
    for (size_t i = 0; i < words; i++) {
        if (!take_header(&at, end, '$', &word) || (size_t)(end - at) < word + 2) {
            out->len = before;
            return false;
        }
        buf_append(out, i == 0 ? "[" : ",", 1);
        escape_json(out, at, word);
        at += word + 2;
    }
    buf_append(out, "]", 1);
    return true;
}

/* A payload is a command, or one msgpack value; what is neither is shown as text. */
static void append_payload(const char *bytes, size_t len, struct buf *out)
{
    if (!append_command(bytes, len, out) &&
        json_from_msgpack(bytes, len, DEPTH_MOST, out, NULL) != 0)
        escape_json(out, bytes, len);
}

/* -- JSON -- */

static bool is_name(const struct reply *field, const char *name)
{
    return reply_is_text(field, name);
}

static bool is_number(const struct reply *value)
{
    return value->len > 0 && value->len < 16 && strspn(value->text, "0123456789") == value->len &&
           (value->text[0] != '0' || value->len == 1);
}

static void append_json_field(const struct letter_view *l, int codec, const struct reply *field,
                              const struct reply *value, struct buf *out)
{
    if (is_name(field, "letter")) /* said already */
        return;
    if (is_name(field, "event")) {
        size_t before = out->len;
        buf_append(out, ",", 1);
        if (append_event(l, codec, out))
            return;
        out->len = before;
        if (value->len == 0)
            return;
    }
    buf_append(out, ",", 1);
    escape_json(out, field->text, field->len);
    buf_append(out, ":", 1);
    bool may_count = is_name(field, "at") || is_name(field, "attempts") || is_name(field, "size");
    if (is_name(field, "payload") && value->len > 0)
        append_payload(value->text, value->len, out);
    else if (may_count && is_number(value))
        buf_append(out, value->text, value->len);
    else
        escape_json(out, value->text, value->len);
}

void letter_view_append_json(const struct letter_view *l, int codec, struct buf *out)
{
    buf_append_text(out, "{\"letter\":");
    escape_json(out, letter_view_id(l)->text, letter_view_id(l)->len);
    buf_append_text(out, ",\"partition\":");
    if (l->keys->tag.len == 0)
        buf_append_text(out, "null");
    else
        escape_json(out, l->keys->tag.data, l->keys->tag.len);
    buf_printf(out, ",\"retrying\":%s", l->is_retrying ? "true" : "false");
    for (uint32_t i = 0; i + 1 < l->fields->count; i += 2)
        append_json_field(l, codec, l->fields->elements[i], l->fields->elements[i + 1], out);
    buf_append_text(out, "}\n");
}

/* -- Text -- */

static void append_line(struct buf *out, const char *name, const void *bytes, size_t len)
{
    if (len == 0)
        return;
    buf_printf(out, "%-*s ", NAME_WIDTH, name);
    escape_text(out, bytes, len);
    buf_append(out, "\n", 1);
}

/* Lines stay lines, below their name. */
static void append_block(struct buf *out, const char *name, const char *bytes, size_t len)
{
    if (len == 0)
        return;
    buf_printf(out, "%s\n", name);
    while (len > 0) {
        const char *feed = memchr(bytes, '\n', len);
        size_t line = feed == NULL ? len : (size_t)(feed - bytes);
        buf_append_text(out, "  ");
        escape_text(out, bytes, line);
        buf_append(out, "\n", 1);
        line += feed != NULL;
        bytes += line;
        len -= line;
    }
}

static void append_event_line(const struct letter_view *l, int codec, struct buf *out)
{
    struct buf event = {0};
    if (append_event(l, codec, &event)) {
        const char *colon = memchr(event.data, ':', event.len);
        size_t name_len = (size_t)(colon - event.data);
        bool is_event = name_len == sizeof "\"event\"" - 1;
        append_line(out, is_event ? "event" : "fields", colon + 1, event.len - name_len - 1);
    }
    buf_fini(&event);
}

static void append_fields(const struct letter_view *l, const char *const *names, size_t count,
                          struct buf *out)
{
    for (size_t i = 0; i < count; i++) {
        size_t len;
        const char *value = letter_view_field(l, names[i], &len);
        append_line(out, names[i], value, len);
    }
}

static void append_failed(const struct letter_view *l, struct buf *out)
{
    struct failed failed;
    describe_failed(l, &failed);
    append_line(out, failed.kind, failed.name.data, failed.name.len);
    append_line(out, "due", failed.due, strlen(failed.due));
    buf_fini(&failed.name);
}

void letter_view_append_text(const struct letter_view *l, int codec, struct buf *out)
{
    static const char *const before[] = {"rule", "version", "reason", "stream"};
    static const char *const behind[] = {"attempts", "key", "size"};
    char moment[UTC_LEN];
    struct buf payload = {0};
    size_t len;
    const char *value;
    describe_moment(l, moment);
    append_line(out, "letter", letter_view_id(l)->text, letter_view_id(l)->len);
    append_line(out, "status", l->is_retrying ? "retrying" : "dead", l->is_retrying ? 8 : 4);
    append_line(out, "partition", l->keys->tag.data, l->keys->tag.len);
    append_line(out, "when", moment, strlen(moment));
    append_fields(l, before, sizeof before / sizeof before[0], out);
    append_failed(l, out);
    append_fields(l, behind, sizeof behind / sizeof behind[0], out);
    value = letter_view_field(l, "payload", &len);
    if (len > 0)
        append_payload(value, len, &payload);
    append_line(out, "payload", payload.data, payload.len);
    buf_fini(&payload);
    append_event_line(l, codec, out);
    value = letter_view_field(l, "message", &len);
    append_block(out, "message", value, len);
    value = letter_view_field(l, "traceback", &len);
    append_block(out, "traceback", value, len);
}

bool letter_view_parse_id(const char *text, unsigned long long *ms, unsigned long long *sequence)
{
    char rest;
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || strspn(text, "0123456789-") != strlen(text))
        return false;
    *sequence = 0;
    if (text[digits] == '\0')
        return sscanf(text, "%llu%c", ms, &rest) == 1;
    return sscanf(text, "%llu-%llu%c", ms, sequence, &rest) == 2;
}
