/* bridge_time.c: timers and windows, what fired of them, and what rules know of event time.
 *
 * (1) What fired is an entry of its own: number FIRED_FIRST + k of the batch. Its ID is when it was
 * due, and a hash of whose it is, so that a note of it (note.h) and a refusal find it again in
 * another process. (2) What is taken from a queue is back when the batch is discarded. (3) The
 * clocks that the kernel tells at the end of a batch it knows from then on, also when the batch is
 * discarded then: they go with the next one that is sealed. */
#include "rules/bridge_inside.h"
#include "rules/kernel_calls.h"

#include "redis/command.h"

#include <math.h>
#include <stdio.h>

/* ── calling engine.lua ──────────────────────────────────────────────────────────────────────── */

/* Begins a call about this partition; the arguments behind its id are numbers. */
static bool ask_engine(struct bridge *b, const char *function, const double *arguments, int count,
                       int results)
{
    lua_State *L = vm_lua(b->vm);
    rulebook_push(b->book, function);
    lua_pushinteger(L, b->id);
    for (int i = 0; i < count; i++)
        lua_pushnumber(L, arguments[i]);
    return vm_call(b->vm, count + 1, results, NULL) == 0;
}

/* ── life ────────────────────────────────────────────────────────────────────────────────────── */

static void show_queues(struct bridge *b)
{
    b->view.nexts = timers_nexts(b->timers);
    b->view.next_wall_ms = timers_next_wall(b->timers);
}

void bridge_time_open(struct bridge *b)
{
    b->timers = timers_create();
    if (b->options.is_apart)
        timers_know_all(b->timers);
}

enum { HAS_TIMERS = 1, HAS_WINDOWS = 2 };

/* Which queues rule `number` attends. */
static uint8_t ask_kinds(struct bridge *b, uint32_t number)
{
    lua_State *L = vm_lua(b->vm);
    rulebook_push(b->book, "timer_kinds");
    lua_pushinteger(L, (lua_Integer)number);
    if (vm_call(b->vm, 1, 2, NULL) != 0)
        return 0;
    uint8_t kinds =
        (lua_toboolean(L, -2) ? HAS_TIMERS : 0) | (lua_toboolean(L, -1) ? HAS_WINDOWS : 0);
    lua_pop(L, 2);
    return kinds;
}

void bridge_time_attend(struct bridge *b)
{
    uint32_t count = names_count(rulebook_registry(b->book)->rules);
    uint8_t *kinds = must(calloc(count + 1, sizeof *kinds)); /* of rules that are gone: none */
    b->has_queues = false;
    b->seen.count = b->seen.at = 0; /* another kernel: it finds them again */
    for (uint32_t i = 1; i <= rulebook_count(b->book); i++) {
        uint32_t id = rulebook_rule_id(b->book, i);
        assert(id <= count);
        kinds[id] = ask_kinds(b, i);
        b->has_queues |= kinds[id] != 0;
    }
    for (uint32_t id = 1; id <= count; id++) {
        timers_attend(b->timers, id, TIMER_WALL, kinds[id] & HAS_TIMERS);
        timers_attend(b->timers, id, TIMER_EVENT, kinds[id] & HAS_TIMERS);
        timers_attend(b->timers, id, TIMER_WINDOW, kinds[id] & HAS_WINDOWS);
    }
    free(kinds);
    show_queues(b);
}

void bridge_time_close(struct bridge *b)
{
    timers_destroy(b->timers);
    free(b->view.fired);
    free(b->blames);
    free(b->seen.list);
    free(b->known.list);
}

struct timers *bridge_timers(struct bridge *b)
{
    return b->timers;
}

void bridge_timers_loaded(struct bridge *b)
{
    show_queues(b);
}

static const char *name_of(const void *book, uint32_t rule)
{
    return rulebook_state_name(book, rule);
}

void bridge_timer_names(const struct bridge *b, struct timer_names *names)
{
    *names = (struct timer_names){.name = name_of, .context = b->book, .prefix = b->prefix};
}

/* ── a batch ─────────────────────────────────────────────────────────────────────────────────── */

