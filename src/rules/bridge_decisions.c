/* bridge_decisions.c: the records that tell why rules decided as they did, as commands of the
 * batch's own transaction. What stands in `rules` is made by the kernel (decision_pack.lua). */
#include "rules/bridge_inside.h"
#include "rules/kernel_calls.h"

#include "redis/command.h"

#include <stdio.h>

enum {
    EVENT_MOST = 16 << 10 /* bytes of an event that a record keeps */
};

/* ── why an event was passed over ────────────────────────────────────────────────────────────── */

static bool is_named(const struct token *key, const char *name, size_t len)
{
    char text[sizeof "-9223372036854775808"];
    if (key->type == TOKEN_STRING)
        return key->len == len && memcmp(key->bytes, name, len) == 0;
    if (key->type == TOKEN_INT64)
        snprintf(text, sizeof text, "%lld", (long long)key->i64);
    else if (key->type == TOKEN_UINT64)
        snprintf(text, sizeof text, "%llu", (unsigned long long)key->u64);
    else
        return false;
    return strlen(text) == len && memcmp(text, name, len) == 0;
}

int32_t bridge_field(struct bridge *b, const char *name, size_t len)
{
    const struct token *list = b->view.event_tokens.list;
    int32_t found = -1;
    uint32_t at = 1;
    for (uint32_t i = 0; i < list[0].len; i++) {
        uint32_t value = at + list[at].size;
        if (is_named(&list[at], name, len))
            found = (int32_t)value;
        at = value + list[value].size;
    }
    return found;
}

/* ── records ─────────────────────────────────────────────────────────────────────────────────── */

/* How many fields add_subject adds. */
static size_t count_subject(const struct batch_entry *entry, const struct letter *about)
{
    return 2u + (about->timer != NULL) + (about->window != NULL) + (entry->stream == 0 ? 2 : 1) +
           (entry->attempts > 0);
}

/* Of an entry its fields, or only their size when they are too large to be kept; of what fired
 * whose it was. */
static void add_subject(struct bridge *b, const struct batch_entry *entry,
                        const struct letter *about)
{
    struct buf *out = &b->decisions;
    command_field_text(out, "stream", about->stream);
    command_field_text(out, "id", about->id);
    if (about->timer != NULL)
        command_field(out, "timer", about->timer, about->timer_len);
    if (about->window != NULL)
        command_field(out, "window", about->window, about->window_len);
    if (entry->stream == 0) {
        command_field_text(out, "rule", about->rule);
        command_field(out, "key", about->key, about->key_len);
    } else if (entry->size > EVENT_MOST) {
        command_field_number(out, "size", (long long)entry->size);
    } else {
        b->event.len = 0;
        letter_pack_fields(&b->event, entry->fields);
        command_field(out, "event", b->event.data, b->event.len);
    }
    if (entry->attempts > 0)
        command_field_number(out, "attempts", (long long)entry->attempts);
}

void bridge_decision(struct bridge *b, uint32_t i, const void *decisions, size_t len,
                     uint32_t left_out, const char *reason, const char *message)
{
    const struct batch_entry *entry = bridge_entry(b, i);
    struct bridge_described texts;
    struct letter about = {.key = ""};
    bool has_reason = reason[0] != '\0';
    bridge_describe(b, b->book, entry, entry->only, &about, &texts);
    command_begin_entry(&b->decisions, b->decisions_key, b->options.record_maxlen,
                        count_subject(entry, &about) + 2 + 2 * has_reason + (left_out > 0));
    b->decision_count++;
    add_subject(b, entry, &about);
    command_field_number(&b->decisions, "at", (long long)about.at_ms);
    if (has_reason) {
        command_field_text(&b->decisions, "reason", reason);
        command_field_text(&b->decisions, "message", message);
    }
    if (left_out > 0)
        command_field_number(&b->decisions, "left_out", (long long)left_out);
    command_field(&b->decisions, "rules", decisions, len);
}

const struct buf *bridge_decisions(const struct bridge *b, uint32_t *count)
{
    *count = b->decision_count;
    return &b->decisions;
}
