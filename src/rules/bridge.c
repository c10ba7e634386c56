/* bridge.c: the host of the kernel. The functions that the kernel calls through FFI stand at the
 * end (kernel_calls.h). */
#include "rules/bridge_inside.h"

#include "base/clock.h"
#include "base/log.h"
#include "codec/json.h"
#include "redis/command.h"
#include "rules/kernel_calls.h"
#include "rules/lua_functions.h"

#include <stdio.h>

const struct bridge_layout bridge_layout = {
    .view = sizeof(struct bridge_view),
    .entry = sizeof(struct batch_entry),
    .fired = sizeof(struct fired),
    .effect = sizeof(struct effect),
    .slot = sizeof(struct state_slot),
    .token = sizeof(struct token),
    .mark = sizeof(struct mark),
    .out_at = offsetof(struct bridge_view, out),
    .fault_at = offsetof(struct bridge_view, fault),
    .clock_at = offsetof(struct bridge_view, clock_ms),
    .entry_stream_at = offsetof(struct batch_entry, stream),
};

enum { WANT_KEYS_PER_COMMAND = 512, KEEP_BYTES = 1 << 20 };

/* ── life
 * ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
 */

/* Gives the bridge a record in the kernel of `book`. */
static int open_in(struct bridge *b, struct rulebook *book, struct error *error)
{
    struct vm *vm = rulebook_vm(book);
    rulebook_push(book, "open");
    lua_pushnumber(vm_lua(vm), (lua_Number)(uintptr_t)b);
    int failed = vm_call(vm, 1, 1, error);
    if (failed != 0)
        return failed;
    b->book = book;
    b->vm = vm;
    b->shapes = rulebook_shapes(book);
    b->last_event_shape = b->last_state_shape = -1;
    b->note = rulebook_note(book);
    b->id = lua_tointeger(vm_lua(vm), -1);
    b->is_alone = false;
    lua_pop(vm_lua(vm), 1);
    bridge_time_attend(b);
    return 0;
}

static void close_in(struct bridge *b)
{
    if (b->id == 0)
        return;
    rulebook_push(b->book, "close");
    lua_pushinteger(vm_lua(b->vm), b->id);
    (void)vm_call(b->vm, 1, 0, NULL);
    b->id = 0;
}

static void know_all_states(struct bridge *b)
{
    for (uint32_t i = 1; i <= rulebook_count(b->book); i++) {
        states_know_all(b->states, rulebook_rule_id(b->book, i));
        states_know_all(b->states, STATE_WINDOWS + rulebook_rule_id(b->book, i));
    }
}

static char *copy_text(const char *text)
{
    return must(strdup(text != NULL ? text : ""));
}

int bridge_create(struct rulebook *book, const struct bridge_options *options, struct bridge **out,
                  struct error *error)
{
    struct bridge *b = must(calloc(1, sizeof *b));
    b->options = *options;
    b->options.dlq_key = b->dlq_key = copy_text(options->dlq_key);
    b->options.decisions_key = b->decisions_key = copy_text(options->decisions_key);
    b->options.prefix = b->prefix = copy_text(options->prefix);
    snprintf(b->partition, sizeof b->partition, "%s", options->partition);
    b->options.partition = b->partition;
    b->states = states_create(options->is_apart ? SIZE_MAX : options->state_cache_bytes);
    bridge_time_open(b);
    int failed = open_in(b, book, error);
    if (failed == 0 && options->is_apart)
        know_all_states(b);
    if (failed != 0)
        bridge_destroy(b);
    else
        *out = b;
    return failed;
}

int bridge_attach(struct bridge *b, struct rulebook *book, struct error *error)
{
    bridge_forget_refusals(b); /* they name effects by places in the rules of before */
    close_in(b);
    timers_discard(b->timers);
    return open_in(b, book, error);
}

