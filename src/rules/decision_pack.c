/* decision_pack.c: of decision_pack.lua what most records are made of, in C: an effect, and a
 * decision that is nothing but a call that ran or an event that was passed over.
 *
 * Why not in Lua: what stands in a decision differs from one to the next, and each difference is a
 * branch, and a trace of its own. Of a small share of the events it never got warm: measured, 36 µs
 * for each. The test kit has no C and uses the Lua, which has the other forms as well. */
#include "rules/bridge_inside.h"
#include "rules/kernel_calls.h"

#include "redis/command.h"

/* As in decision_pack.lua. */
enum { VALUE_MOST = 8192, LIST_MOST = 20, TEXT_MOST = 1024 };

/* ── effects ─────────────────────────────────────────────────────────────────────────────────── */

static uint8_t *put_word(uint8_t *at, struct command_word word)
{
    return at + pack_string(at, word.bytes, (uint32_t)word.len);
}

static uint8_t *put_name(uint8_t *at, const char *name)
{
    return put_word(at, (struct command_word){name, strlen(name)});
}

/* Cut as decision_pack.lua cuts. */
static uint8_t *put_text(uint8_t *at, struct command_word word)
{
    static const char more[] = " ...";
    char text[TEXT_MOST + sizeof more];
    if (word.len <= TEXT_MOST)
        return put_word(at, word);
    memcpy(text, word.bytes, TEXT_MOST);
    memcpy(text + TEXT_MOST, more, sizeof more);
    return put_word(at, (struct command_word){text, TEXT_MOST + sizeof more - 1});
}

static uint8_t *put_bytes(uint8_t *at, const void *bytes, size_t len)
{
    memcpy(at, bytes, len);
    return at + len;
}

static uint8_t *put_list(uint8_t *at, size_t count)
{
    if (count < 16) {
        *at++ = (uint8_t)(0x90 + count);
    } else {
        *at++ = 0xdc;
        *at++ = 0;
        *at++ = (uint8_t)count;
    }
    return at;
}

static uint8_t *put_command(uint8_t *at, const char *words)
{
    size_t count = command_count(&words);
    count = count < LIST_MOST ? count : LIST_MOST;
    at = put_list(put_name(at, "command"), count);
    for (size_t i = 0; i < count; i++)
        at = put_text(at, command_next(&words));
    return at;
}

static uint8_t *put_emit(uint8_t *at, struct command_word stream, struct command_word event)
{
    uint8_t first = event.len > 0 ? (uint8_t)event.bytes[0] : 0;
    at = put_text(put_name(at, "stream"), stream);
    if (event.len > VALUE_MOST) {
        at = put_name(at, "event_size");
        return at + pack_number(at, (double)event.len);
    }
    if ((first & 0xf0) != 0x80 && first != 0xde && first != 0xdf)
        return put_word(put_name(at, "json"), event);
    return put_bytes(put_name(at, "event"), event.bytes, event.len);
}

uint32_t pack_effect(uint8_t *start, const char *command, size_t len)
{
    struct command_word stream, event;
    bool is_emit = command_is_emit(command, len, &stream, &event);
    *start = is_emit ? 0x82 : 0x81;
    uint8_t *end = is_emit ? put_emit(start + 1, stream, event) : put_command(start + 1, command);
    return (uint32_t)(end - start);
}

/* ── a decision ──────────────────────────────────────────────────────────────────────────────── */

static uint8_t *put_number(uint8_t *at, double number)
{
    return at + pack_number(at, number);
}

static uint8_t *put_state(uint8_t *at, const struct plain_decision *d)
{
    static const uint8_t nil = 0xc0;
    *at++ = d->before != NULL ? 0x83 : 0x82;
    at = put_name(at, "before");
    at = d->before != NULL ? put_bytes(at, d->before, d->before_len) : put_bytes(at, &nil, 1);
    if (d->before != NULL)
        at = put_number(put_name(at, "version"), d->version);
    at = put_name(at, "after");
    return d->after != NULL ? put_bytes(at, d->after, d->after_len) : put_bytes(at, &nil, 1);
}

/* The effects of its entry and rule, from the first to the last; others may lie between. */
static uint8_t *put_effects(uint8_t *at, const struct bridge *b, const struct plain_decision *d)
{
    const struct effect *first = &b->view.effects[d->first_effect], *effect = first;
    uint32_t left = d->effect_count < LIST_MOST ? d->effect_count : LIST_MOST;
    at = put_list(put_name(at, "effects"), left);
    for (; left > 0; effect++) {
        if (effect->entry != first->entry || effect->rule != first->rule || effect->len == 0)
            continue;
        at += pack_effect(at, bridge_effect_bytes(b, effect), effect->len);
        left--;
    }
    if (d->effect_count > LIST_MOST)
        at = put_number(put_name(at, "effects_count"), d->effect_count);
    return at;
}

uint32_t pack_decision(const struct bridge *b, uint8_t *start, const struct plain_decision *d)
{
    uint8_t *at = put_bytes(start + 1, d->lead, d->lead_len);
    bool has_state = d->before != NULL || d->after != NULL;
    at = put_number(put_name(at, "us"), d->us);
    if (d->text != NULL)
        at = put_text(put_name(at, d->is_ran ? "key" : "why"),
                      (struct command_word){d->text, d->text_len});
    if (has_state)
        at = put_state(put_name(at, "state"), d);
    if (d->effect_count > 0)
        at = put_effects(at, b, d);
    *start = (uint8_t)(0x80 + 4 + (d->text != NULL) + has_state + (d->effect_count > 0) +
                       (d->effect_count > LIST_MOST));
    return (uint32_t)(at - start);
}
