/* events.c: see events.h. */
#include "replay/events.h"

#include "codec/json.h"
#include "replay/packed.h"

#include <stdlib.h>
#include <string.h>

enum { DEPTH_MOST = 200 };

static const uint64_t first_ms = UINT64_C(1700000000000);

/* What a line says. */
struct line {
    struct span id, stream;     /* len 0: not said */
    struct span event;          /* a map */
    bool has_id, is_raw_fields; /* is_raw_fields: it came as "fields" */
};

void events_init(struct events *e, const struct config *config, const char *stream)
{
    *e = (struct events){
        .config = config, .stream = stream, .streams = names_create(), .last_ms = first_ms - 1};
}

void events_fini(struct events *e)
{
    if (e->streams != NULL)
        names_destroy(e->streams);
    free(e->rows);
    free(e->last);
    arena_fini(&e->memory);
    buf_fini(&e->scratch);
    *e = (struct events){0};
}

/* A map with an "event" or "fields" in it and at most "id" and "stream" besides is what `tail`
 * prints; any other is the event itself. */
static void read_line(struct span map, struct line *line)
{
    struct packed_walk walk = {0};
    struct span key, value, name;
    struct line wrapped = {0};
    *line = (struct line){.event = map};
    while (packed_next(&walk, map, &key, &value)) {
        bool is_fields = packed_text(key, &name) && span_is_text(name, "fields");
        if (is_fields || span_is_text(name, "event")) {
            if (!packed_is_map(value) || wrapped.event.len > 0)
                return;
            wrapped.event = value;
            wrapped.is_raw_fields = is_fields;
        } else if (span_is_text(name, "id")) {
            wrapped.has_id = true;
            if (!packed_text(value, &wrapped.id))
                wrapped.id = (struct span){"", 0};
        } else if (span_is_text(name, "stream")) {
            if (!packed_text(value, &wrapped.stream))
                return;
        } else {
            return;
        }
    }
    if (wrapped.event.len > 0)
        *line = wrapped;
}

static bool is_text_only(struct span map)
{
    struct packed_walk walk = {0};
    struct span key, value, text;
    size_t count = 0;
    while (packed_next(&walk, map, &key, &value)) {
        if (!packed_text(value, &text))
            return false;
        count++;
    }
    return count > 0;
}

/* Would its sole value be decoded? */
static bool looks_decodable(struct span map)
{
    struct packed_walk walk = {0};
    struct span key, value, text;
    if (!packed_next(&walk, map, &key, &value) || !packed_text(value, &text) || text.len == 0)
        return false;
    unsigned char first = (unsigned char)text.bytes[0];
    bool is_sole = !packed_next(&walk, map, &key, &value);
    return is_sole &&
           (first == '{' || (first >= 0x80 && first <= 0x8f) || first == 0xde || first == 0xdf);
}

static bool is_plain(const struct line *line, int codec)
{
    if (line->is_raw_fields)
        return is_text_only(line->event);
    if (codec == CODEC_FIELDS)
        return is_text_only(line->event);
    return codec == CODEC_AUTO && is_text_only(line->event) && !looks_decodable(line->event);
}

static int find_id(struct events *e, const struct line *line, uint32_t stream, const char *name,
                   struct stream_id *id, struct error *error)
{
    *id = (struct stream_id){.ms = e->last_ms + 1};
    if (line->has_id && !stream_id_parse(line->id.bytes, line->id.len, id))
        return error_set(error, ERROR_FORMAT,
                         "\"id\" must be an entry ID such as \"1700000000000-0\"");
    if (stream > e->last_count) {
        e->last = realloc(e->last, stream * sizeof *e->last);
        if (e->last == NULL)
            abort();
        while (e->last_count < stream)
            e->last[e->last_count++] = (struct stream_id){0};
    }
    struct stream_id *last = &e->last[stream - 1];
    if (stream_id_compare(*id, *last) <= 0) {
        char before[STREAM_ID_TEXT], text[STREAM_ID_TEXT];
        stream_id_format(*last, before);
        stream_id_format(*id, text);
        return error_set(error, ERROR_FORMAT,
                         "the ID %s is not behind %s, the one before it in %s: the events of a "
                         "stream must be in the order of their IDs",
                         text, before, name);
    }
    *last = *id;
    e->has_made_ids |= !line->has_id;
    if (id->ms > e->last_ms)
        e->last_ms = id->ms;
    return 0;
}

static const char *copy(struct events *e, struct span bytes)
{
    return memcpy(arena_alloc(&e->memory, bytes.len), bytes.bytes, bytes.len);
}

static void add_row(struct events *e, struct event_row row)
{
    if (e->count == e->cap) {
        e->cap = e->cap > 0 ? e->cap * 2 : 4096;
        e->rows = realloc(e->rows, e->cap * sizeof *e->rows);
        if (e->rows == NULL)
            abort();
    }
    e->rows[e->count++] = row;
}

static bool is_blank(const char *text, size_t len)
{
    return strspn(text, " \t\r") >= len;
}

int events_add(struct events *e, const char *text, size_t len, struct error *error)
{
    struct line line;
    struct stream_id id;
    while (len > 0 && strchr(" \t\r", text[len - 1]) != NULL)
        len--;
    if (len == 0 || is_blank(text, len))
        return 0;
    e->scratch.len = 0;
    if (json_to_msgpack(text, len, DEPTH_MOST, &e->scratch, error) != 0)
        return error->code = ERROR_FORMAT;
    struct span map = {e->scratch.data, e->scratch.len};
    if (!packed_is_map(map))
        return error_set(error, ERROR_FORMAT, "an event is a JSON object, {...}");
    read_line(map, &line);
    if (line.stream.len == 0 && e->stream == NULL)
        return error_set(error, ERROR_USAGE,
                         "this event does not say which stream it is of; give it with --stream");
    const char *name = line.stream.len > 0 ? line.stream.bytes : e->stream;
    size_t name_len = line.stream.len > 0 ? line.stream.len : strlen(e->stream);
    uint32_t stream = names_number(e->streams, name, name_len);
    int failed = find_id(e, &line, stream, names_text(e->streams, stream, NULL), &id, error);
    if (failed != 0)
        return failed;
    int codec = config_stream_codec(e->config, name, name_len);
    add_row(e, (struct event_row){.id = id,
                                  .packed = copy(e, line.event),
                                  .len = (uint32_t)line.event.len,
                                  .stream = stream,
                                  .is_plain_fields = is_plain(&line, codec)});
    return 0;
}
