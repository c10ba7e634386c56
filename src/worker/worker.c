/* worker.c: see worker.h. Begins with one look at Redis (its commands, its eviction policy, the
 * streams that globs match), then tells of the partitions it found and opens those that it is
 * given; from then on a tick renews leases and looks at streams. */
#include "worker/worker.h"

#include "base/clock.h"
#include "base/log.h"
#include "redis/command.h"
#include "redis/commands.h"
#include "stream/keys.h"
#include "worker/blames.h"
#include "worker/globs.h"
#include "worker/probe.h"
#include "worker/share.h"
#include "worker/status.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

enum { TICK_MS = 200, PROBE_EVERY_MS = 1000, SCAN_EVERY_MS = 2000, STOP_MS = 900 };

struct worker {
    struct share_home home;
    struct worker_callbacks callbacks;
    void *context;
    struct share **shares;
    size_t share_count;
    struct reload *reload;
    struct loop_timer *tick_timer, *stop_timer;
    struct probe *probe;
    struct blames blames; /* as told by worker_blame, and not done yet */
    uint64_t started_ms, probe_at_ms, scan_at_ms;
    bool has_looked, is_told_away;
    bool is_open;    /* the first streams are known: partitions may be told of and opened */
    bool is_resting; /* until worker_resume: all leases are given back */
    bool is_stopping, is_stopped;
};

/* ── partitions
 * ───────────────────────────────────────────────────────────────────────────────────────────────────────
 */

static void fatal(struct worker *w, const struct error *why)
{
    w->callbacks.on_fatal(w->context, why);
}

static void on_fatal(void *context, const struct error *why)
{
    fatal(context, why);
}

/* After worker_stop: once, when nothing is open any more. */
static void check_stopped(struct worker *w)
{
    if (!w->is_stopping || w->is_stopped)
        return;
    for (size_t i = 0; i < w->share_count; i++)
        if (share_state(w->shares[i]) != SHARE_KNOWN)
            return;
    w->is_stopped = true;
    w->callbacks.on_stopped(w->context);
}

/* The supervisor's word alone opens a partition, and only once all streams of it are found. */
static void open_when_wanted(struct worker *w, struct share *share)
{
    if (share_is_wanted(share) && share_state(share) == SHARE_KNOWN && w->is_open &&
        !w->is_resting && !w->is_stopping)
        share_open(share);
}

static void on_left(void *context, struct share *share)
{
    struct worker *w = context;
    open_when_wanted(w, share);
    check_stopped(w);
    reload_look(w->reload); /* one less to wait for */
}

static void on_parted(void *context)
{
    struct worker *w = context;
    reload_look(w->reload);
}

static void on_full(void *context)
{
    struct worker *w = context;
    log_repeat(LOG_WARN, "vm_full",
               "the rules' memory is full of what is no event's; they are loaded anew", NULL);
    reload_renew(w->reload, rulebook_edition(w->home.book));
}

static void on_blamed(void *context, const struct blame *blame)
{
    struct worker *w = context;
    struct blame copy = *blame; /* it may be the list's own */
    log_line(LOG_WARN, "blamed", "an event that took a worker down is done", "partition",
             copy.partition, "stream", copy.stream, "rule", copy.rule, "version", copy.version,
             "reason", copy.reason, NULL);
    blames_forget(&w->blames, &copy);
    w->callbacks.on_blamed(w->context, &copy);
}

static struct share *find_share(struct worker *w, const char *tag, size_t len)
{
    for (size_t i = 0; i < w->share_count; i++)
        if (share_is_tagged(w->shares[i], tag, len))
            return w->shares[i];
    return NULL;
}

static struct share *add_share(struct worker *w, const char *tag, size_t len)
{
    static const struct share_callbacks callbacks = {.on_fatal = on_fatal,
                                                     .on_blamed = on_blamed,
                                                     .on_parted = on_parted,
                                                     .on_full = on_full,
                                                     .on_left = on_left};
    w->shares = realloc(w->shares, (w->share_count + 1) * sizeof *w->shares);
    if (w->shares == NULL)
        abort();
    w->shares[w->share_count] = share_create(&w->home, tag, len, &callbacks, w);
    return w->shares[w->share_count++];
}

