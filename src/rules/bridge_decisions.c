/* bridge_decisions.c: the records that tell why rules decided as they did, as commands of the
 * batch's own transaction. What stands in `rules` is made by the kernel (decision_pack.lua). */
#include "rules/bridge_inside.h"
#include "rules/kernel_calls.h"

#include "base/clock.h"
#include "redis/command.h"

#include <stdio.h>

enum {
    EVENT_MOST = 16 << 10, /* bytes of an event that a record keeps */
    NUMBER_LEN = sizeof "-9223372036854775808"
};

/* Field and value pairs: written apart, because XADD says in front how many there are. */
struct pairs {
    struct buf bytes;
    size_t count;
};

static void add(struct pairs *p, const char *name, const void *bytes, size_t len)
{
    command_argument_text(&p->bytes, name);
    command_argument(&p->bytes, bytes, len);
    p->count++;
}

static void add_text(struct pairs *p, const char *name, const char *text)
{
    add(p, name, text, strlen(text));
}

static void add_number(struct pairs *p, const char *name, uint64_t number)
{
    char text[NUMBER_LEN];
    snprintf(text, sizeof text, "%llu", (unsigned long long)number);
    add_text(p, name, text);
}

/* Of an entry its fields, or only their size when they are too large to be kept; of what fired
 * whose it was. */
static void add_subject(struct pairs *p, const struct batch_entry *entry,
                        const struct letter *about)
{
    add_text(p, "stream", about->stream);
    add_text(p, "id", about->id);
    if (about->timer != NULL)
        add(p, "timer", about->timer, about->timer_len);
    if (about->window != NULL)
        add(p, "window", about->window, about->window_len);
    if (entry->stream == 0) {
        add_text(p, "rule", about->rule);
        add(p, "key", about->key, about->key_len);
    } else if (entry->size > EVENT_MOST) {
        add_number(p, "size", entry->size);
    } else {
        struct buf fields = {0};
        letter_pack_fields(&fields, entry->fields);
        add(p, "event", fields.data, fields.len);
        buf_fini(&fields);
    }
    if (entry->attempts > 0)
        add_number(p, "attempts", entry->attempts);
}

void bridge_decision(struct bridge *b, uint32_t i, const char *decisions, size_t len,
                     uint32_t left_out, const char *reason, const char *message)
{
    const struct batch_entry *entry = bridge_entry(b, i);
    struct bridge_described texts;
    struct letter about = {.key = ""};
    struct pairs p = {0};
    bridge_describe(b, b->book, entry, entry->only, &about, &texts);
    add_subject(&p, entry, &about);
    add_number(&p, "at", clock_wall_ms());
    if (reason[0] != '\0') {
        add_text(&p, "reason", reason);
        add_text(&p, "message", message);
    }
    if (left_out > 0)
        add_number(&p, "left_out", left_out);
    add(&p, "rules", decisions, len);

    struct buf *out = &b->decisions;
    command_begin(out, 6 + 2 * p.count);
    command_argument_text(out, "XADD");
    command_argument_text(out, b->decisions_key);
    command_argument_text(out, "MAXLEN");
    command_argument_text(out, "~");
    command_argument_number(out, b->options.record_maxlen);
    command_argument_text(out, "*");
    buf_append(out, p.bytes.data, p.bytes.len);
    b->decision_count++;
    buf_fini(&p.bytes);
}

const struct buf *bridge_decisions(const struct bridge *b, uint32_t *count)
{
    *count = b->decision_count;
    return &b->decisions;
}
