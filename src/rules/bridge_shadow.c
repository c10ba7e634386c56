/* bridge_shadow.c: what shadow rules would have done (runtime/tidemill/shadow.lua decides what
 * belongs together), as commands for the commit. */
#include "rules/bridge_inside.h"
#include "rules/kernel_calls.h"

#include "batch/shadow_record.h"

const struct buf *bridge_effect_value(struct bridge *b, uint32_t number)
{
    assert(number < b->view.effect_count);
    const struct effect *effect = &b->view.effects[number];
    b->effect_value.len = 0;
    shadow_record_pack_effect(&b->effect_value, bridge_effect_bytes(b, effect), effect->len);
    return &b->effect_value;
}

static struct shadow_record_side side_of(const struct bridge *b, const struct shadow_side *side)
{
    return (struct shadow_record_side){
        .name = rulebook_rule_name(b->book, side->rule),
        .version = rulebook_rule_version(b->book, side->rule),
        .effects = side->effects,
        .effects_len = side->len,
        .reason = side->reason,
        .message = side->message,
        .traceback = side->traceback,
    };
}

void bridge_shadow(struct bridge *b, uint32_t i, const struct shadow_side *would,
                   const struct shadow_side *did, bool is_same, const char *key, size_t key_len)
{
    struct bridge_described texts;
    struct letter entry = {.key = key, .key_len = key_len};
    bridge_describe(b, b->book, bridge_entry(b, i), would->rule, &entry, &texts);
    struct shadow_record record = {
        .stream = entry.stream,
        .id = entry.id,
        .key = entry.key,
        .key_len = entry.key_len,
        .timer = entry.timer,
        .timer_len = entry.timer_len,
        .window = entry.window,
        .window_len = entry.window_len,
        .would = side_of(b, would),
        .did = side_of(b, did),
        .is_same = is_same,
    };
    /* The name of a shadow rule begins with "shadow:", and so this is …:shadow:RULE. */
    struct buf stream = {0};
    buf_printf(&stream, "%s%s", b->prefix, record.would.name);
    shadow_record_append(&b->shadow_records, buf_text(&stream),
                         rulebook_config(b->book)->shadow_maxlen, &record);
    buf_fini(&stream);
    b->shadow_count++;
}

const struct buf *bridge_shadow_records(const struct bridge *b, uint32_t *count)
{
    *count = b->shadow_count;
    return &b->shadow_records;
}