/* A stream that the rules read. `pattern`: the glob that brought it, or NULL. */
static void add_stream(struct worker *w, const char *name, size_t len, const char *pattern,
                       bool is_later)
{
    const char *tag;
    size_t tag_len;
    keys_tag_of(name, len, w->home.config->partition != 0, &tag, &tag_len);
    struct share *share = find_share(w, tag, tag_len);
    if (share == NULL)
        share = add_share(w, tag, tag_len);
    if (!share_add_stream(share, name, len, pattern, is_later))
        return;
    if (w->is_open)
        log_line(LOG_INFO, "stream_found",
                 pattern != NULL ? "a stream matches a rule's glob" : "a rule reads another stream",
                 "stream", name, pattern != NULL ? "pattern" : NULL, pattern, NULL);
}

/* ── the first look
 * ───────────────────────────────────────────────────────────────────────────────────────────────────
 */

static bool is_glob(const char *name)
{
    return strpbrk(name, "*?[") != NULL;
}

/* What the rules read: the streams that they name, and their globs. */
static void collect_streams(struct worker *w)
{
    struct names *globs = rulebook_registry(w->home.book)->globs;
    globs_begin_list(w->home.globs);
    for (size_t i = 0; i < rulebook_count(w->home.book); i++) {
        struct rule_info rule;
        rulebook_rule(w->home.book, i, &rule);
        for (size_t k = 0; k < rule.stream_count; k++) {
            const char *name = rule.streams[k];
            size_t len = strlen(name);
            if (is_glob(name))
                globs_list(w->home.globs, names_text(globs, names_number(globs, name, len), NULL));
            else
                add_stream(w, name, len, NULL, false);
        }
    }
}

static void on_look(void *context, const struct reply *const *replies, size_t count);

enum { LOOK_COMMANDS, LOOK_POLICY, LOOK_TIME };

static void look(void *context)
{
    struct worker *w = context;
    struct buf *out = talk_begin(control_talk(w->home.control), control_link(w->home.control));
    command_append(out, "COMMAND", NULL);
    talk_expect(control_talk(w->home.control), "COMMAND");
    command_append(out, "INFO", "memory", NULL); /* not CONFIG GET, which hosted Redises forbid */
    talk_expect(control_talk(w->home.control), "INFO");
    command_append(out, "TIME", NULL);
    talk_expect(control_talk(w->home.control), "TIME");
    talk_send(control_talk(w->home.control), on_look, w);
}

static void set_clock(struct worker *w, const struct reply *time)
{
    if (time->type != REPLY_ARRAY || time->count != 2)
        return;
    double redis_ms = (double)reply_number(time->elements[0], 0) * 1000 +
                      (double)reply_number(time->elements[1], 0) / 1000;
    w->home.redis_ahead_ms = redis_ms - (double)clock_now_us() / 1000;
    for (size_t i = 0; i < w->share_count; i++)
        if (share_partition(w->shares[i]) != NULL)
            partition_set_clock(share_partition(w->shares[i]), w->home.redis_ahead_ms);
}

static bool take_look(struct worker *w, const struct reply *const *replies, struct error *why)
{
    const struct reply *policy = replies[LOOK_POLICY];
    if (reply_is_error(replies[LOOK_COMMANDS], NULL)) {
        if (reply_means_later(replies[LOOK_COMMANDS])) {
            log_repeat(LOG_WARN, "redis_later", "Redis cannot answer now; waiting", "cause",
                       replies[LOOK_COMMANDS]->text, NULL);
            return false;
        }
        error_set(why, ERROR_FATAL_REPLY,
                  "Redis: %s (COMMAND); grant the command with: ACL SETUSER %s +command",
                  replies[LOOK_COMMANDS]->text,
                  w->home.url.user[0] != '\0' ? w->home.url.user : "default");
        return false;
    }
    struct commands *commands;
    if (commands_load(replies[LOOK_COMMANDS], &commands, why) != 0)
        return false;
    const char *evicts =
        policy->type == REPLY_STRING ? strstr(policy->text, "maxmemory_policy:allkeys") : NULL;
    if (evicts != NULL && !w->home.config->allow_eviction) {
        evicts += sizeof "maxmemory_policy:" - 1;
        commands_destroy(commands);
        error_set(why, ERROR_FATAL_REPLY,
                  "this Redis may evict any key (maxmemory-policy %.*s), the engine's position and "
                  "states too; set it to "
                  "noeviction or volatile-lru, or accept the loss with --allow-eviction",
                  (int)strcspn(evicts, "\r\n"), evicts);
        return false;
    }
    for (size_t i = 0; i < w->share_count; i++)
        if (share_partition(w->shares[i]) != NULL)
            partition_set_commands(share_partition(w->shares[i]), commands);
    commands_destroy(w->home.commands);
    w->home.commands = commands;
    set_clock(w, replies[LOOK_TIME]);
    return true;
}

