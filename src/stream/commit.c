/* commit.c: see commit.h. The words for people of the engine's own commands are kept only for
 * complaints. */
#include "stream/commit.h"

#include "base/fault.h"
#include "redis/command.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

enum commit_phase { PHASE_IDLE, PHASE_ARMING, PHASE_ARMED, PHASE_BUILDING, PHASE_FLYING };

struct refused {
    uint32_t place; /* among the commands of the transaction */
    char *message;
};

/* Engine commands in a row that share a description. */
struct described {
    uint32_t first, count;
    const char *what;
};

struct commit {
    struct link *link;
    struct owner *owner;
    struct commit_callbacks callbacks;
    void *context;
    enum commit_phase phase;
    uint32_t effects, commands,
        queued;       /* of the transaction: rule effects, all, replies to queueing so far */
    bool wants_later; /* an error at queueing that means later */
    char later[256];
    struct refused *refused;
    size_t refused_count, refused_cap;
    struct described *described;
    size_t described_count, described_cap;
    struct arena arena; /* of EXEC's reply */
    struct arena words; /* of `described` */
};

static void *must(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

struct commit *commit_create(struct link *link, struct owner *owner,
                             const struct commit_callbacks *callbacks, void *context)
{
    struct commit *c = must(calloc(1, sizeof *c));
    c->link = link;
    c->owner = owner;
    c->callbacks = *callbacks;
    c->context = context;
    return c;
}

static void forget_transaction(struct commit *c)
{
    for (size_t i = 0; i < c->refused_count; i++)
        free(c->refused[i].message);
    arena_reset(&c->words, SIZE_MAX);
    c->refused_count = c->described_count = 0;
    c->effects = c->commands = c->queued = 0;
    c->wants_later = false;
}

void commit_destroy(struct commit *c)
{
    if (c == NULL)
        return;
    forget_transaction(c);
    free(c->refused);
    free(c->described);
    arena_fini(&c->arena);
    arena_fini(&c->words);
    free(c);
}

void commit_reset(struct commit *c)
{
    forget_transaction(c);
    c->phase = PHASE_IDLE;
}

bool commit_is_armed(const struct commit *c)
{
    return c->phase == PHASE_ARMED;
}

bool commit_is_flying(const struct commit *c)
{
    return c->phase == PHASE_FLYING;
}

/* ── arming
 * ───────────────────────────────────────────────────────────────────────────────────────────────────────────
 */

static void on_ctl(void *context, const struct reply *reply)
{
    struct commit *c = context;
    const struct owner *o = c->owner;
    assert(c->phase == PHASE_ARMING);
    if (reply->type == REPLY_ERROR) {
        struct error why = {0};
        bool is_later = reply_means_later(reply);
        c->phase = PHASE_IDLE;
        if (is_later)
            error_set(&why, ERROR_REPLY, "%s", reply->text);
        else
            owner_explain_refusal(o, reply, "HMGET :ctl", &why);
        c->callbacks.on_outcome(c->context, is_later ? COMMIT_LATER : COMMIT_FATAL, &why);
        return;
    }
    assert(reply->type == REPLY_ARRAY && reply->count == 3);
    bool is_ours = reply_is_text(reply->elements[0], o->fence);
    bool is_as_left = reply_number(reply->elements[1], -1) == o->commits &&
                      reply_number(reply->elements[2], 0) == o->edits;
    if ((!is_ours || !is_as_left) && !fault_is("no_fence")) {
        c->phase = PHASE_IDLE;
        c->callbacks.on_changed(c->context,
                                is_ours ? "an edit from the shell, or a late commit of our own"
                                : reply->elements[0]->type == REPLY_STRING
                                    ? "another owner has taken over"
                                    : "ctl is gone (FLUSHALL, eviction, DEL?)");
        return;
    }
    c->phase = PHASE_ARMED;
    c->callbacks.on_armed(c->context);
}

static void append_watch(struct commit *c)
{
    command_append(link_out(c->link), "WATCH", c->owner->options.keys->ctl.data, NULL);
    link_expect(c->link, NULL, NULL, NULL, 0);
}

static void append_arming(struct commit *c)
{
    struct buf *out = link_out(c->link);
    const char *ctl = c->owner->options.keys->ctl.data;
    if (!fault_is("no_fence") && !fault_is("read_before_watch"))
        append_watch(c); /* first: what is read behind it cannot change unseen */
    command_append(out, "HMGET", ctl, "fence", "commits", "edits", NULL);
    link_expect(c->link, on_ctl, c, NULL, 0);
}

void commit_arm(struct commit *c)
{
    assert(c->phase == PHASE_IDLE);
    c->phase = PHASE_ARMING;
    append_arming(c);
    link_flush(c->link);
}

/* ── building
 * ─────────────────────────────────────────────────────────────────────────────────────────────────────────
 */

static void on_queued(void *context, const struct reply *reply);
static void on_exec(void *context, const struct reply *reply);

void commit_begin(struct commit *c)
{
    assert(c->phase == PHASE_ARMED);
    forget_transaction(c);
    c->phase = PHASE_BUILDING;
    if (fault_is("read_before_watch"))
        append_watch(c);
    buf_append_text(link_out(c->link), "*1\r\n$5\r\nMULTI\r\n");
    link_expect(c->link, NULL, NULL, NULL, 0);
}

static void expect_queued(struct commit *c)
{
    c->commands++;
    link_expect(c->link, on_queued, c, NULL, 0);
}

void commit_add_effect(struct commit *c, const char *bytes, size_t len)
{
    assert(c->phase == PHASE_BUILDING && c->effects == c->commands);
    buf_append(link_out(c->link), bytes, len);
    c->effects++;
    expect_queued(c);
}

static const char *keep_word(struct commit *c, const char *what)
{
    size_t len = strlen(what) + 1;
    return memcpy(arena_alloc(&c->words, len), what, len);
}

static void describe(struct commit *c, uint32_t count, const char *what)
{
    if (c->described_count == c->described_cap) {
        c->described_cap = c->described_cap > 0 ? c->described_cap * 2 : 16;
        c->described = must(realloc(c->described, c->described_cap * sizeof *c->described));
    }
    c->described[c->described_count++] =
        (struct described){.first = c->commands, .count = count, .what = keep_word(c, what)};
}

void commit_add_commands(struct commit *c, const char *bytes, size_t len, uint32_t count,
                         const char *what)
{
    assert(c->phase == PHASE_BUILDING);
    if (count == 0)
        return;
    describe(c, count, what);
    buf_append(link_out(c->link), bytes, len);
    for (uint32_t i = 0; i < count; i++)
        expect_queued(c);
}

struct buf *commit_add_command(struct commit *c, const char *what)
{
    assert(c->phase == PHASE_BUILDING);
    describe(c, 1, what);
    expect_queued(c);
    return link_out(c->link);
}

void commit_send(struct commit *c)
{
    assert(c->phase == PHASE_BUILDING);
    if (c->effects > 0) /* one that does nothing would show nothing */
        fault_pause("before_exec");
    buf_append_text(link_out(c->link), "*1\r\n$4\r\nEXEC\r\n");
    arena_reset(&c->arena, 1 << 20);
    link_expect(c->link, on_exec, c, &c->arena, 0);
    c->phase = PHASE_FLYING;
    append_arming(c);
    link_flush(c->link);
}

/* ── judging
 * ──────────────────────────────────────────────────────────────────────────────────────────────────────────
 */

static void add_refused(struct commit *c, uint32_t place, const char *message)
{
    if (c->refused_count == c->refused_cap) {
        c->refused_cap = c->refused_cap > 0 ? c->refused_cap * 2 : 16;
        c->refused = must(realloc(c->refused, c->refused_cap * sizeof *c->refused));
    }
    c->refused[c->refused_count++] =
        (struct refused){.place = place, .message = must(strdup(message))};
}

static void on_queued(void *context, const struct reply *reply)
{
    struct commit *c = context;
    uint32_t place = c->queued++;
    if (reply->type != REPLY_ERROR)
        return;
    if (reply_means_later(reply)) {
        c->wants_later = true;
        snprintf(c->later, sizeof c->later, "%s", reply->text);
        return;
    }
    add_refused(c, place, reply->text);
}

static const char *what_of(const struct commit *c, uint32_t place)
{
    for (size_t i = 0; i < c->described_count; i++)
        if (place >= c->described[i].first && place < c->described[i].first + c->described[i].count)
            return c->described[i].what;
    return "a rule's effect";
}

/* An engine command among those refused at queueing. */
static bool find_fatal(struct commit *c, struct error *why)
{
    for (size_t i = 0; i < c->refused_count; i++) {
        if (c->refused[i].place < c->effects)
            continue;
        struct reply error = {.type = REPLY_ERROR,
                              .len = strlen(c->refused[i].message),
                              .text = c->refused[i].message};
        if (reply_is_error(&error, "NOPERM"))
            owner_explain_refusal(c->owner, &error, what_of(c, c->refused[i].place), why);
        else
            error_set(why, ERROR_FATAL_REPLY, "Redis refuses %s: %s",
                      what_of(c, c->refused[i].place), error.text);
        return true;
    }
    return false;
}

static enum commit_outcome judge(struct commit *c, const struct reply *exec, struct error *why)
{
    if (exec->type == REPLY_NIL)
        return COMMIT_FENCED;
    if (exec->type == REPLY_ARRAY) {
        for (uint32_t i = 0; i < exec->count; i++)
            if (exec->elements[i]->type == REPLY_ERROR)
                add_refused(c, i, exec->elements[i]->text);
        c->owner->commits++;
        c->owner->verified = c->owner->commits;
        return COMMIT_LANDED;
    }
    if (c->wants_later || reply_means_later(exec)) {
        error_set(why, ERROR_REPLY, "%s", c->wants_later ? c->later : exec->text);
        return COMMIT_LATER;
    }
    if (find_fatal(c, why))
        return COMMIT_FATAL;
    if (c->refused_count > 0)
        return COMMIT_REFUSED;
    if (exec->type == REPLY_ERROR)
        owner_explain_refusal(c->owner, exec, "EXEC", why);
    else
        error_set(why, ERROR_FATAL_REPLY, "Redis answers EXEC with neither an array nor nil");
    return COMMIT_FATAL;
}

static void on_exec(void *context, const struct reply *reply)
{
    struct commit *c = context;
    struct error why = {0};
    assert(c->phase == PHASE_FLYING);
    enum commit_outcome outcome = judge(c, reply, &why);
    c->phase = PHASE_ARMING; /* its reply comes next */
    c->callbacks.on_outcome(c->context, outcome, &why);
}

bool commit_refused_next(const struct commit *c, size_t *cursor, uint32_t *effect,
                         const char **message)
{
    for (; *cursor < c->refused_count; (*cursor)++) {
        const struct refused *r = &c->refused[*cursor];
        if (r->place >= c->effects)
            continue;
        *effect = r->place;
        *message = r->message;
        (*cursor)++;
        return true;
    }
    return false;
}

const char *commit_complaint_next(const struct commit *c, size_t *cursor, const char **message)
{
    for (; *cursor < c->refused_count; (*cursor)++) {
        const struct refused *r = &c->refused[*cursor];
        if (r->place < c->effects)
            continue;
        *message = r->message;
        (*cursor)++;
        return what_of(c, r->place);
    }
    return NULL;
}