void bridge_time_put(struct bridge *b)
{
    b->put_fired = b->view.fire_most = b->view.is_peek = 0;
    b->blame_count = 0;
    b->view.until_ms = 0;
    b->view.proven_ms = INFINITY;
    b->view.is_exact = 0;
    timers_discard(b->timers);
    timers_begin(b->timers);
}

void bridge_time_discard(struct bridge *b)
{
    struct bridge_view *v = &b->view;
    timers_discard(b->timers);
    show_queues(b);
    v->fired_count = b->put_fired;
    v->is_short = v->is_early = v->has_more = 0;
}

void bridge_put_time(struct bridge *b, const struct bridge_time *time)
{
    assert(b->is_new);
    b->view.until_ms = time->until_ms;
    b->view.proven_ms = time->proven_ms;
    b->view.is_exact = time->is_exact;
}

void bridge_put_step(struct bridge *b, enum bridge_step step)
{
    assert(b->is_new);
    b->view.fire_most = step == BRIDGE_FIRE_ONE ? 1 : 0;
    b->view.is_peek = step == BRIDGE_PEEK;
}

const struct fired *bridge_fired(const struct bridge *b, uint32_t entry)
{
    return entry >= FIRED_FIRST ? &b->view.fired[entry - FIRED_FIRST] : NULL;
}

const struct fired *bridge_first_fired(const struct bridge *b)
{
    return b->view.fired_count > 0 ? &b->view.fired[0] : NULL;
}

void bridge_blame_fired(struct bridge *b, const struct blame *blame)
{
    assert(b->is_new && b->view.fired_count == 0);
    if (b->blame_count == b->blame_cap) {
        b->blame_cap = b->blame_cap > 0 ? b->blame_cap * 2 : 4;
        b->blames = must(realloc(b->blames, b->blame_cap * sizeof *b->blames));
    }
    b->blames[b->blame_count++] = *blame;
}

static void hash_bytes(uint64_t *hash, const void *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        *hash = (*hash ^ ((const unsigned char *)bytes)[i]) * 0x100000001b3ull;
}

/* FNV-1a, of which a double holds all that is kept. (1) */
static uint64_t hash_fired(const struct bridge *b, const struct fired *f)
{
    const char *rule = rulebook_rule_name(b->book, f->entry.only);
    uint64_t hash = 0xcbf29ce484222325ull, key_len = f->key_len;
    hash_bytes(&hash, &f->kind, 1);
    hash_bytes(&hash, rule, strlen(rule) + 1);
    hash_bytes(&hash, &key_len, sizeof key_len);
    hash_bytes(&hash, f->key, f->key_len);
    hash_bytes(&hash, f->name, f->name_len);
    return (hash ^ hash >> 53) & ((1ull << 53) - 1);
}

/* A rule that was edited since may be cured: it is called. */
static void find_blame(const struct bridge *b, struct fired *f)
{
    for (size_t i = 0; i < b->blame_count; i++) {
        const struct blame *blame = &b->blames[i];
        if (!bridge_is_blamed(blame, b->book, f) ||
            strcmp(blame->version, rulebook_rule_version(b->book, f->entry.only)) != 0)
            continue;
        f->is_blamed = 1;
        f->reason = blame->reason;
        f->message = blame->message;
    }
}

bool bridge_is_blamed(const struct blame *blame, const struct rulebook *book, const struct fired *f)
{
    return blame->stream[0] == '\0' && blame->ms == f->entry.ms && blame->seq == f->entry.seq &&
           blame->attempts == f->entry.attempts &&
           strcmp(blame->rule, rulebook_rule_name(book, f->entry.only)) == 0;
}

/* One more that fires; its texts stay where they are. */
static int32_t add_fired(struct bridge *b, const struct fired *fired)
{
    struct bridge_view *v = &b->view;
    if (v->fired_count == b->fired_cap) {
        b->fired_cap = b->fired_cap > 0 ? b->fired_cap * 2 : 64;
        v->fired = must(realloc(v->fired, b->fired_cap * sizeof *v->fired));
    }
    struct fired *f = &v->fired[v->fired_count];
    *f = *fired;
    f->entry.seq = hash_fired(b, f);
    find_blame(b, f);
    return (int32_t)v->fired_count++;
}

