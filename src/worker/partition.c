/* partition.c: see partition.h. */
#include "worker/partition.h"

#include "base/backoff.h"
#include "base/clock.h"
#include "base/log.h"
#include "redis/command.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

enum { LOOK_EVERY_MS = 100, LATER_LEAST_MS = 50, LATER_MOST_MS = 1000 };

struct partition {
    struct partition_options options;
    struct partition_callbacks callbacks;
    void *context;
    char name[PARTITION_NAME];
    struct keys keys;
    struct owner owner;
    struct link *read_link, *commit_link;
    struct pipeline *pipeline;
    enum partition_phase phase;
    struct loop_timer *timer; /* looking again, or connecting again after trouble */
    uint64_t later_ms;        /* the last wait after trouble; 0: none since the last commit */
    uint64_t commits_then;    /* commits when trouble came last */
    bool is_draining, is_standby_told;
    bool is_changing; /* holds: takes other sources as soon as nothing is under way */
};

static void look(struct partition *p);
static void acquire(struct partition *p);

/* ── trouble
 * ──────────────────────────────────────────────────────────────────────────────────────────────────────────
 */

static void drop_all(struct partition *p)
{
    link_close(p->read_link);
    link_close(p->commit_link);
    owner_cancel(&p->owner);
    pipeline_rest(p->pipeline);
}

static void end_drain(struct partition *p)
{
    p->phase = PARTITION_CLOSED;
    p->callbacks.on_drained(p->context, p);
}

/* (1) */
static void begin_anew(struct partition *p, bool later)
{
    struct pipeline_counts counts;
    pipeline_count(p->pipeline, &counts);
    if (counts.commits != p->commits_then)
        p->later_ms = 0;
    p->commits_then = counts.commits;
    drop_all(p);
    owner_drop_unread(&p->owner);
    p->is_changing = false;
    p->phase = PARTITION_CONNECTING;
    if (p->is_draining) {
        end_drain(p);
        return;
    }
    /* Trouble that comes again without a commit in between waits longer each time. */
    uint64_t wait_ms = p->later_ms == 0 ? (later ? LATER_LEAST_MS : 0) : p->later_ms * 2;
    if (wait_ms > LATER_MOST_MS)
        wait_ms = LATER_MOST_MS;
    p->later_ms = wait_ms > 0 ? wait_ms : 1;
    loop_timer_start(p->timer, wait_ms);
}

static void on_trouble(void *context, const char *kind, const char *why, bool later)
{
    struct partition *p = context;
    log_repeat(later ? LOG_WARN : LOG_INFO, kind,
               later ? "Redis cannot write now; waiting" : "going on from the committed position",
               "partition", p->name, "cause", why, NULL);
    begin_anew(p, later);
}

void partition_recover(struct partition *p, const char *kind, const char *why)
{
    if (p->phase == PARTITION_OWNED || p->phase == PARTITION_ACQUIRING)
        on_trouble(p, kind, why, false);
}

static void on_fatal(void *context, const struct error *why)
{
    struct partition *p = context;
    p->callbacks.on_fatal(p->context, why);
}

/* XREAD was refused: a wrong type, a missing permission, or later. */
static void on_refused_read(void *context, const struct reply *error)
{
    struct partition *p = context;
    if (reply_is_error(error, "NOPERM") && strstr(error->text, "'xread'") != NULL) {
        struct error why;
        owner_explain_refusal(&p->owner, error, "XREAD", &why);
        on_fatal(p, &why);
        return;
    }
    /* The acquire that follows looks at every stream by itself: WRONGTYPE, it leaves the wrong ones
     * out; NOPERM, it names the key that may not be read. */
    on_trouble(p, "read_refused", error->text, !reply_is_error(error, "WRONGTYPE"));
}

static void on_blamed(void *context, const struct blame *blame)
{
    struct partition *p = context;
    p->callbacks.on_blamed(p->context, blame);
}

static void on_idle(void *context)
{
    struct partition *p = context;
    if (p->is_draining)
        p->callbacks.on_drained(p->context, p);
    else if (p->is_changing)
        begin_anew(p, false);
}

static void on_parted(void *context)
{
    struct partition *p = context;
    p->callbacks.on_parted(p->context);
}

static void on_full(void *context)
{
    struct partition *p = context;
    p->callbacks.on_full(p->context);
}

/* ── links
 * ────────────────────────────────────────────────────────────────────────────────────────────────────────────
 */

static void on_up(void *context)
{
    struct partition *p = context;
    if (p->phase == PARTITION_CONNECTING && link_is_up(p->read_link) && link_is_up(p->commit_link))
        look(p);
}

