/* bridge_decisions.c: the records that tell why rules decided as they did, as commands of the
 * batch's own transaction. What stands in `rules` is made by the kernel (decision_pack.lua). */
#include "rules/bridge_inside.h"
#include "rules/kernel_calls.h"

#include "redis/command.h"

#include <stdio.h>

enum {
    EVENT_MOST = 16 << 10, /* bytes of an event that a record keeps */
    /* As in decision_pack.lua: */
    VALUE_MOST = 8192,
    LIST_MOST = 20,
    TEXT_MOST = 1024
};

/* ── effects ─────────────────────────────────────────────────────────────────────────────────── */

/* The number of a line such as "$12\r\n" at `*at`, which moves behind it. */
static size_t take_number(const char **at)
{
    size_t number = 0;
    for (++*at; **at != '\r'; ++*at)
        number = number * 10 + (size_t)(**at - '0');
    *at += 2;
    return number;
}

struct word {
    const char *text;
    size_t len;
};

static struct word take_word(const char **at)
{
    struct word word = {.len = take_number(at)};
    word.text = *at;
    *at += word.len + 2;
    return word;
}

static bool word_is(struct word word, const char *text)
{
    return word.len == strlen(text) && memcmp(word.text, text, word.len) == 0;
}

static uint8_t *put_word(uint8_t *at, struct word word)
{
    return at + pack_string(at, word.text, (uint32_t)word.len);
}

static uint8_t *put_name(uint8_t *at, const char *name)
{
    return put_word(at, (struct word){name, strlen(name)});
}

/* Cut as decision_pack.lua cuts. */
static uint8_t *put_text(uint8_t *at, struct word word)
{
    static const char more[] = " ...";
    char text[TEXT_MOST + sizeof more];
    if (word.len <= TEXT_MOST)
        return put_word(at, word);
    memcpy(text, word.text, TEXT_MOST);
    memcpy(text + TEXT_MOST, more, sizeof more);
    return put_word(at, (struct word){text, TEXT_MOST + sizeof more - 1});
}

static uint8_t *put_command(uint8_t *at, const char *words, size_t count)
{
    at = put_name(at, "command");
    count = count < LIST_MOST ? count : LIST_MOST;
    if (count < 16) {
        *at++ = (uint8_t)(0x90 + count);
    } else {
        *at++ = 0xdc;
        *at++ = 0;
        *at++ = (uint8_t)count;
    }
    for (size_t i = 0; i < count; i++)
        at = put_text(at, take_word(&words));
    return at;
}

static uint8_t *put_emit(uint8_t *at, struct word stream, struct word event)
{
    uint8_t first = event.len > 0 ? (uint8_t)event.text[0] : 0;
    at = put_text(put_name(at, "stream"), stream);
    if (event.len > VALUE_MOST) {
        at = put_name(at, "event_size");
        return at + pack_number(at, (double)event.len);
    }
    if ((first & 0xf0) != 0x80 && first != 0xde && first != 0xdf)
        return put_word(put_name(at, "json"), event);
    at = put_name(at, "event");
    memcpy(at, event.text, event.len);
    return at + event.len;
}

uint32_t pack_effect(uint8_t *start, const char *command, size_t len)
{
    const char *words = command;
    size_t count = take_number(&words);
    const char *at = words;
    struct word stream = {0}, word = {0}, before = {0}, last_but_two = {0};
    bool is_add = false;
    assert(count > 0);
    for (size_t i = 0; i < count; i++) {
        last_but_two = before;
        before = word;
        word = take_word(&at);
        if (i == 0)
            is_add = word_is(word, "XADD");
        if (i == 1)
            stream = word;
    }
    assert(at == command + len);
    bool is_emit =
        is_add && count > 3 && word_is(before, "data") && word_is(last_but_two, "*");
    *start = is_emit ? 0x82 : 0x81;
    uint8_t *end =
        is_emit ? put_emit(start + 1, stream, word) : put_command(start + 1, words, count);
    return (uint32_t)(end - start);
}

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

static void add(struct buf *out, const char *name, const void *bytes, size_t len)
{
    command_argument_text(out, name);
    command_argument(out, bytes, len);
}

static void add_text(struct buf *out, const char *name, const char *text)
{
    add(out, name, text, strlen(text));
}

static void add_number(struct buf *out, const char *name, uint64_t number)
{
    command_argument_text(out, name);
    command_argument_number(out, (long long)number);
}

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
    add_text(out, "stream", about->stream);
    add_text(out, "id", about->id);
    if (about->timer != NULL)
        add(out, "timer", about->timer, about->timer_len);
    if (about->window != NULL)
        add(out, "window", about->window, about->window_len);
    if (entry->stream == 0) {
        add_text(out, "rule", about->rule);
        add(out, "key", about->key, about->key_len);
    } else if (entry->size > EVENT_MOST) {
        add_number(out, "size", entry->size);
    } else {
        b->effect_value.len = 0;
        letter_pack_fields(&b->effect_value, entry->fields);
        add(out, "event", b->effect_value.data, b->effect_value.len);
    }
    if (entry->attempts > 0)
        add_number(out, "attempts", entry->attempts);
}

static void begin_record(struct bridge *b, size_t fields)
{
    struct buf *out = &b->decisions;
    command_begin(out, 6 + 2 * fields);
    command_argument_text(out, "XADD");
    command_argument_text(out, b->decisions_key);
    command_argument_text(out, "MAXLEN");
    command_argument_text(out, "~");
    command_argument_number(out, b->options.record_maxlen);
    command_argument_text(out, "*");
    b->decision_count++;
}

void bridge_decision(struct bridge *b, uint32_t i, const void *decisions, size_t len,
                     uint32_t left_out, const char *reason, const char *message)
{
    const struct batch_entry *entry = bridge_entry(b, i);
    struct bridge_described texts;
    struct letter about = {.key = ""};
    bool has_reason = reason[0] != '\0';
    bridge_describe(b, b->book, entry, entry->only, &about, &texts);
    begin_record(b, count_subject(entry, &about) + 2 + 2 * has_reason + (left_out > 0));
    add_subject(b, entry, &about);
    add_number(&b->decisions, "at", about.at_ms);
    if (has_reason) {
        add_text(&b->decisions, "reason", reason);
        add_text(&b->decisions, "message", message);
    }
    if (left_out > 0)
        add_number(&b->decisions, "left_out", left_out);
    add(&b->decisions, "rules", decisions, len);
}

const struct buf *bridge_decisions(const struct bridge *b, uint32_t *count)
{
    *count = b->decision_count;
    return &b->decisions;
}