void bridge_destroy(struct bridge *b)
{
    if (b == NULL)
        return;
    close_in(b);
    states_destroy(b->states);
    bridge_time_close(b);
    free(b->view.effects);
    tokens_fini(&b->view.event_tokens);
    tokens_fini(&b->view.state_tokens);
    buf_fini(&b->view.out);
    buf_fini(&b->view.letters);
    buf_fini(&b->view.requests);
    buf_fini(&b->json);
    buf_fini(&b->want_keys);
    buf_fini(&b->effect_keys);
    buf_fini(&b->event);
    buf_fini(&b->would);
    buf_fini(&b->did);
    buf_fini(&b->shadow_key);
    buf_fini(&b->shadow_records);
    buf_fini(&b->decisions);
    bridge_forget_refusals(b);
    free(b->wants);
    free(b->groups);
    free(b->answers);
    free(b->letters_of);
    free(b->dlq_key);
    free(b->decisions_key);
    free(b->prefix);
    free(b);
}

void bridge_set_commands(struct bridge *b, const struct commands *commands)
{
    b->commands = commands;
}

struct states *bridge_states(struct bridge *b)
{
    return b->states;
}

void bridge_on_commands(struct bridge *b, bridge_commands_call *call, void *context)
{
    b->find_commands = call;
    b->find_context = context;
}

const struct commands *bridge_commands(struct bridge *b)
{
    if (b->commands == NULL && b->find_commands != NULL)
        b->commands = b->find_commands(b->find_context);
    return b->commands;
}

struct rulebook *bridge_rulebook(const struct bridge *b)
{
    return b->book;
}

struct buf *bridge_requests(struct bridge *b)
{
    b->view.request_count++;
    return &b->view.requests;
}

const struct reply *bridge_answer(const struct bridge *b, uint32_t number)
{
    assert(number < b->answer_count);
    return b->answers[number];
}

/* ── a batch
 * ──────────────────────────────────────────────────────────────────────────────────────────────────────────
 */

void bridge_put_batch(struct bridge *b, struct batch_entry *entries, uint32_t count,
                      double clock_ms, double redis_ms)
{
    double clock = clock_ms;
    for (uint32_t i = 0; i < count; i++) {
        if (entries[i].attempts == 0 && entries[i].ms > clock &&
            (redis_ms == 0 || entries[i].ms <= redis_ms + b->options.future_ms))
            clock = entries[i].ms;
        entries[i].clock_ms = clock;
    }
    for (uint32_t i = count; i-- > 0;)
        entries[i].run_end = i + 1 < count && entries[i + 1].stream == entries[i].stream &&
                                     entries[i + 1].only == entries[i].only
                                 ? entries[i + 1].run_end
                                 : i;
    b->view.entries = entries;
    b->view.entry_count = count;
    b->first_clock_ms = b->view.clock_ms = clock_ms;
    b->redis_ms = redis_ms;
    states_begin(b->states);
    bridge_time_put(b);
    bridge_discard(b);
    b->is_new = true;
    if (b->is_alone) {
        rulebook_push(b->book, "together");
        lua_pushinteger(vm_lua(b->vm), b->id);
        (void)vm_call(b->vm, 1, 0, NULL);
        b->is_alone = false;
    }
}

void bridge_blame(struct bridge *b, uint32_t rule, const char *reason, const char *message)
{
    lua_State *L = vm_lua(b->vm);
    assert(b->is_new && b->view.entry_count == 1);
    b->is_alone = true;
    rulebook_push(b->book, "blame");
    lua_pushinteger(L, b->id);
    lua_pushinteger(L, (lua_Integer)rule);
    lua_pushstring(L, reason);
    lua_pushstring(L, message);
    (void)vm_call(b->vm, 4, 0, NULL);
}

void bridge_limit(struct bridge *b, uint32_t most)
{
    lua_State *L = vm_lua(b->vm);
    assert(b->is_new && b->view.entry_count == 1);
    b->is_alone = true;
    rulebook_push(b->book, "limit");
    lua_pushinteger(L, b->id);
    lua_pushinteger(L, (lua_Integer)most);
    (void)vm_call(b->vm, 2, 0, NULL);
}