static void on_down(void *context, const struct error *why)
{
    struct partition *p = context;
    if (why->code == ERROR_FATAL_REPLY) {
        on_fatal(p, why);
        return;
    }
    log_repeat(LOG_WARN, "redis_away", "no connection to Redis; trying again", "url",
               p->options.url->shown, "partition", p->name, "cause", why->text, NULL);
    if (p->phase != PARTITION_CONNECTING)
        begin_anew(p, false);
    /* While connecting, the link itself tries again. */
}

/* ── taking the partition
 * ───────────────────────────────────────────────────────────────────────────────────────────── */

static void on_lease(void *context, const struct reply *reply)
{
    struct partition *p = context;
    if (p->phase != PARTITION_LOOKING)
        return;
    if (reply->type == REPLY_NIL || reply_is_text(reply, p->owner.token) ||
        reply->type == REPLY_ERROR) {
        acquire(p); /* an error shows there with its cure */
        return;
    }
    if (!p->is_standby_told)
        log_line(LOG_INFO, "standby", "another process works on this partition; standing by",
                 "partition", p->name, "group", p->options.config->group, NULL);
    p->is_standby_told = true;
    loop_timer_start(p->timer, LOOK_EVERY_MS);
}

static void look(struct partition *p)
{
    p->phase = PARTITION_LOOKING;
    command_append(link_out(p->commit_link), "GET", p->keys.lease.data, NULL);
    link_expect(p->commit_link, on_lease, p, NULL, 0);
    link_flush(p->commit_link);
}

static void on_acquired(void *context, int outcome, const struct error *why)
{
    struct partition *p = context;
    switch (outcome) {
    case OWNER_MINE:
        p->phase = PARTITION_OWNED;
        p->is_standby_told = false;
        log_line(LOG_INFO, "acquired", "working on this partition", "partition", p->name, "fence",
                 p->owner.fence, "streams", log_number((long long)p->owner.source_count - 1), NULL);
        pipeline_start(p->pipeline);
        p->callbacks.on_owned(p->context, p);
        return;
    case OWNER_TAKEN:
        p->phase = PARTITION_LOOKING;
        loop_timer_start(p->timer, LOOK_EVERY_MS);
        return;
    case OWNER_LATER:
        on_trouble(p, "acquire_later", why->text, true);
        return;
    default:
        on_fatal(p, why);
        return;
    }
}

static void acquire(struct partition *p)
{
    p->phase = PARTITION_ACQUIRING;
    owner_acquire(&p->owner, p->commit_link, on_acquired, p);
}

static void on_timer(void *context)
{
    struct partition *p = context;
    if (p->phase == PARTITION_LOOKING) {
        look(p);
    } else if (p->phase == PARTITION_CONNECTING) {
        link_open(p->read_link);
        link_open(p->commit_link);
    }
}

/* ── life
 * ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
 */

static struct link *create_link(struct partition *p, const char *role)
{
    static const struct link_callbacks callbacks = {.on_up = on_up, .on_down = on_down};
    char name[192];
    snprintf(name, sizeof name, "tidemill-%s-%s", p->options.config->group, role);
    struct link_options options = {.url = p->options.url, .name = name};
    return link_create(p->options.loop, &options, &callbacks, p);
}

void partition_name_of(const char *tag, size_t len, char name[PARTITION_NAME])
{
    snprintf(name, PARTITION_NAME, "%.*s", len > 0 ? (int)len : 1, len > 0 ? tag : "-");
}

int partition_create(const struct partition_options *options,
                     const struct partition_callbacks *callbacks, void *context,
                     struct partition **out, struct error *error)
{
    static const struct pipeline_callbacks pipeline_callbacks = {.on_trouble = on_trouble,
                                                                 .on_fatal = on_fatal,
                                                                 .on_refused_read = on_refused_read,
                                                                 .on_idle = on_idle,
                                                                 .on_blamed = on_blamed,
                                                                 .on_parted = on_parted,
                                                                 .on_full = on_full};
    struct partition *p = calloc(1, sizeof *p);
    if (p == NULL)
        abort();
    p->options = *options;
    p->callbacks = *callbacks;
    p->context = context;
    partition_name_of(options->tag, options->tag_len, p->name);
    keys_init(&p->keys, options->tag, options->tag_len, options->config->group);
    struct owner_options owner_options = {
        .keys = &p->keys,
        .group = options->config->group,
        .from = options->config->from,
        .lease_ms = (uint64_t)options->config->lease_ms,
        .token = options->token,
        .user = options->url->user,
    };
    owner_init(&p->owner, &owner_options);
    owner_add_source(&p->owner, p->keys.inbox.data, p->keys.inbox.len, 0);
    p->read_link = create_link(p, "read");
    p->commit_link = create_link(p, "commit");
    p->timer = loop_timer_open(options->loop, on_timer, p);
    struct pipeline_options pipeline_options = {
        .config = options->config,
        .book = options->book,
        .loop = options->loop,
        .keys = &p->keys,
        .owner = &p->owner,
        .read_link = p->read_link,
        .commit_link = p->commit_link,
        .name = p->name,
        .slot = options->slot,
    };
    int failed = pipeline_create(&pipeline_options, &pipeline_callbacks, p, &p->pipeline, error);
    if (failed != 0)
        partition_destroy(p);
    else
        *out = p;
    return failed;
}

