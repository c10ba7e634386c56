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

void letter_append(struct buf *out, const char *dlq_key, int64_t maxlen,
                   const struct letter *letter)
{
    struct buf event = {0};
    if (letter->fields != NULL && letter->size == 0)
        letter_pack_fields(&event, letter->fields);
    size_t pairs = 12 + (letter->size > 0) + (letter->timer != NULL) + (letter->window != NULL);
    command_begin(out, 3 + (maxlen > 0 ? 3 : 0) + 2 * pairs);
    command_argument_text(out, "XADD");
    command_argument_text(out, dlq_key);
    if (maxlen > 0) {
        command_argument_text(out, "MAXLEN");
        command_argument_text(out, "~");
        command_argument_number(out, maxlen);
    }
    command_argument_text(out, "*");
    add(out, "event", event.data, event.len);
    if (letter->size > 0)
        add_number(out, "size", letter->size);
    add_text(out, "stream", letter->stream);
    add_text(out, "id", letter->id);
    if (letter->timer != NULL)
        add(out, "timer", letter->timer, letter->timer_len);
    if (letter->window != NULL)
        add(out, "window", letter->window, letter->window_len);
    add_text(out, "rule", letter->rule);
    add_text(out, "version", letter->version);
    add_text(out, "reason", letter->reason);
    add_text(out, "message", letter->message);
    add_text(out, "traceback", letter->traceback);
    add_number(out, "at", letter->at_ms);
    add_number(out, "attempts", letter->attempts);
    add(out, "key", letter->key, letter->key_len);
    add(out, "payload", letter->payload, letter->payload_len);
    buf_fini(&event);
}