int bridge_run(struct bridge *b, uint64_t deadline_ms, enum bridge_status *status,
               uint32_t *processed, const char **stopped, struct error *error)
{
    lua_State *L = vm_lua(b->vm);
    b->view.deadline_ms = (double)deadline_ms;
    b->view.want_count = 0;
    b->view.request_count = 0;
    b->want_keys.len = 0;
    b->view.requests.len = 0;
    vm_pace(b->vm);
    rulebook_push(b->book, "run");
    const struct batch_entry *first = b->view.entries;
    bool is_plain = b->is_new && !b->is_alone && b->view.entry_count > 0 &&
                    first->run_end + 1 == b->view.entry_count && first->only == 0;
    lua_pushinteger(L, b->id);
    lua_pushinteger(L, b->is_new ? (lua_Integer)b->view.entry_count : -1);
    lua_pushinteger(L, is_plain ? (lua_Integer)first->stream : 0);
    b->is_new = false;
    int failed = vm_call(b->vm, 3, 3, error);
    if (failed != 0)
        return failed;
    static const char *const names[] = {
        [BRIDGE_DONE] = "done", [BRIDGE_WAIT] = "wait", [BRIDGE_FULL] = "full"};
    for (*status = BRIDGE_DONE; strcmp(lua_tostring(L, -3), names[*status]) != 0;)
        ++*status;
    *processed = (uint32_t)lua_tointeger(L, -2);
    *stopped = NULL;
    if (lua_type(L, -1) == LUA_TSTRING) {
        lua_pushvalue(L, -1);
        lua_setfield(L, LUA_REGISTRYINDEX, "tidemill.stopped"); /* keeps the text alive */
        *stopped = lua_tostring(L, -1);
    }
    lua_pop(L, 3);
    b->answer_count = 0;
    return 0;
}

void bridge_set_renewable(struct bridge *b, bool is_renewable)
{
    b->view.is_renewable = is_renewable;
}

static int compare_wants(const void *left, const void *right)
{
    const struct want *a = left, *b = right;
    if (a->rule != b->rule)
        return a->rule < b->rule ? -1 : 1;
    return a->at < b->at ? -1 : a->at > b->at;
}

void bridge_wants(struct bridge *b, struct buf *out, struct bridge_wants *wants)
{
    struct buf key = {0};
    b->group_count = 0;
    if (b->view.want_count > 1)
        qsort(b->wants, b->view.want_count, sizeof *b->wants, compare_wants);
    for (uint32_t first = 0; first < b->view.want_count;) {
        uint32_t rule = b->wants[first].rule, count = 1;
        while (first + count < b->view.want_count && b->wants[first + count].rule == rule &&
               count < WANT_KEYS_PER_COMMAND)
            count++;
        if (b->group_count == b->group_cap) {
            b->group_cap = b->group_cap > 0 ? b->group_cap * 2 : 16;
            b->groups = must(realloc(b->groups, b->group_cap * sizeof *b->groups));
        }
        b->groups[b->group_count].rule = rule;
        b->groups[b->group_count].first = first;
        b->groups[b->group_count++].count = count;
        registry_state_key(rulebook_registry(b->book), rule, b->prefix, &key);
        command_begin(out, 2 + count);
        command_argument_text(out, "HMGET");
        command_argument(out, key.data, key.len);
        for (uint32_t i = first; i < first + count; i++)
            command_argument(out, b->want_keys.data + b->wants[i].at, b->wants[i].len);
        first += count;
    }
    buf_fini(&key);
    buf_append(out, b->view.requests.data, b->view.requests.len);
    wants->state_replies = b->group_count;
    wants->lookup_replies = b->view.request_count;
}

bool bridge_take_states(struct bridge *b, size_t number, const struct reply *reply)
{
    assert(number < b->group_count);
    bool is_fine = reply->type == REPLY_ARRAY && reply->count == b->groups[number].count;
    for (uint32_t i = 0; i < b->groups[number].count; i++) {
        const struct want *want = &b->wants[b->groups[number].first + i];
        const struct reply *value =
            reply->type == REPLY_ARRAY && i < reply->count ? reply->elements[i] : NULL;
        bool has_value = value != NULL && value->type == REPLY_STRING;
        is_fine &= states_load(b->states, want->rule, b->want_keys.data + want->at, want->len,
                               has_value ? value->text : NULL, has_value ? value->len : 0);
    }
    return is_fine;
}

