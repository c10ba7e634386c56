/* replay_lines.c: what rules wanted, one JSON object a line, with whose it is: the entry, or the
 * timer or window that fired, the rule, the key. */
#include "base/escape.h"
#include "cli/output.h"
#include "cli/replay.h"
#include "codec/json.h"

enum { WRITE_BYTES = 256 * 1024, DEPTH_MOST = 512 };

void replay_lines_init(struct replay_lines *l, struct run *run)
{
    *l = (struct replay_lines){.run = run};
}

void replay_lines_fini(struct replay_lines *l)
{
    wishes_fini(&l->wishes);
    buf_fini(&l->out);
    buf_fini(&l->scratch);
}

static void add_text(struct buf *out, const char *name, struct span text)
{
    buf_append_text(out, "\"");
    buf_append_text(out, name);
    buf_append_text(out, "\":");
    escape_json(out, text.bytes, text.len);
}

static void add_subject(struct replay_lines *l, const struct wish *wish)
{
    struct buf *out = &l->out;
    char window[64];
    if (wish->entry != NULL) {
        const char *stream = rulebook_stream_name(l->run->book, wish->entry->stream);
        char id[STREAM_ID_TEXT];
        stream_id_format((struct stream_id){(uint64_t)wish->entry->ms, wish->entry->seq}, id);
        buf_append_text(out, "{\"id\":\"");
        buf_append_text(out, id);
        buf_append_text(out, "\",");
        add_text(out, "stream", (struct span){stream, strlen(stream)});
        return;
    }
    buf_printf(out, "{\"id\":\"%.0f\",", wish->fired->entry.ms);
    if (wish->fired->kind != TIMER_WINDOW) {
        add_text(out, "timer", (struct span){wish->fired->name, wish->fired->name_len});
        return;
    }
    wish_window(wish->fired, window, sizeof window);
    add_text(out, "window", (struct span){window, strlen(window)});
}

static void add_letter(struct buf *out, const struct words *words)
{
    buf_append_text(out, "\"letter\":{");
    add_text(out, "reason", words_field(words, WISH_LETTER_FIELDS, "reason"));
    buf_append_text(out, ",");
    add_text(out, "message", words_field(words, WISH_LETTER_FIELDS, "message"));
    buf_append_text(out, "}");
}

/* False: it is no emit after all. */
static bool add_emit(struct replay_lines *l, const struct words *words)
{
    struct span stream, payload, map;
    size_t before = l->out.len;
    if (!words_emit(words, &stream, &payload) || !tally_payload(payload, &l->scratch, &map))
        return false;
    buf_append_text(&l->out, "\"emit\":{");
    add_text(&l->out, "stream", stream);
    buf_append_text(&l->out, ",\"event\":");
    if (json_from_msgpack(map.bytes, map.len, DEPTH_MOST, &l->out, NULL) != 0) {
        l->out.len = before;
        return false;
    }
    buf_append_text(&l->out, "}");
    return true;
}

static void add_command(struct buf *out, const struct words *words)
{
    buf_append_text(out, "\"command\":[");
    for (size_t i = 0; i < words->count; i++) {
        if (i > 0)
            buf_append_text(out, ",");
        escape_json(out, words->list[i].bytes, words->list[i].len);
    }
    buf_append_text(out, "]");
}

static void on_wish(void *context, const struct wish *wish)
{
    struct replay_lines *l = context;
    const char *rule = rulebook_rule_name(l->run->book, wish->rule);
    add_subject(l, wish);
    buf_append_text(&l->out, ",");
    add_text(&l->out, "rule", (struct span){rule, strlen(rule)});
    buf_append_text(&l->out, ",");
    add_text(&l->out, "key", wish->key);
    buf_append_text(&l->out, ",");
    if (wish->is_letter)
        add_letter(&l->out, wish->words);
    else if (!add_emit(l, wish->words))
        add_command(&l->out, wish->words);
    buf_append_text(&l->out, "}\n");
}

int replay_lines_batch(struct replay_lines *l, const struct batch_entry *entries, uint32_t count,
                       struct error *error)
{
    wishes_each(&l->wishes, l->run->bridge, entries, count, on_wish, l);
    return l->out.len >= WRITE_BYTES ? output_write(&l->out, error) : 0;
}
