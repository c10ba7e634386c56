/* shadow_record.c: see shadow_record.h. */
#include "batch/shadow_record.h"

#include "codec/json.h"
#include "redis/command.h"

#include <msgpack/pack.h>
#include <string.h>

enum { JSON_DEPTH = 200 };

/* ── effects ─────────────────────────────────────────────────────────────────────────────────── */

static int write_packed(void *data, const char *bytes, size_t len)
{
    buf_append(data, bytes, len);
    return 0;
}

static bool is_map(struct command_word word)
{
    unsigned char first = word.len > 0 ? (unsigned char)word.bytes[0] : 0;
    return (first >= 0x80 && first <= 0x8f) || first == 0xde || first == 0xdf;
}

static void pack_word(msgpack_packer *packer, struct command_word word)
{
    msgpack_pack_str(packer, word.len);
    msgpack_pack_str_body(packer, word.bytes, word.len);
}

/* False: it has no event that could be shown. */
static bool pack_emit(struct buf *out, msgpack_packer *packer, struct command_word stream,
                      struct command_word payload)
{
    struct buf event = {0};
    bool is_json = payload.len > 0 && payload.bytes[0] == '{' &&
                   json_to_msgpack(payload.bytes, payload.len, JSON_DEPTH, &event, NULL) == 0;
    bool is_emit = is_json || is_map(payload);
    if (is_emit) {
        msgpack_pack_array(packer, 2);
        pack_word(packer, stream);
        buf_append(out, is_json ? event.data : payload.bytes, is_json ? event.len : payload.len);
    }
    buf_fini(&event);
    return is_emit;
}

void shadow_record_begin_effects(struct buf *out, uint32_t count)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, out, write_packed);
    msgpack_pack_array(&packer, count);
}

void shadow_record_pack_effect(struct buf *out, const char *command, size_t len)
{
    msgpack_packer packer;
    struct command_word stream, payload;
    msgpack_packer_init(&packer, out, write_packed);
    if (command_is_emit(command, len, &stream, &payload) &&
        pack_emit(out, &packer, stream, payload))
        return;
    size_t count = command_count(&command);
    msgpack_pack_array(&packer, count);
    for (size_t i = 0; i < count; i++)
        pack_word(&packer, command_next(&command));
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
    command_begin_entry(out, key, maxlen, pairs);
    for (size_t i = 0; i < COUNT; i++) {
        if (fields[i].len > 0)
            command_field(out, fields[i].name, fields[i].bytes, fields[i].len);
    }
}
