/* shadow_record.c: see shadow_record.h. */
#include "batch/shadow_record.h"

#include "codec/json.h"
#include "redis/command.h"

#include <assert.h>
#include <msgpack/pack.h>
#include <stdlib.h>
#include <string.h>

enum { EMIT_WORDS = 5 /* at least: XADD STREAM * data EVENT */, JSON_DEPTH = 200 };

/* ── effects ─────────────────────────────────────────────────────────────────────────────────── */

struct word {
    const char *bytes;
    size_t len;
};

static int write_packed(void *data, const char *bytes, size_t len)
{
    buf_append(data, bytes, len);
    return 0;
}

/* At "*3\r\n" or "$3\r\n": the number, and moves on behind it. The bytes are ours. */
static size_t take_number(const char **at)
{
    char *rest;
    size_t number = strtoul(*at + 1, &rest, 10);
    assert(rest[0] == '\r' && rest[1] == '\n');
    *at = rest + 2;
    return number;
}

static struct word take_word(const char **at)
{
    struct word word = {.len = take_number(at)};
    word.bytes = *at;
    *at += word.len + 2;
    return word;
}

static bool is_word(struct word word, const char *text)
{
    return word.len == strlen(text) && memcmp(word.bytes, text, word.len) == 0;
}

static bool is_map(struct word word)
{
    unsigned char first = word.len > 0 ? (unsigned char)word.bytes[0] : 0;
    return (first >= 0x80 && first <= 0x8f) || first == 0xde || first == 0xdf;
}

static void pack_word(msgpack_packer *packer, struct word word)
{
    msgpack_pack_str(packer, word.len);
    msgpack_pack_str_body(packer, word.bytes, word.len);
}

/* False: it is no emit. `last`: its last three words. */
static bool pack_emit(struct buf *out, msgpack_packer *packer, struct word stream,
                      const struct word *last)
{
    struct buf event = {0};
    if (!is_word(last[0], "*") || !is_word(last[1], "data"))
        return false;
    bool is_json = last[2].len > 0 && last[2].bytes[0] == '{' &&
                   json_to_msgpack(last[2].bytes, last[2].len, JSON_DEPTH, &event, NULL) == 0;
    bool is_emit = is_json || is_map(last[2]);
    if (is_emit) {
        msgpack_pack_array(packer, 2);
        pack_word(packer, stream);
        buf_append(out, is_json ? event.data : last[2].bytes, is_json ? event.len : last[2].len);
    }
    buf_fini(&event);
    return is_emit;
}

void shadow_record_pack_effect(struct buf *out, const char *command, size_t len)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, out, write_packed);
    const char *at = command;
    size_t count = take_number(&at);
    const char *first = at;
    struct word word, stream = {0}, last[3] = {{0}};
    bool may_emit = false;
    for (size_t i = 0; i < count; i++) {
        word = take_word(&at);
        if (i == 0)
            may_emit = is_word(word, "XADD") && count >= EMIT_WORDS;
        else if (i == 1)
            stream = word;
        if (i + 3 >= count)
            last[i + 3 - count] = word;
    }
    assert(at == command + len);
    if (may_emit && pack_emit(out, &packer, stream, last))
        return;
    msgpack_pack_array(&packer, count);
    at = first;
    for (size_t i = 0; i < count; i++)
        pack_word(&packer, take_word(&at));
}

/* ── the command ─────────────────────────────────────────────────────────────────────────────── */

struct field {
    const char *name, *bytes;
    size_t len;
};

static struct field field_of(const char *name, const char *text)
{
    return (struct field){name, text, text != NULL ? strlen(text) : 0};
}

void shadow_record_append(struct buf *out, const char *key, int64_t maxlen,
                          const struct shadow_record *d)
{
    const struct field fields[] = {
        field_of("stream", d->stream),
        field_of("id", d->id),
        {"timer", d->timer, d->timer_len},
        {"window", d->window, d->window_len},
        {"key", d->key, d->key_len},
        field_of("version", d->would.version),
        field_of("of", d->did.name),
        field_of("of_version", d->did.version),
        {"would", d->would.effects, d->would.effects_len},
        {"did", d->did.effects, d->did.effects_len},
        field_of("same", d->is_same ? "1" : "0"),
        field_of("reason", d->would.reason),
        field_of("message", d->would.message),
        field_of("traceback", d->would.traceback),
        field_of("did_reason", d->did.reason),
        field_of("did_message", d->did.message),
    };
    enum { COUNT = sizeof fields / sizeof fields[0] };
    size_t pairs = 0;
    for (size_t i = 0; i < COUNT; i++)
        pairs += fields[i].len > 0;
    command_begin(out, 6 + 2 * pairs);
    command_argument_text(out, "XADD");
    command_argument_text(out, key);
    command_argument_text(out, "MAXLEN");
    command_argument_text(out, "~");
    command_argument_number(out, maxlen);
    command_argument_text(out, "*");
    for (size_t i = 0; i < COUNT; i++) {
        if (fields[i].len == 0)
            continue;
        command_argument_text(out, fields[i].name);
        command_argument(out, fields[i].bytes, fields[i].len);
    }
}