void bridge_take_answer(struct bridge *b, const struct reply *reply)
{
    if (b->answer_count == b->answer_cap) {
        b->answer_cap = b->answer_cap > 0 ? b->answer_cap * 2 : 64;
        b->answers = must(realloc(b->answers, b->answer_cap * sizeof *b->answers));
    }
    b->answers[b->answer_count++] = reply;
}

/* Where an effect's entry stands: what fired stands before the entry that it fired before. */
static uint64_t rank(const struct fired *fired, uint32_t entry)
{
    return entry >= FIRED_FIRST ? 2ull * fired[entry - FIRED_FIRST].before : 2ull * entry + 1;
}

static int compare_effects(const void *left, const void *right, void *fired)
{
    const struct effect *a = left, *b = right;
    uint64_t a_rank = rank(fired, a->entry), b_rank = rank(fired, b->entry);
    if (a_rank != b_rank)
        return a_rank < b_rank ? -1 : 1;
    if (a->entry != b->entry)
        return a->entry < b->entry ? -1 : 1;
    if (a->rule != b->rule)
        return a->rule < b->rule ? -1 : 1;
    return a->ordinal < b->ordinal ? -1 : a->ordinal > b->ordinal;
}

void bridge_order(struct bridge *b)
{
    struct bridge_view *v = &b->view;
    uint32_t kept = 0;
    if (!v->is_unordered)
        return;
    for (uint32_t i = 0; i < v->effect_count; i++)
        if (v->effects[i].len > 0)
            v->effects[kept++] = v->effects[i];
    v->effect_count = kept;
    if (kept > 0)
        qsort_r(v->effects, kept, sizeof *v->effects, compare_effects, v->fired);
    v->is_unordered = 0;
}

const struct effect *bridge_effects(struct bridge *b, uint32_t *count)
{
    bridge_order(b);
    *count = b->view.effect_count;
    return b->view.effects;
}

const char *bridge_effect_bytes(const struct bridge *b, const struct effect *effect)
{
    return b->view.out.data + effect->at;
}

const char *bridge_effect_key(const struct bridge *b, const struct effect *effect, size_t *len)
{
    *len = effect->key_len;
    return effect->key_len > 0 ? b->effect_keys.data + effect->key_at : "";
}

const struct buf *bridge_letters(const struct bridge *b, uint32_t *count)
{
    *count = b->view.letter_count;
    return &b->view.letters;
}

static void forget_batch(struct bridge *b)
{
    states_seal(b->states);
    buf_reset(&b->view.out, KEEP_BYTES);
    buf_reset(&b->view.letters, KEEP_BYTES);
    buf_reset(&b->json, KEEP_BYTES);
    buf_reset(&b->effect_keys, KEEP_BYTES);
    buf_reset(&b->event, KEEP_BYTES);
    buf_reset(&b->would, KEEP_BYTES);
    buf_reset(&b->did, KEEP_BYTES);
    buf_reset(&b->shadow_records, KEEP_BYTES);
    buf_reset(&b->decisions, KEEP_BYTES);
    b->view.effect_count = b->view.letter_count = b->shadow_count = b->decision_count = 0;
}

void bridge_seal(struct bridge *b, struct sealed_batch *into)
{
    struct sealed_batch sealed = {.out = b->view.out,
                                  .effects = b->view.effects,
                                  .count = b->view.effect_count,
                                  .cap = b->view.effect_cap};
    b->view.out = into->out;
    b->view.effects = into->effects;
    b->view.effect_cap = into->cap;
    sealed.fired = into->fired;
    sealed.fired_cap = into->fired_cap;
    sealed.texts = into->texts;
    *into = sealed;
    bridge_time_seal(b, into);
    forget_batch(b);
}

const struct batch_entry *sealed_batch_fired(const struct sealed_batch *s, uint32_t entry)
{
    assert(entry < FIRED_FIRST || entry - FIRED_FIRST < s->fired_count);
    return entry < FIRED_FIRST ? NULL : &s->fired[entry - FIRED_FIRST].entry;
}