void bridge_put_fired(struct bridge *b, const struct fired *fired)
{
    assert(b->is_new && b->view.entry_count == 0 && b->view.fired_count == 0);
    struct fired f = *fired;
    f.entry.clock_ms = b->first_clock_ms;
    add_fired(b, &f);
    b->put_fired = 1;
}

static void note_seen(struct seen_list *s, const struct seen *seen)
{
    for (uint32_t i = 0; i < s->count; i++) {
        struct seen *known = &s->list[(s->at + i) % s->count];
        if (known->rule != seen->rule || known->stream != seen->stream)
            continue;
        known->ms = seen->ms;
        s->at = (s->at + i + 1) % s->count;
        return;
    }
    if (s->count == s->cap) {
        s->cap = s->cap > 0 ? s->cap * 2 : 16;
        s->list = must(realloc(s->list, s->cap * sizeof *s->list));
    }
    s->list[s->count++] = *seen;
    s->at = 0;
}

/* The texts of what fired are the queues', which forget them now. */
static const char *keep_text(struct arena *arena, const char *text, uint32_t len)
{
    return text == NULL || len == 0 ? text == NULL ? NULL : ""
                                    : memcpy(arena_alloc(arena, len), text, len);
}

void bridge_time_seal(struct bridge *b, struct sealed_batch *into)
{
    struct bridge_view *v = &b->view;
    struct fired *spare = into->fired;
    uint32_t spare_cap = into->fired_cap;
    into->fired = v->fired;
    into->fired_count = v->fired_count;
    into->fired_cap = b->fired_cap;
    v->fired = spare;
    b->fired_cap = spare_cap;
    arena_reset(&into->texts, 1 << 20);
    for (uint32_t i = 0; i < into->fired_count; i++) {
        struct fired *f = &into->fired[i];
        f->key = keep_text(&into->texts, f->key, f->key_len);
        f->name = keep_text(&into->texts, f->name, f->name_len);
        f->payload = keep_text(&into->texts, f->payload, f->payload_len);
        f->reason = f->message = NULL;
    }
    v->fired_count = b->put_fired = 0;
    for (uint32_t i = 0; i < b->seen.count; i++)
        note_seen(&b->known, &b->seen.list[i]);
    b->seen.count = b->seen.at = 0;
    timers_seal(b->timers);
}

void bridge_time_drop(struct bridge *b)
{
    b->view.fired_count = b->put_fired = 0;
    b->seen.count = b->known.count = 0;
    timers_discard(b->timers);
    timers_drop(b->timers);
    show_queues(b);
}

uint32_t bridge_fired_count(const struct bridge *b)
{
    return b->view.fired_count;
}

bool bridge_is_short(const struct bridge *b)
{
    return b->view.is_short;
}

bool bridge_is_early(const struct bridge *b)
{
    return b->view.is_early;
}

bool bridge_has_more(const struct bridge *b)
{
    return b->view.has_more;
}

/* ── clocks of rules ─────────────────────────────────────────────────────────────────────────── */

const struct seen *bridge_seen_clocks(const struct bridge *b, uint32_t *count)
{
    *count = b->seen.count;
    return b->seen.list;
}

static void tell_seen(struct bridge *b, const struct seen *seen)
{
    size_t len;
    const char *name = names_text(rulebook_registry(b->book)->rules, seen->rule, &len);
    uint32_t number = rulebook_rule_number(b->book, name, len);
    if (number > 0)
        (void)ask_engine(b, "seen", (double[]){number, seen->stream, seen->ms}, 3, 0);
}

void bridge_forget_clocks(struct bridge *b, double clock_ms)
{
    b->view.clock_ms = b->first_clock_ms = clock_ms;
    b->known.count = 0;
    (void)ask_engine(b, "forget", NULL, 0, 0);
}

void bridge_attend(struct bridge *b, uint32_t stream, double last_ms)
{
    (void)ask_engine(b, "attend", (double[]){stream, last_ms}, 2, 0);
}

void bridge_know_seen(struct bridge *b, const struct seen *seen)
{
    note_seen(&b->known, seen);
}

void bridge_tell_clocks(struct bridge *b)
{
    for (uint32_t i = 0; i < b->known.count; i++)
        tell_seen(b, &b->known.list[i]);
}