void partition_destroy(struct partition *p)
{
    if (p == NULL)
        return;
    link_close(p->read_link);
    link_close(p->commit_link);
    owner_cancel(&p->owner);
    pipeline_destroy(p->pipeline);
    loop_timer_close(p->timer);
    link_destroy(p->read_link);
    link_destroy(p->commit_link);
    owner_fini(&p->owner);
    keys_fini(&p->keys);
    free(p);
}

void partition_add_stream(struct partition *p, const char *name, size_t len, const char *pattern,
                          bool is_later)
{
    if (p->phase == PARTITION_ACQUIRING) /* its replies are for the list of before */
        partition_recover(p, "streams_found", "new streams match the rules");
    struct source *s =
        owner_add_source(&p->owner, name, len, rulebook_stream(p->options.book, name, len));
    s->pattern = pattern;
    s->is_later = is_later;
    pipeline_update_sources(p->pipeline);
}

bool partition_has_stream(const struct partition *p, const char *name, size_t len)
{
    return owner_find_source(&p->owner, name, len) != NULL;
}

void partition_add_pattern(struct partition *p, const char *pattern)
{
    for (size_t i = 0; i < p->owner.pattern_count; i++)
        if (p->owner.patterns[i] == pattern)
            return;
    p->owner.patterns =
        realloc(p->owner.patterns, (p->owner.pattern_count + 1) * sizeof *p->owner.patterns);
    if (p->owner.patterns == NULL)
        abort();
    p->owner.patterns[p->owner.pattern_count++] = pattern;
}

void partition_take_sources(struct partition *p)
{
    if (p->phase == PARTITION_ACQUIRING) {
        partition_recover(p, "streams_changed", "the rules read other streams");
    } else if (p->phase == PARTITION_OWNED) {
        p->is_changing = true;
        pipeline_hold(p->pipeline);
    } else {
        owner_drop_unread(&p->owner); /* nothing of them is under way */
    }
}

void partition_part(struct partition *p)
{
    pipeline_part(p->pipeline);
}

bool partition_is_parted(const struct partition *p)
{
    return pipeline_is_parted(p->pipeline);
}

bool partition_attach(struct partition *p, struct rulebook *book)
{
    bool has_unread = false;
    pipeline_attach(p->pipeline, book);
    p->options.book = book;
    for (size_t i = 0; i < p->owner.source_count; i++) {
        struct source *s = p->owner.sources[i];
        s->is_unread = s->number != 0 && !rulebook_is_read(book, s->number);
        has_unread |= s->is_unread;
    }
    return has_unread;
}

void partition_go_on(struct partition *p)
{
    pipeline_go_on(p->pipeline);
}

void partition_open(struct partition *p)
{
    assert(p->phase == PARTITION_CLOSED);
    p->phase = PARTITION_CONNECTING;
    link_open(p->read_link);
    link_open(p->commit_link);
}

void partition_set_commands(struct partition *p, const struct commands *commands)
{
    pipeline_set_commands(p->pipeline, commands);
}

void partition_set_clock(struct partition *p, double redis_ahead_ms)
{
    pipeline_set_clock(p->pipeline, redis_ahead_ms);
}

void partition_drain(struct partition *p)
{
    p->is_draining = true;
    if (p->phase != PARTITION_OWNED) {
        drop_all(p);
        loop_timer_stop(p->timer);
        end_drain(p);
        return;
    }
    pipeline_hold(p->pipeline);
}

void partition_close(struct partition *p)
{
    drop_all(p);
    loop_timer_stop(p->timer);
    p->phase = PARTITION_CLOSED;
}

enum partition_phase partition_phase(const struct partition *p)
{
    return p->phase;
}

const char *partition_name(const struct partition *p)
{
    return p->name;
}

struct owner *partition_owner(struct partition *p)
{
    return &p->owner;
}

struct pipeline *partition_pipeline(struct partition *p)
{
    return p->pipeline;
}

const struct keys *partition_keys(const struct partition *p)
{
    return &p->keys;
}