void sealed_batch_fini(struct sealed_batch *s)
{
    buf_fini(&s->out);
    arena_fini(&s->texts);
    free(s->effects);
    free(s->fired);
    *s = (struct sealed_batch){0};
}

void bridge_drop(struct bridge *b)
{
    states_discard(b->states);
    forget_batch(b);
    states_drop(b->states);
    bridge_time_drop(b);
    b->answer_count = 0;
}

double bridge_clock_ms(const struct bridge *b)
{
    return b->view.clock_ms;
}

/* ── called by the kernel
 * ───────────────────────────────────────────────────────────────────────────────────────────── */

static int32_t undecodable(struct bridge *b, const char *format, const char *text)
{
    char fault[1200];
    snprintf(fault, sizeof fault, format, text);
    snprintf(b->view.fault, sizeof b->view.fault, "%.500s", fault);
    return -2;
}

/* An entry of plain fields: a map whose values are all strings. */
static int32_t decode_fields(struct bridge *b, const struct reply *fields)
{
    struct tokens *tokens = &b->view.event_tokens;
    uint32_t count = fields->count + 1;
    if (fields->count / 2 > b->options.event_limits.elements)
        return undecodable(b, "more fields than limits.event_elements allows%s", "");
    if (tokens->cap < count) {
        tokens->list = must(realloc(tokens->list, count * sizeof *tokens->list));
        tokens->cap = count;
    }
    tokens->count = count;
    tokens->list[0] = (struct token){.len = fields->count / 2, .size = count, .type = TOKEN_MAP};
    for (uint32_t k = 0; k < fields->count; k++) {
        const struct reply *text = fields->elements[k];
        tokens->list[k + 1] = (struct token){
            .bytes = text->text, .len = (uint32_t)text->len, .size = 1, .type = TOKEN_STRING};
    }
    b->view.texts = 1;
    return shapes_number(b->shapes, tokens->list, &b->last_event_shape);
}

static bool looks_like_map(const struct reply *value)
{
    unsigned char first = value->len > 0 ? (unsigned char)value->text[0] : 0;
    return (first >= 0x80 && first <= 0x8f) || first == 0xde || first == 0xdf;
}

static int32_t decode_msgpack(struct bridge *b, const char *bytes, size_t len)
{
    struct error error;
    struct tokens *tokens = &b->view.event_tokens;
    if (msgpack_tokens(bytes, len, &b->options.event_limits, tokens, &error) != 0)
        return undecodable(b, "msgpack: %s", error.text);
    if (tokens->list[0].type != TOKEN_MAP)
        return undecodable(b, "msgpack: the event must be a map%s", "");
    return shapes_number(b->shapes, tokens->list, &b->last_event_shape);
}

static int32_t decode_json(struct bridge *b, const struct reply *value)
{
    struct error error;
    b->json.len = 0;
    if (json_to_msgpack(value->text, value->len, b->options.event_limits.depth, &b->json, &error) !=
        0)
        return undecodable(b, "JSON: %s", error.text);
    if (!((unsigned char)b->json.data[0] >= 0x80 && (unsigned char)b->json.data[0] <= 0x8f) &&
        (unsigned char)b->json.data[0] != 0xde && (unsigned char)b->json.data[0] != 0xdf)
        return undecodable(b, "JSON: the event must be an object%s", "");
    return decode_msgpack(b, b->json.data, b->json.len);
}

/* Notes the entry that a rule is about to be run on. */
void bridge_note(struct bridge *b, uint32_t i)
{
    const struct batch_entry *entry = bridge_entry(b, i);
    struct note *note = b->note;
    note->mark.rule = 0;
    note->mark.serial++;
    note->mark.leaving = note->mark.is_full = note->mark.is_seen = note->mark.spent_us = 0;
    note->ms = entry->ms;
    note->seq = entry->seq;
    note->attempts = entry->attempts;
    if (note->stream_number == entry->stream && note->bridge == b)
        return;
    note->stream_number = entry->stream;
    note->bridge = b;
    snprintf(note->partition, sizeof note->partition, "%s", b->partition);
    snprintf(note->stream, sizeof note->stream, "%s",
             entry->stream > 0 ? rulebook_stream_name(b->book, entry->stream) : "");
}

