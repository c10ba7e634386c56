/* decision_view.c: see decision_view.h. Reading, and JSON; the page for people is decision_text.c.
 */
#include "cli/decision_view.h"

#include "base/escape.h"
#include "cli/decision_inside.h"
#include "cli/entry.h"
#include "cli/letter_view.h"
#include "codec/json.h"
#include "codec/msgpack.h"

#include <string.h>

static const char *const numbers[] = {"at", "size", "attempts", "left_out"};

/* -- Reading -- */

struct slice decision_field(const struct decision_view *v, const char *name)
{
    const struct reply *value = reply_field(v->fields, name);
    if (value == NULL || value->type != REPLY_STRING)
        return (struct slice){0};
    return (struct slice){value->text, value->len};
}

/* Only what is well formed is looked at by the parts that are bytes (slice.h). */
static bool is_msgpack(struct slice bytes)
{
    struct msgpack_limits limits = {.depth = DECISION_DEPTH_MOST, .elements = UINT32_MAX};
    struct tokens tokens = {0};
    bool is_good = msgpack_tokens(bytes.bytes, bytes.len, &limits, &tokens, NULL) == 0 &&
                   tokens.list[0].type == TOKEN_ARRAY;
    tokens_fini(&tokens);
    return is_good;
}

bool decision_view_read(struct decision_view *v, const struct keys *keys, const struct reply *entry)
{
    if (entry->type != REPLY_ARRAY || entry->count != 2 ||
        entry->elements[0]->type != REPLY_STRING || entry->elements[1]->type != REPLY_ARRAY)
        return false;
    *v = (struct decision_view){
        .keys = keys, .id = entry->elements[0], .fields = entry->elements[1]};
    v->rules = decision_field(v, "rules");
    return v->rules.len > 0 && is_msgpack(v->rules);
}

static bool is_text(struct slice bytes, const char *text)
{
    size_t len = strlen(text);
    return bytes.len == len && (len == 0 || memcmp(bytes.bytes, text, len) == 0);
}

bool decision_view_is_of(const struct decision_view *v, const char *stream, unsigned long long ms,
                         unsigned long long sequence)
{
    unsigned long long its_ms, its_sequence;
    const struct reply *id = reply_field(v->fields, "id");
    return stream[0] != '\0' && is_text(decision_field(v, "stream"), stream) && id != NULL &&
           id->type == REPLY_STRING && letter_view_parse_id(id->text, &its_ms, &its_sequence) &&
           its_ms == ms && its_sequence == sequence;
}

bool decision_is_wanted(struct slice decision, const char *rule, const char *key)
{
    struct slice its_key = slice_find(decision, "key");
    return (rule == NULL || is_text(slice_text(slice_find(decision, "rule")), rule)) &&
           (key == NULL || (its_key.len > 0 && is_text(slice_text(its_key), key)));
}

bool decision_view_has(const struct decision_view *v, const char *rule, const char *key)
{
    struct slice items, decision;
    uint32_t count;
    if (!slice_open_array(v->rules, &items, &count))
        return false;
    while (count-- > 0 && slice_next(&items, &decision))
        if (decision_is_wanted(decision, rule, key))
            return true;
    return rule == NULL && key == NULL;
}

/* -- JSON -- */

void decision_append_value(struct slice value, struct buf *out)
{
    if (json_from_msgpack(value.bytes, value.len, DECISION_DEPTH_MOST, out, NULL) != 0)
        buf_append_text(out, "null");
}

static void append_rules(const struct decision_view *v, const struct decision_show *show,
                         struct buf *out)
{
    struct slice items = {0}, decision;
    uint32_t count = 0;
    bool is_first = true;
    buf_append_text(out, "[");
    slice_open_array(v->rules, &items, &count);
    while (count-- > 0 && slice_next(&items, &decision)) {
        if (!decision_is_wanted(decision, show->rule, show->key))
            continue;
        buf_append_text(out, is_first ? "" : ",");
        decision_append_value(decision, out);
        is_first = false;
    }
    buf_append_text(out, "]");
}

static bool is_number(const struct reply *name)
{
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (reply_is_text(name, numbers[i]))
            return true;
    return false;
}

static void append_field(const struct decision_view *v, const struct decision_show *show,
                         const struct reply *name, const struct reply *value, struct buf *out)
{
    size_t before = out->len;
    bool is_stream = reply_is_text(name, "stream");
    if (is_stream && value->len == 0)
        return;
    buf_append_text(out, ",");
    if (reply_is_text(name, "event")) {
        if (!entry_append_packed(out, show->codec, value->text, value->len))
            out->len = before;
        return;
    }
    escape_json(out, name->text, name->len);
    buf_append_text(out, ":");
    if (reply_is_text(name, "rules"))
        append_rules(v, show, out);
    else if (is_number(name) && value->len > 0 && strspn(value->text, "0123456789") == value->len)
        buf_append(out, value->text, value->len);
    else
        escape_json(out, value->text, value->len);
}

void decision_view_append_json(const struct decision_view *v, const struct decision_show *show,
                               struct buf *out)
{
    buf_append_text(out, "{\"record\":");
    escape_json(out, v->id->text, v->id->len);
    buf_append_text(out, ",\"partition\":");
    if (v->keys->tag.len == 0)
        buf_append_text(out, "null");
    else
        escape_json(out, v->keys->tag.data, v->keys->tag.len);
    for (uint32_t i = 0; i + 1 < v->fields->count; i += 2)
        append_field(v, show, v->fields->elements[i], v->fields->elements[i + 1], out);
    buf_append_text(out, "}\n");
}
