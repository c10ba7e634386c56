/* letter.c: see letter.h. */
#include "batch/letter.h"

#include "redis/command.h"

#include <msgpack/pack.h>
#include <stdio.h>

static int write_packed(void *data, const char *bytes, size_t len)
{
    buf_append(data, bytes, len);
    return 0;
}

void letter_pack_fields(struct buf *out, const struct reply *fields)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, out, write_packed);
    uint32_t count = fields != NULL && fields->type == REPLY_ARRAY ? fields->count : 0;
    msgpack_pack_array(&packer, count);
    for (uint32_t i = 0; i < count; i++) {
        const struct reply *text = fields->elements[i];
        size_t len = text->type == REPLY_STRING ? text->len : 0;
        msgpack_pack_str(&packer, len);
        if (len > 0)
            msgpack_pack_str_body(&packer, text->text, len);
    }
}

void letter_append(struct buf *out, const char *dlq_key, int64_t maxlen,
                   const struct letter *letter)
{
    struct buf event = {0};
    if (letter->fields != NULL && letter->size == 0)
        letter_pack_fields(&event, letter->fields);
    size_t pairs = 12 + (letter->size > 0) + (letter->timer != NULL) + (letter->window != NULL);
    command_begin_entry(out, dlq_key, maxlen, pairs);
    command_field(out, "event", event.data, event.len);
    if (letter->size > 0)
        command_field_number(out, "size", (long long)letter->size);
    command_field_text(out, "stream", letter->stream);
    command_field_text(out, "id", letter->id);
    if (letter->timer != NULL)
        command_field(out, "timer", letter->timer, letter->timer_len);
    if (letter->window != NULL)
        command_field(out, "window", letter->window, letter->window_len);
    command_field_text(out, "rule", letter->rule);
    command_field_text(out, "version", letter->version);
    command_field_text(out, "reason", letter->reason);
    command_field_text(out, "message", letter->message);
    command_field_text(out, "traceback", letter->traceback);
    command_field_number(out, "at", (long long)letter->at_ms);
    command_field_number(out, "attempts", (long long)letter->attempts);
    command_field(out, "key", letter->key, letter->key_len);
    command_field(out, "payload", letter->payload, letter->payload_len);
    buf_fini(&event);
}
