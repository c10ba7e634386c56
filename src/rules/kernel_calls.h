/* kernel_calls.h: what the kernel calls through FFI, declared once more in engine.lua. Nobody else
 * may: hence not in bridge.h. */
#ifndef TIDEMILL_RULES_KERNEL_CALLS_H
#define TIDEMILL_RULES_KERNEL_CALLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bridge;
struct buf;
struct state_slot;
struct timer;

void bridge_note(struct bridge *b, uint32_t i);
int32_t bridge_decode(struct bridge *b, uint32_t i);
struct state_slot *bridge_find(struct bridge *b, uint32_t rule, const char *key, size_t len);
void bridge_want(struct bridge *b, uint32_t rule, const char *key, size_t len);
int32_t bridge_state_tokens(struct bridge *b, struct state_slot *slot);
void bridge_put(struct bridge *b, struct state_slot *slot, const void *bytes, uint32_t len,
                uint32_t head, double expiry_ms, uint32_t version);
void bridge_emit(struct bridge *b, uint32_t rule, uint32_t ordinal, const char *head,
                 size_t head_len, const void *payload, size_t len);
void bridge_letter(struct bridge *b, uint32_t i, const char *rule, const char *version,
                   const char *reason, const char *message, const char *traceback, const char *key,
                   size_t key_len, const char *payload, size_t payload_len);
/* The record of an entry: its decisions in msgpack, how many more there were, and why it could not
 * be decoded ("" and "": it could). */
void bridge_decision(struct bridge *b, uint32_t i, const void *decisions, size_t len,
                     uint32_t left_out, const char *reason, const char *message);
/* Appends an effect, a command as bytes of the protocol, as a decision has it (decision_pack.lua).
 * Returns the bytes written: at most 21 KiB, whatever it is. */
uint32_t pack_effect(uint8_t *at, const char *command, size_t len);
/* A decision of which there is nothing to say but this: its map, in at most 450 KiB. */
struct plain_decision {
    const char *lead; /* its first fields, packed: rule, version, outcome */
    size_t lead_len;
    double us;
    bool is_ran;      /* or filtered */
    const char *text; /* the key, or why it was filtered; NULL: there is none */
    size_t text_len;
    const char *before, *after; /* states, packed; NULL: there was none */
    size_t before_len, after_len;
    uint32_t version; /* of `before` */
    uint32_t first_effect, effect_count;
};
uint32_t pack_decision(const struct bridge *b, uint8_t *at, const struct plain_decision *d);
/* The token of the value of a field of the event, the last one of this name; -1: it has none. */
int32_t bridge_field(struct bridge *b, const char *name, size_t len);
bool bridge_is_refused(struct bridge *b, uint32_t i, uint32_t rule, uint32_t ordinal);
void bridge_effect(struct bridge *b, uint32_t rule, uint32_t ordinal, const void *command,
                   size_t len);
/* Of the effect that was added last: bridge_effect_key. */
void bridge_note_key(struct bridge *b, const char *key, size_t len);
/* Brings the effects into their order, those taken back left out: bridge_effects. */
void bridge_order(struct bridge *b);
/* What a shadow rule, or the one that it would replace, wanted of an entry: the batch's effects
 * first … first + count - 1, or why it failed. */
struct shadow_side {
    uint32_t rule; /* 0: there is none */
    uint32_t first, count;
    const char *reason, *message, *traceback; /* NULL: it did not fail */
    const char *key;                          /* of one that failed: its effects know theirs */
    size_t key_len;
};
/* Appends a record of a shadow rule on entry i, beside the rule that it would replace. Not 0: both
 * failed for the same reason or not at all, and wanted the same values. (An int: LuaJIT compiles no
 * call that returns a bool at the top of a trace.) */
int bridge_shadow(struct bridge *b, uint32_t i, const struct shadow_side *would,
                  const struct shadow_side *did);
/* The effects of a side, as a record has them (shadow_record.h); until the next call. */
const struct buf *bridge_shadow_effects(struct bridge *b, const struct shadow_side *side);
/* Timers and windows: `rule` is the number that states are kept under, `kind` one of enum
 * timer_kind. The first two, as bridge_put, only when the handler is done. */
void bridge_timer_set(struct bridge *b, uint32_t rule, uint32_t kind, const char *key,
                      size_t key_len, const char *name, size_t name_len, double due_ms,
                      const void *payload, size_t payload_len);
void bridge_timer_cancel(struct bridge *b, uint32_t rule, uint32_t kind, const char *key,
                         size_t key_len, const char *name, size_t name_len);
double bridge_timer_find(struct bridge *b, uint32_t rule, uint32_t kind, const char *key,
                         size_t key_len, const char *name, size_t name_len);
void bridge_timer_ask(struct bridge *b, uint32_t rule, uint32_t kind, const char *key,
                      size_t key_len, const char *name, size_t name_len);
/* timers_peek. */
bool bridge_timer_peek(struct bridge *b, uint32_t rule, uint32_t kind, uint32_t number,
                       struct timer *out);
/* Takes the earliest of a queue: it fires as view.fired[k], before entry `before`. Returns k; -1:
 * the queue must be loaded first. `index`: of the rule. */
int32_t bridge_fire(struct bridge *b, uint32_t rule, uint32_t kind, uint32_t index, uint32_t before,
                    double clock_ms);
/* At the end of a batch: the newest event time of a rule's stream, or (stream 0) its watermark. */
void bridge_seen(struct bridge *b, uint32_t rule, uint32_t stream, double ms);
double bridge_clock(void);
double bridge_cpu_us(void);
double bridge_cpu_about_us(void); /* clock_cpu_about_us */

/* pack.c says why they are here. `at` has room for the bytes and 9 more; returns those written. */
uint32_t pack_number(uint8_t *at, double number);
uint32_t pack_string(uint8_t *at, const char *text, uint32_t len);

/* FNV-1a, as rulebook.lua has it for where there is no C: that takes seconds for a large folder. */
uint32_t version_hash(const char *text, size_t len);

void tell_line(const char *level, const char *rule, const char *version, const char *text);
void tell_failing(const char *rule, const char *version, bool is_failing, const char *reason,
                  const char *message);
void tell_fed_back(const char *rule, const char *version, const char *stream);

#endif
