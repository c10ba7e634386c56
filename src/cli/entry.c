/* entry.c: see entry.h. The rules of `auto` are those of the engine (design 3.2). */
#include "cli/entry.h"

#include "base/escape.h"
#include "codec/json.h"
#include "codec/msgpack.h"

#include <stdbool.h>
#include <stdint.h>

enum { DEPTH_MOST = 200 };

static bool looks_like_msgpack(const struct entry_text *value)
{
    uint8_t first = value->len > 0 ? (uint8_t)value->bytes[0] : 0;
    return (first >= 0x80 && first <= 0x8f) || first == 0xde || first == 0xdf;
}

static bool looks_like_json(const struct entry_text *value)
{
    return value->len > 0 && value->bytes[0] == '{';
}

static void append_fields(struct buf *out, const char *name, const struct entry_text *texts,
                          size_t count)
{
    buf_printf(out, "\"%s\":{", name);
    for (size_t i = 0; i + 1 < count; i += 2) {
        if (i > 0)
            buf_append(out, ",", 1);
        escape_json(out, texts[i].bytes, texts[i].len);
        buf_append(out, ":", 1);
        escape_json(out, texts[i + 1].bytes, texts[i + 1].len);
    }
    buf_append(out, "}", 1);
}

/* JSON passes through msgpack: so it is checked, and comes out in one line. */
static bool append_decoded(struct buf *out, bool is_json, const struct entry_text *value)
{
    struct buf packed = {0};
    struct buf text = {0};
    bool is_good =
        !is_json || json_to_msgpack(value->bytes, value->len, DEPTH_MOST, &packed, NULL) == 0;
    if (is_good && is_json)
        is_good = json_from_msgpack(packed.data, packed.len, DEPTH_MOST, &text, NULL) == 0;
    else if (is_good)
        is_good = json_from_msgpack(value->bytes, value->len, DEPTH_MOST, &text, NULL) == 0;
    if (is_good) {
        buf_append_text(out, "\"event\":");
        buf_append(out, text.data, text.len);
    }
    buf_fini(&packed);
    buf_fini(&text);
    return is_good;
}

void entry_append_json(struct buf *out, int codec, const struct entry_text *texts, size_t count)
{
    const struct entry_text *value = &texts[1];
    bool is_alone = count == 2;
    bool is_msgpack =
        is_alone && looks_like_msgpack(value) && (codec == CODEC_AUTO || codec == CODEC_MSGPACK);
    bool is_json =
        is_alone && looks_like_json(value) && (codec == CODEC_AUTO || codec == CODEC_JSON);
    if (is_msgpack || is_json) {
        if (!append_decoded(out, is_json, value))
            append_fields(out, "fields", texts, count);
        return;
    }
    append_fields(out, codec == CODEC_AUTO || codec == CODEC_FIELDS ? "event" : "fields", texts,
                  count);
}

bool entry_append_packed(struct buf *out, int codec, const void *packed, size_t len)
{
    static const struct msgpack_limits limits = {.depth = 1, .elements = UINT32_MAX};
    struct tokens tokens = {0};
    struct buf texts = {0};
    bool is_good = len > 0 && msgpack_tokens(packed, len, &limits, &tokens, NULL) == 0 &&
                   tokens.list[0].type == TOKEN_ARRAY && tokens.list[0].len % 2 == 0 &&
                   tokens.list[0].len > 0;
    for (uint32_t i = 1; is_good && i < tokens.count; i++) {
        struct entry_text text = {tokens.list[i].bytes, tokens.list[i].len};
        is_good = tokens.list[i].type == TOKEN_STRING;
        buf_append(&texts, &text, sizeof text);
    }
    if (is_good)
        entry_append_json(out, codec, (struct entry_text *)(void *)texts.data, tokens.list[0].len);
    tokens_fini(&tokens);
    buf_fini(&texts);
    return is_good;
}