/* The tokens of entry i, and the number of their shape; -1: no shape; -2: cannot be decoded
 * (view.fault says why). */
int32_t bridge_decode(struct bridge *b, uint32_t i)
{
    const struct batch_entry *entry = &b->view.entries[i];
    const struct reply *fields = entry->fields;
    bridge_note(b, i);
    b->view.clock_ms = entry->clock_ms;
    b->view.texts = 0;
    b->view.is_future =
        entry->attempts == 0 && b->redis_ms > 0 && entry->ms > b->redis_ms + b->options.future_ms;
    if (b->view.is_future) {
        snprintf(b->view.fault, sizeof b->view.fault,
                 "the entry's ID is %.0f ms ahead of Redis' clock, more than `future` allows",
                 entry->ms - b->redis_ms);
        return -2;
    }
    if (entry->size > b->options.event_bytes) {
        snprintf(b->view.fault, sizeof b->view.fault,
                 "the entry has %u bytes, more than limits.event_kb allows (%zu)", entry->size,
                 b->options.event_bytes);
        return -2;
    }
    const struct reply *value = fields->count == 2 ? fields->elements[1] : NULL;
    switch (rulebook_stream_codec(b->book, entry->stream)) {
    case CODEC_AUTO:
        if (value != NULL && looks_like_map(value))
            return decode_msgpack(b, value->text, value->len);
        if (value != NULL && value->len > 0 && value->text[0] == '{')
            return decode_json(b, value);
        return decode_fields(b, fields);
    case CODEC_MSGPACK:
        if (value == NULL)
            return undecodable(
                b, "the stream's codec is msgpack, which takes one field; the entry has %s",
                "several");
        return decode_msgpack(b, value->text, value->len);
    case CODEC_JSON:
        if (value == NULL)
            return undecodable(
                b, "the stream's codec is json, which takes one field; the entry has %s",
                "several");
        return decode_json(b, value);
    default:
        return decode_fields(b, fields);
    }
}

struct state_slot *bridge_find(struct bridge *b, uint32_t rule, const char *key, size_t len)
{
    return states_find(b->states, rule, key, len);
}

void bridge_want(struct bridge *b, uint32_t rule, const char *key, size_t len)
{
    if (b->view.want_count == b->want_cap) {
        b->want_cap = b->want_cap > 0 ? b->want_cap * 2 : 256;
        b->wants = must(realloc(b->wants, b->want_cap * sizeof *b->wants));
    }
    b->wants[b->view.want_count++] =
        (struct want){.rule = rule, .at = b->want_keys.len, .len = len};
    buf_append(&b->want_keys, key, len);
}

/* The tokens of a state that is there; the state itself begins at token 3. The bytes were checked
 * when they were loaded, but only their head: a state that does not decode counts as empty. */
int32_t bridge_state_tokens(struct bridge *b, struct state_slot *slot)
{
    static const struct msgpack_limits limits = {.depth = 128, .elements = 1u << 24};
    static const char empty[] = "\x93\x00\x01\x80";
    struct tokens *tokens = &b->view.state_tokens;
    struct error error;
    int failed = msgpack_tokens(slot->bytes, slot->len, &limits, tokens, &error);
    if (failed == 0 && (tokens->list[0].len != 3 ||
                        (tokens->list[3].type != TOKEN_MAP && tokens->list[3].type != TOKEN_ARRAY)))
        failed = error_set(&error, ERROR_FORMAT, "it is no map and no array");
    if (failed != 0) {
        log_repeat(LOG_ERROR, "state_unreadable",
                   "a state in Redis cannot be read and counts as empty", "cause", error.text,
                   NULL);
        failed = msgpack_tokens(empty, sizeof empty - 1, &limits, tokens, &error);
        assert(failed == 0);
    }
    return shapes_number(b->shapes, &tokens->list[3], &b->last_state_shape);
}

