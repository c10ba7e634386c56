/* bridge_shadow.c: what shadow rules would have done (runtime/tidemill/shadow.lua decides what
 * belongs together), as commands for the commit. */
#include "rules/bridge_inside.h"
#include "rules/kernel_calls.h"

#include "batch/shadow_record.h"
#include "codec/equal.h"

#include <string.h>

static void pack_effects(const struct bridge *b, const struct shadow_side *side, struct buf *out)
{
    out->len = 0;
    shadow_record_begin_effects(out, side->count);
    for (uint32_t i = 0; i < side->count; i++) {
        const struct effect *effect = &b->view.effects[side->first + i];
        shadow_record_pack_effect(out, bridge_effect_bytes(b, effect), effect->len);
    }
}

static bool has_same_reason(const struct shadow_side *a, const struct shadow_side *b)
{
    if (a->reason == NULL || b->reason == NULL)
        return a->reason == b->reason;
    return strcmp(a->reason, b->reason) == 0;
}

static const char *key_of(const struct bridge *b, const struct shadow_side *side, size_t *len)
{
    if (side->count > 0)
        return bridge_effect_key(b, &b->view.effects[side->first], len);
    *len = side->key_len;
    return side->key;
}

static struct shadow_record_side side_of(const struct bridge *b, const struct shadow_side *side,
                                         const struct buf *effects)
{
    return (struct shadow_record_side){
        .name = rulebook_rule_name(b->book, side->rule),
        .version = rulebook_rule_version(b->book, side->rule),
        .effects = effects->data,
        .effects_len = effects->len,
        .reason = side->reason,
        .message = side->message,
        .traceback = side->traceback,
    };
}

int bridge_shadow(struct bridge *b, uint32_t i, const struct shadow_side *would,
                  const struct shadow_side *did)
{
    bool is_would = would->count > 0 || would->reason != NULL;
    struct bridge_described texts;
    struct letter entry = {0};
    assert(would->first + would->count <= b->view.effect_count &&
           did->first + did->count <= b->view.effect_count);
    entry.key = key_of(b, is_would ? would : did, &entry.key_len);
    bridge_describe(b, b->book, bridge_entry(b, i), would->rule, &entry, &texts);
    pack_effects(b, would, &b->would);
    pack_effects(b, did, &b->did);
    struct shadow_record record = {
        .stream = entry.stream,
        .id = entry.id,
        .key = entry.key,
        .key_len = entry.key_len,
        .timer = entry.timer,
        .timer_len = entry.timer_len,
        .window = entry.window,
        .window_len = entry.window_len,
        .would = side_of(b, would, &b->would),
        .did = side_of(b, did, &b->did),
        .is_same = has_same_reason(would, did) &&
                   msgpack_is_equal(b->would.data, b->would.len, b->did.data, b->did.len),
    };
    /* The name of a shadow rule begins with "shadow:", and so this is …:shadow:RULE. */
    b->shadow_key.len = 0;
    buf_append_text(&b->shadow_key, b->prefix);
    buf_append_text(&b->shadow_key, record.would.name);
    shadow_record_append(&b->shadow_records, buf_text(&b->shadow_key),
                         rulebook_config(b->book)->shadow_maxlen, &record);
    b->shadow_count++;
    return record.is_same;
}

const struct buf *bridge_shadow_effects(struct bridge *b, const struct shadow_side *side)
{
    pack_effects(b, side, &b->would);
    return &b->would;
}

const struct buf *bridge_shadow_records(const struct bridge *b, uint32_t *count)
{
    *count = b->shadow_count;
    return &b->shadow_records;
}