/* Tells of the partitions that are new, opens those that it has been given, and lets the open ones
 * take the streams that are new. */
static void take_new_streams(struct worker *w, bool has_new_globs)
{
    w->is_open = true;
    for (size_t i = 0; i < w->share_count; i++) {
        struct share *share = w->shares[i];
        size_t len;
        const char *tag = share_tag(share, &len);
        if (!share_is_told(share))
            w->callbacks.on_found(w->context, tag, len,
                                  share_has_later(share) ? LATER_SOME : LATER_NONE);
        share_set_told(share);
        if (share_state(share) == SHARE_KNOWN)
            open_when_wanted(w, share);
        else if (share_state(share) == SHARE_OPEN &&
                 (has_new_globs || probe_has_unknown(share_partition(share))))
            partition_take_sources(share_partition(share));
    }
    if (globs_are_scanned(w->home.globs))
        w->callbacks.on_scanned(w->context);
}

static void on_look(void *context, const struct reply *const *replies, size_t count)
{
    struct worker *w = context;
    struct error why = {0};
    (void)count;
    bool is_fine = take_look(w, replies, &why);
    if (is_fine && !w->is_open && !globs_are_there(w->home.globs))
        take_new_streams(w, false);
    w->has_looked |= is_fine;
    control_end(w->home.control);
    if (why.code != ERROR_NONE)
        fatal(w, &why);
}

/* ── streams of globs
 * ──────────────────────────────────────────────────────────────────────────────────────────────────
 */

static void on_stream(void *context, const char *name, size_t len, const char *glob, bool is_later)
{
    add_stream(context, name, len, glob, is_later);
}

static void on_scanned(void *context, bool has_new)
{
    struct worker *w = context;
    if (has_new && find_share(w, "", 0) == NULL)
        add_share(w, "", 0); /* it remembers since when the globs are known */
    for (size_t i = 0; i < w->share_count && has_new; i++)
        share_give_globs(w->shares[i]);
    take_new_streams(w, has_new);
}

/* ── other rules
 * ─────────────────────────────────────────────────────────────────────────────────────────────────────
 */

static void go_on(void *context)
{
    struct worker *w = context;
    for (size_t i = 0; i < w->share_count; i++)
        if (share_partition(w->shares[i]) != NULL)
            partition_go_on(share_partition(w->shares[i]));
}

static void part(void *context)
{
    struct worker *w = context;
    w->home.is_parting = true;
    for (size_t i = 0; i < w->share_count; i++)
        if (share_partition(w->shares[i]) != NULL)
            partition_part(share_partition(w->shares[i]));
    reload_look(w->reload);
}

static bool is_parted(void *context)
{
    const struct worker *w = context;
    for (size_t i = 0; i < w->share_count; i++)
        if (share_partition(w->shares[i]) != NULL &&
            !partition_is_parted(share_partition(w->shares[i])))
            return false;
    return true;
}

static void swap(void *context, struct rulebook *book)
{
    struct worker *w = context;
    struct rulebook *before = w->home.book;
    bool was_scanned = globs_are_scanned(w->home.globs);
    rulebook_inherit(book, before);
    (void)rulebook_wake(book, NULL); /* not the first on this thread */
    w->home.book = book;
    w->home.is_parting = false;
    for (size_t i = 0; i < w->share_count; i++) {
        struct partition *p = share_partition(w->shares[i]);
        if (p != NULL && partition_attach(p, book))
            partition_take_sources(p);
    }
    w->callbacks.on_rules(w->context, book);
    collect_streams(w);
    if (w->is_open || (w->has_looked && !globs_are_there(w->home.globs)))
        take_new_streams(w, false);
    go_on(w);
    if (!globs_are_scanned(w->home.globs) && was_scanned && control_is_up(w->home.control))
        globs_scan(w->home.globs); /* else one is on its way, or comes with the link */
    rulebook_release(before);
}