/* From here on the event is done: nothing may stop its rule any more (see limit.h), or its state
 * would be kept and its effects not. */
void bridge_put(struct bridge *b, struct state_slot *slot, const void *bytes, uint32_t len,
                uint32_t head, double expiry_ms, uint32_t version)
{
    b->note->mark.rule = 0;
    /* An expired state was put away before by the kernel, whose clock for it this may not be. */
    states_put(b->states, slot, bytes, len, head, expiry_ms, version, 0);
}

static char *put_decimal(char *at, size_t number)
{
    char digits[24];
    int count = 0;
    do {
        digits[count++] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    while (count > 0)
        *at++ = digits[--count];
    return at;
}

/* Makes an effect of the `len` bytes that were written behind the end of `out`. */
static void add_effect(struct bridge_view *v, uint32_t rule, uint32_t ordinal, size_t len)
{
    if (v->effect_count == v->effect_cap) {
        v->effect_cap = v->effect_cap > 0 ? v->effect_cap * 2 : 1024;
        v->effects = must(realloc(v->effects, v->effect_cap * sizeof *v->effects));
    }
    v->effects[v->effect_count++] = (struct effect){
        .at = v->out.len,
        .len = len,
        .entry = v->at_entry,
        .rule = (uint16_t)rule,
        .ordinal = (uint16_t)ordinal,
    };
    v->out.len += len;
}

/* One more effect: an XADD whose bytes up to the length of its payload are `head`. */
void bridge_emit(struct bridge *b, uint32_t rule, uint32_t ordinal, const char *head,
                 size_t head_len, const void *payload, size_t len)
{
    struct bridge_view *v = &b->view;
    buf_reserve(&v->out, head_len + len + 32);
    char *start = v->out.data + v->out.len, *at = start;
    memcpy(at, head, head_len);
    at = put_decimal(at + head_len, len);
    *at++ = '\r';
    *at++ = '\n';
    memcpy(at, payload, len);
    at += len;
    *at++ = '\r';
    *at++ = '\n';
    add_effect(v, rule, ordinal, (size_t)(at - start));
}

/* One more effect: a whole command. */
void bridge_effect(struct bridge *b, uint32_t rule, uint32_t ordinal, const void *command,
                   size_t len)
{
    struct bridge_view *v = &b->view;
    buf_reserve(&v->out, len);
    memcpy(v->out.data + v->out.len, command, len);
    add_effect(v, rule, ordinal, len);
}

/* The key of the effect that was added last. That of all effects of an event is kept once. */
void bridge_note_key(struct bridge *b, const char *key, size_t len)
{
    struct effect *last = &b->view.effects[b->view.effect_count - 1];
    const struct effect *before = b->view.effect_count > 1 ? last - 1 : NULL;
    last->key_len = (uint32_t)len;
    if (before != NULL && before->key_len == len && len > 0 &&
        memcmp(b->effect_keys.data + before->key_at, key, len) == 0) {
        last->key_at = before->key_at;
        return;
    }
    last->key_at = (uint32_t)b->effect_keys.len;
    buf_append(&b->effect_keys, key, len);
}

/* Takes back all that this batch did. */
void bridge_discard(struct bridge *b)
{
    states_discard(b->states);
    bridge_time_discard(b);
    b->view.effect_count = b->view.letter_count = b->shadow_count = b->decision_count = 0;
    b->view.out.len = b->view.letters.len = b->effect_keys.len = 0;
    b->shadow_records.len = b->decisions.len = 0;
    b->view.is_unordered = 0;
    b->view.clock_ms = b->first_clock_ms;
    b->view.want_count = b->view.request_count = 0;
    b->want_keys.len = b->view.requests.len = 0;
    b->answer_count = 0;
}

double bridge_clock(void)
{
    return (double)clock_coarse_ms();
}

double bridge_cpu_us(void)
{
    return (double)clock_cpu_us();
}

double bridge_cpu_about_us(void)
{
    return (double)clock_cpu_about_us();
}