double bridge_wake_ms(struct bridge *b)
{
    if (!b->has_queues || !ask_engine(b, "wake", NULL, 0, 1))
        return INFINITY;
    double ms = lua_isnumber(vm_lua(b->vm), -1) ? lua_tonumber(vm_lua(b->vm), -1) : INFINITY;
    lua_pop(vm_lua(b->vm), 1);
    return ms;
}

bool bridge_watermark(struct bridge *b, uint32_t rule, double tail_ms, double *ms)
{
    if (!ask_engine(b, "watermark", (double[]){rule, tail_ms}, 2, 1))
        return false;
    bool has_one = lua_isnumber(vm_lua(b->vm), -1);
    if (has_one)
        *ms = lua_tonumber(vm_lua(b->vm), -1);
    lua_pop(vm_lua(b->vm), 1);
    return has_one;
}

/* ── called by the kernel ────────────────────────────────────────────────────────────────────── */

void bridge_timer_set(struct bridge *b, uint32_t rule, uint32_t kind, const char *key,
                      size_t key_len, const char *name, size_t name_len, double due_ms,
                      const void *payload, size_t payload_len)
{
    b->note->mark.rule = 0; /* as bridge_put */
    timers_set(b->timers, rule, kind, key, key_len, name, name_len, due_ms, payload, payload_len);
    b->view.next_wall_ms = timers_next_wall(b->timers);
}

void bridge_timer_cancel(struct bridge *b, uint32_t rule, uint32_t kind, const char *key,
                         size_t key_len, const char *name, size_t name_len)
{
    b->note->mark.rule = 0;
    timers_cancel(b->timers, rule, kind, key, key_len, name, name_len);
    b->view.next_wall_ms = timers_next_wall(b->timers);
}

double bridge_timer_find(struct bridge *b, uint32_t rule, uint32_t kind, const char *key,
                         size_t key_len, const char *name, size_t name_len)
{
    return timers_find(b->timers, rule, kind, key, key_len, name, name_len);
}

/* One more lookup: when the timer is due, as Redis has it. */
void bridge_timer_ask(struct bridge *b, uint32_t rule, uint32_t kind, const char *key,
                      size_t key_len, const char *name, size_t name_len)
{
    static const char *const kinds[TIMER_KINDS] = {
        [TIMER_WALL] = "wall", [TIMER_EVENT] = "event", [TIMER_WINDOW] = "window"};
    struct buf queue = {0}, member = {0};
    assert(kind < TIMER_KINDS);
    buf_printf(&queue, "%stimers:%s:%s", b->prefix, rulebook_state_name(b->book, rule),
               kinds[kind]);
    timer_member(&member, key, key_len, name, name_len);
    b->view.request_count++;
    command_begin(&b->view.requests, 3);
    command_argument_text(&b->view.requests, "ZSCORE");
    command_argument(&b->view.requests, queue.data, queue.len);
    command_argument(&b->view.requests, member.data, member.len);
    buf_fini(&queue);
    buf_fini(&member);
}

bool bridge_timer_peek(struct bridge *b, uint32_t rule, uint32_t kind, uint32_t number,
                       struct timer *out)
{
    return timers_peek(b->timers, rule, kind, number, out);
}

int32_t bridge_fire(struct bridge *b, uint32_t rule, uint32_t kind, uint32_t index, uint32_t before,
                    double clock_ms)
{
    struct timer timer;
    assert(kind < TIMER_KINDS);
    if (!timers_take(b->timers, rule, kind, &timer))
        return -1;
    b->view.next_wall_ms = timers_next_wall(b->timers);
    struct fired fired = {
        .entry = {.ms = timer.due_ms, .clock_ms = clock_ms, .only = (uint16_t)index},
        .key = timer.key,
        .name = timer.name,
        .payload = timer.payload,
        .key_len = timer.key_len,
        .name_len = timer.name_len,
        .payload_len = timer.payload_len,
        .before = before,
        .kind = (uint8_t)kind};
    return add_fired(b, &fired);
}

void bridge_seen(struct bridge *b, uint32_t rule, uint32_t stream, double ms)
{
    note_seen(&b->seen, &(struct seen){.rule = rule, .stream = stream, .ms = ms});
}