/* ── ticking
 * ──────────────────────────────────────────────────────────────────────────────────────────────────────────
 */

static void on_time(void *context, const struct reply *const *replies, size_t count)
{
    struct worker *w = context;
    (void)count;
    set_clock(w, replies[0]);
    control_end(w->home.control);
}

static void ask_time(void *context)
{
    struct worker *w = context;
    struct buf *out = talk_begin(control_talk(w->home.control), control_link(w->home.control));
    command_append(out, "TIME", NULL);
    talk_expect(control_talk(w->home.control), "TIME");
    talk_send(control_talk(w->home.control), on_time, w);
}

static void tick(void *context)
{
    struct worker *w = context;
    uint64_t now = clock_now_ms();
    loop_timer_start(w->tick_timer, TICK_MS);
    log_flush_held(now);
    if (!control_is_up(w->home.control))
        return;
    if (!w->has_looked) {
        if (!control_is_busy(w->home.control))
            control_add(w->home.control, &(struct control_job){.begin = look, .context = w});
        return;
    }
    for (size_t i = 0; i < w->share_count; i++)
        share_tick(w->shares[i], now);
    if (control_is_busy(w->home.control) || w->is_stopping)
        return;
    if (now >= w->probe_at_ms) {
        w->probe_at_ms = now + PROBE_EVERY_MS;
        control_add(w->home.control, &(struct control_job){.begin = ask_time, .context = w});
        for (size_t i = 0; i < w->share_count; i++) {
            share_measure(w->shares[i], now);
            if (share_state(w->shares[i]) == SHARE_OPEN)
                probe_add(w->probe, share_partition(w->shares[i]));
        }
    }
    if (globs_are_there(w->home.globs) &&
        (now >= w->scan_at_ms || !globs_are_scanned(w->home.globs))) {
        w->scan_at_ms = now + SCAN_EVERY_MS;
        globs_scan(w->home.globs);
    }
}

/* ── life
 * ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
 */

static void on_control_up(void *context)
{
    struct worker *w = context;
    if (w->is_told_away)
        log_line(LOG_INFO, "redis_back", "Redis is there", "url", w->home.url.shown, NULL);
    w->is_told_away = false;
    control_add(w->home.control, &(struct control_job){.begin = look, .context = w});
    if (globs_are_there(w->home.globs))
        globs_scan(w->home.globs);
}

static void on_control_down(void *context, const struct error *why)
{
    struct worker *w = context;
    if (why->code == ERROR_FATAL_REPLY) {
        fatal(w, why);
        return;
    }
    log_repeat(LOG_WARN, "redis_away", "no connection to Redis; trying again", "url",
               w->home.url.shown, "cause", why->text, NULL);
    w->is_told_away = true;
}

static void on_stop_timer(void *context)
{
    struct worker *w = context;
    log_line(LOG_WARN, "stop_in_haste",
             "Redis did not answer in time; the lease was not given back and expires by itself",
             NULL);
    w->callbacks.on_stopped(w->context);
}

int worker_create(const struct worker_options *options, const struct worker_callbacks *callbacks,
                  void *context, struct worker **out, struct error *error)
{
    static const struct control_callbacks control_callbacks = {.on_up = on_control_up,
                                                               .on_down = on_control_down};
    static const struct globs_callbacks globs_callbacks = {
        .on_stream = on_stream, .on_scanned = on_scanned, .on_fatal = on_fatal};
    static const struct reload_callbacks reload_callbacks = {
        .part = part, .is_parted = is_parted, .swap = swap, .go_on = go_on};
    const struct config *config = options->config;
    struct rulebook *book = options->book;
    struct worker *w = calloc(1, sizeof *w);
    if (w == NULL)
        abort();
    w->home = (struct share_home){.config = config,
                                  .book = book,
                                  .loop = options->loop,
                                  .slot = options->slot,
                                  .token = options->token,
                                  .blames = &w->blames};
    w->callbacks = *callbacks;
    w->context = context;
    w->started_ms = clock_now_ms();
    int failed = redis_url_parse(config->redis, &w->home.url, error);
    if (failed == 0)
        failed = rulebook_wake(book, error);
    if (failed != 0) {
        free(w);
        return failed;
    }
    char name[192];
    snprintf(name, sizeof name, "tidemill-%s-control", config->group);
    struct link_options link_options = {.url = &w->home.url, .name = name};
    w->home.control = control_create(w->home.loop, &link_options, &control_callbacks, w);
    w->tick_timer = loop_timer_open(w->home.loop, tick, w);
    w->stop_timer = loop_timer_open(w->home.loop, on_stop_timer, w);
    w->probe = probe_create(w->home.control, config->group);
    w->home.globs =
        globs_create(w->home.control, config->group, w->home.url.user, &globs_callbacks, w);
    struct rulebook_options book_options = {
        .config = config,
        .dir = config->rules,
        .registry = rulebook_registry(book),
        .load_ms = 2 * (uint64_t)config->limits.load_ms, /* it was validated within one */
    };
    w->reload =
        reload_create(w->home.loop, &book_options, rulebook_note(book), &reload_callbacks, w);
    rulebook_keep(book);
    reload_adopt(w->reload, book);
    *out = w;
    return 0;
}

void worker_destroy(struct worker *w)
{
    if (w == NULL)
        return;
    for (size_t i = 0; i < w->share_count; i++)
        share_destroy(w->shares[i]);
    free(w->shares);
    probe_destroy(w->probe);
    control_destroy(w->home.control);
    commands_destroy(w->home.commands);
    loop_timer_close(w->tick_timer);
    loop_timer_close(w->stop_timer);
    globs_destroy(w->home.globs);
    rulebook_on_unused(w->home.book, NULL, NULL); /* nobody is kept waiting any more */
    rulebook_release(w->home.book);
    reload_destroy(w->reload);
    blames_fini(&w->blames);
    free(w);
}

void worker_start(struct worker *w)
{
    collect_streams(w);
    control_open(w->home.control);
    loop_timer_start(w->tick_timer, TICK_MS);
}

void worker_stop(struct worker *w)
{
    if (w->is_stopping)
        return;
    w->is_stopping = true;
    reload_stop(w->reload);
    loop_timer_start(w->stop_timer, STOP_MS);
    for (size_t i = 0; i < w->share_count; i++)
        share_leave(w->shares[i]);
    check_stopped(w);
}

void worker_take(struct worker *w, const char *tag, size_t len, enum message_later later)
{
    struct share *share = find_share(w, tag, len);
    if (share == NULL)
        share = add_share(w, tag, len); /* its streams are still to be found */
    share_set_told(share);
    share_want(share, later);
    open_when_wanted(w, share);
}

void worker_rest(struct worker *w)
{
    w->is_resting = true;
    for (size_t i = 0; i < w->share_count; i++)
        share_leave(w->shares[i]);
}

void worker_resume(struct worker *w)
{
    w->is_resting = false;
    for (size_t i = 0; i < w->share_count; i++)
        open_when_wanted(w, w->shares[i]);
}

void worker_blame(struct worker *w, const struct blame *blame)
{
    blames_add(&w->blames, blame);
    for (size_t i = 0; i < w->share_count; i++) {
        struct partition *partition = share_partition(w->shares[i]);
        if (partition != NULL && strcmp(partition_name(partition), blame->partition) == 0)
            pipeline_blame(partition_pipeline(partition), blame);
    }
}

void worker_take_edition(struct worker *w, struct edition *edition, reload_done_call *done,
                         void *context)
{
    reload_take(w->reload, edition, done, context);
}

void worker_status(struct worker *w, struct buf *json)
{
    struct partition **partitions = calloc(w->share_count + 1, sizeof *partitions);
    if (partitions == NULL)
        abort();
    for (size_t i = 0; i < w->share_count; i++)
        partitions[i] = share_partition(w->shares[i]);
    struct status status = {.config = w->home.config,
                            .book = w->home.book,
                            .url = w->home.url.shown,
                            .is_connected = control_is_up(w->home.control),
                            .up_ms = clock_now_ms() - w->started_ms,
                            .partitions = partitions,
                            .partition_count = w->share_count};
    status_begin(&status, json);
    for (size_t i = 0; i < w->share_count; i++)
        if (partitions[i] != NULL)
            status_add_partition(&status, json, partitions[i], share_events_per_s(w->shares[i]));
    status_end(&status, json);
    free(partitions);
}
