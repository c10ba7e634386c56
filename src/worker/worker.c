/* worker.c: see worker.h. Begins with one look at Redis (its commands, its eviction policy, the
 * streams that globs match), then opens the partitions; from then on a tick renews leases and looks
 * at streams. */
#include "worker/worker.h"

#include "base/clock.h"
#include "base/log.h"
#include "redis/command.h"
#include "redis/commands.h"
#include "stream/keys.h"
#include "worker/control.h"
#include "worker/partition.h"
#include "worker/probe.h"
#include "worker/status.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    TICK_MS = 200,
    PROBE_EVERY_MS = 1000,
    SCAN_EVERY_MS = 2000,
    STOP_MS = 900,
    STREAM_NAME_MOST = 900
};

/* A partition, and when its lease must be renewed. */
struct held {
    struct partition *partition;
    struct worker *worker;
    uint64_t renew_at_ms; /* 0: it is not ours */
    bool is_renewing, is_drained, is_given_back;
    uint64_t events_then, then_ms; /* for the rate */
    double events_per_s;
};

struct worker {
    struct loop *loop;
    const struct config *config;
    struct rulebook *book;
    struct worker_callbacks callbacks;
    void *context;
    struct redis_url url;
    struct control *control;
    struct commands *commands;
    struct held **held;
    size_t held_count;
    const char **patterns;  /* the globs of all rules */
    bool *is_known_pattern; /* this group knew the glob before this process began */
    size_t pattern_count, scanning;
    char scan_cursor[32];
    struct loop_timer *tick_timer, *stop_timer;
    struct probe *probe;
    uint64_t started_ms, probe_at_ms, scan_at_ms;
    bool has_looked, is_scanned, is_stopping, is_told_away, has_new_streams, is_told_name;
};

/* ── partitions
 * ───────────────────────────────────────────────────────────────────────────────────────────────────────
 */

static void fatal(struct worker *w, const struct error *why)
{
    w->callbacks.on_fatal(w->context, why);
}

static void on_partition_fatal(void *context, const struct error *why)
{
    struct held *held = context;
    fatal(held->worker, why);
}

static void on_owned(void *context, struct partition *p)
{
    struct held *held = context;
    (void)p;
    held->renew_at_ms = clock_now_ms() + (uint64_t)held->worker->config->lease_ms / 3;
}

static void give_back(struct held *held);

static void on_drained(void *context, struct partition *p)
{
    struct held *held = context;
    (void)p;
    if (held->is_drained)
        return;
    held->is_drained = true;
    give_back(held);
}

static struct held *find_partition(struct worker *w, const char *tag, size_t len)
{
    for (size_t i = 0; i < w->held_count; i++)
        if (partition_is_tagged(w->held[i]->partition, tag, len))
            return w->held[i];
    return NULL;
}

static struct held *add_partition(struct worker *w, const char *tag, size_t len)
{
    static const struct partition_callbacks callbacks = {
        .on_fatal = on_partition_fatal, .on_owned = on_owned, .on_drained = on_drained};
    struct held *held = calloc(1, sizeof *held);
    w->held = realloc(w->held, (w->held_count + 1) * sizeof *w->held);
    if (held == NULL || w->held == NULL)
        abort();
    held->worker = w;
    struct partition_options options = {.config = w->config,
                                        .book = w->book,
                                        .loop = w->loop,
                                        .url = &w->url,
                                        .tag = len > 0 ? tag : NULL,
                                        .tag_len = len};
    struct error error;
    if (partition_create(&options, &callbacks, held, &held->partition, &error) != 0) {
        free(held);
        fatal(w, &error);
        return NULL;
    }
    w->held[w->held_count++] = held;
    partition_set_commands(held->partition, w->commands);
    for (size_t i = 0; i < w->pattern_count; i++)
        partition_add_pattern(held->partition, w->patterns[i]);
    return held;
}

/* The hash tag of a key, as Redis Cluster reads it: between the first { and the next }, when not
 * empty. */
static void tag_of(const struct worker *w, const char *name, size_t len, const char **tag,
                   size_t *tag_len)
{
    const char *open = memchr(name, '{', len);
    const char *close = open != NULL ? memchr(open, '}', len - (size_t)(open - name)) : NULL;
    if (close != NULL && close > open + 1) {
        *tag = open + 1;
        *tag_len = (size_t)(close - open - 1);
        return;
    }
    *tag = name;
    *tag_len = w->config->partition != 0 ? len : 0;
}

/* True when it was not known before. */
static bool add_stream(struct worker *w, const char *name, size_t len, const char *pattern,
                       bool is_later)
{
    const char *tag;
    size_t tag_len;
    tag_of(w, name, len, &tag, &tag_len);
    struct held *held = find_partition(w, tag, tag_len);
    bool is_new_partition = held == NULL;
    if (held == NULL)
        held = add_partition(w, tag, tag_len);
    if (held == NULL || partition_has_stream(held->partition, name, len))
        return false;
    partition_add_stream(held->partition, name, len, pattern, is_later && is_new_partition);
    if (w->is_scanned) {
        log_line(LOG_INFO, "stream_found", "a stream matches a rule's glob", "stream", name,
                 "pattern", pattern, NULL);
        if (is_new_partition)
            partition_open(held->partition);
        else
            w->has_new_streams = true;
    }
    return true;
}

/* ── the first look
 * ───────────────────────────────────────────────────────────────────────────────────────────────────
 */

static bool is_glob(const char *name)
{
    return strpbrk(name, "*?[") != NULL;
}

static void collect_streams(struct worker *w)
{
    for (size_t i = 0; i < rulebook_count(w->book); i++) {
        struct rule_info rule;
        rulebook_rule(w->book, i, &rule);
        for (size_t k = 0; k < rule.stream_count; k++) {
            const char *name = rule.streams[k];
            if (!is_glob(name)) {
                add_stream(w, name, strlen(name), NULL, false);
                continue;
            }
            bool is_known = false;
            for (size_t n = 0; n < w->pattern_count; n++)
                is_known |= strcmp(w->patterns[n], name) == 0;
            if (is_known)
                continue;
            w->patterns = realloc(w->patterns, (w->pattern_count + 1) * sizeof *w->patterns);
            w->is_known_pattern =
                realloc(w->is_known_pattern, (w->pattern_count + 1) * sizeof *w->is_known_pattern);
            if (w->patterns == NULL || w->is_known_pattern == NULL)
                abort();
            w->is_known_pattern[w->pattern_count] = false;
            w->patterns[w->pattern_count++] = name;
        }
    }
}

static void on_look(void *context, const struct reply *const *replies, size_t count);

enum { LOOK_COMMANDS, LOOK_POLICY, LOOK_TIME, LOOK_SINCE };

static void look(void *context)
{
    struct worker *w = context;
    struct buf *out = talk_begin(control_talk(w->control), control_link(w->control));
    command_append(out, "COMMAND", NULL);
    talk_expect(control_talk(w->control), "COMMAND");
    command_append(out, "INFO", "memory", NULL); /* not CONFIG GET, which hosted Redises forbid */
    talk_expect(control_talk(w->control), "INFO");
    command_append(out, "TIME", NULL);
    talk_expect(control_talk(w->control), "TIME");
    struct keys home;
    keys_init(&home, NULL, 0, w->config->group);
    for (size_t i = 0; i < w->pattern_count; i++) {
        char field[1024];
        snprintf(field, sizeof field, "since:%s", w->patterns[i]);
        command_append(out, "HGET", home.ctl.data, field, NULL);
        talk_expect(control_talk(w->control), "HGET ctl");
    }
    keys_fini(&home);
    talk_send(control_talk(w->control), on_look, w);
}

static void set_clock(struct worker *w, const struct reply *time)
{
    if (time->type != REPLY_ARRAY || time->count != 2)
        return;
    double redis_ms = (double)reply_number(time->elements[0], 0) * 1000 +
                      (double)reply_number(time->elements[1], 0) / 1000;
    for (size_t i = 0; i < w->held_count; i++)
        partition_set_clock(w->held[i]->partition, redis_ms - (double)clock_now_ms());
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
                  replies[LOOK_COMMANDS]->text, w->url.user[0] != '\0' ? w->url.user : "default");
        return false;
    }
    struct commands *commands;
    if (commands_load(replies[LOOK_COMMANDS], &commands, why) != 0)
        return false;
    const char *evicts =
        policy->type == REPLY_STRING ? strstr(policy->text, "maxmemory_policy:allkeys") : NULL;
    if (evicts != NULL && !w->config->allow_eviction) {
        evicts += sizeof "maxmemory_policy:" - 1;
        commands_destroy(commands);
        error_set(why, ERROR_FATAL_REPLY,
                  "this Redis may evict any key (maxmemory-policy %.*s), the engine's position and "
                  "states too; set it to "
                  "noeviction or volatile-lru, or accept the loss with --allow-eviction",
                  (int)strcspn(evicts, "\r\n"), evicts);
        return false;
    }
    for (size_t i = 0; i < w->held_count; i++)
        partition_set_commands(w->held[i]->partition, commands);
    commands_destroy(w->commands);
    w->commands = commands;
    for (size_t i = 0; i < w->pattern_count && !w->has_looked; i++)
        w->is_known_pattern[i] = replies[LOOK_SINCE + i]->type == REPLY_STRING;
    set_clock(w, replies[LOOK_TIME]);
    return true;
}

static void scan(void *context);

static void open_partitions(struct worker *w)
{
    w->is_scanned = true;
    if (w->pattern_count > 0 && find_partition(w, "", 0) == NULL)
        add_partition(w, "", 0); /* it remembers since when the globs are known */
    for (size_t i = 0; i < w->held_count; i++)
        if (partition_phase(w->held[i]->partition) == PARTITION_CLOSED)
            partition_open(w->held[i]->partition);
}

static void on_look(void *context, const struct reply *const *replies, size_t count)
{
    struct worker *w = context;
    struct error why = {0};
    (void)count;
    bool is_fine = take_look(w, replies, &why);
    if (is_fine && !w->has_looked && w->pattern_count == 0)
        open_partitions(w);
    w->has_looked |= is_fine;
    control_end(w->control);
    if (why.code != ERROR_NONE)
        fatal(w, &why);
}

/* ── globs
 * ────────────────────────────────────────────────────────────────────────────────────────────────────────────
 */

static void scan_lost(void *context)
{
    struct worker *w = context;
    w->scanning = 0;
    snprintf(w->scan_cursor, sizeof w->scan_cursor, "0");
}

/* Names become fields of ctl and words of C: they hold no NUL and fit into a line. */
static bool is_readable_name(struct worker *w, const struct reply *name)
{
    if (name->len <= STREAM_NAME_MOST && memchr(name->text, '\0', name->len) == NULL)
        return true;
    if (!w->is_told_name)
        log_line(LOG_WARN, "stream_name",
                 "a stream that a glob matches has a name that tidemill does not read: longer than "
                 "900 bytes, "
                 "or with a NUL in it",
                 "stream", name->text, NULL);
    w->is_told_name = true;
    return false;
}

static void on_scan(void *context, const struct reply *const *replies, size_t count)
{
    struct worker *w = context;
    const struct reply *reply = replies[0];
    (void)count;
    if (reply->type != REPLY_ARRAY || reply->count != 2 ||
        reply->elements[1]->type != REPLY_ARRAY) {
        struct error why;
        bool is_forbidden = reply_is_error(reply, "NOPERM");
        if (is_forbidden)
            error_set(&why, ERROR_FATAL_REPLY,
                      "Redis: %s (SCAN, for the streams that globs match); grant the command with: "
                      "ACL SETUSER "
                      "%s +scan",
                      reply->text, w->url.user[0] != '\0' ? w->url.user : "default");
        else
            log_repeat(LOG_ERROR, "scan_refused",
                       "Redis refuses SCAN; streams that globs match are not found", "cause",
                       reply->type == REPLY_ERROR ? reply->text : "", NULL);
        scan_lost(w);
        control_end(w->control);
        if (is_forbidden)
            fatal(w, &why);
        return;
    }
    const char *pattern = w->patterns[w->scanning];
    for (uint32_t i = 0; i < reply->elements[1]->count; i++) {
        const struct reply *name = reply->elements[1]->elements[i];
        if (!keys_is_ours(name->text, name->len) && is_readable_name(w, name))
            add_stream(w, name->text, name->len, pattern,
                       w->is_scanned || w->is_known_pattern[w->scanning]);
    }
    snprintf(w->scan_cursor, sizeof w->scan_cursor, "%s", reply->elements[0]->text);
    if (strcmp(w->scan_cursor, "0") == 0)
        w->scanning++;
    if (w->scanning < w->pattern_count) {
        scan(w);
        return;
    }
    w->scanning = 0;
    if (!w->is_scanned)
        open_partitions(w);
    if (w->has_new_streams)
        for (size_t i = 0; i < w->held_count; i++)
            if (probe_has_unknown(w->held[i]->partition))
                partition_take_sources(w->held[i]->partition);
    w->has_new_streams = false;
    control_end(w->control);
}

static void scan(void *context)
{
    struct worker *w = context;
    struct buf *out = talk_begin(control_talk(w->control), control_link(w->control));
    command_append(out, "SCAN", w->scan_cursor, "MATCH", w->patterns[w->scanning], "COUNT", "1000",
                   "TYPE", "stream", NULL);
    talk_expect(control_talk(w->control), "SCAN");
    talk_send(control_talk(w->control), on_scan, w);
}

/* ── leases
 * ───────────────────────────────────────────────────────────────────────────────────────────────────────────
 */

/* A command on the lease that will never be allowed. */
static bool is_forbidden(struct held *held, const struct reply *const *replies, size_t count,
                         struct error *why)
{
    for (size_t i = 0; i < count; i++) {
        if (!reply_is_error(replies[i], "NOPERM"))
            continue;
        char what[64];
        snprintf(what, sizeof what, "%s :lease", talk_what(control_talk(held->worker->control), i));
        owner_explain_refusal(partition_owner(held->partition), replies[i], what, why);
        return true;
    }
    return false;
}

static void on_lease_changed(void *context, const struct reply *const *replies, size_t count)
{
    struct held *held = context;
    struct error why;
    held->is_renewing = false;
    if (is_forbidden(held, replies, count, &why)) {
        control_end(held->worker->control);
        fatal(held->worker, &why);
        return;
    }
    held->renew_at_ms = clock_now_ms() + (uint64_t)held->worker->config->lease_ms / 3;
    if (replies[count - 1]->type != REPLY_ARRAY)
        held->renew_at_ms = clock_now_ms(); /* it changed in between: look again */
    control_end(held->worker->control);
}

static void on_lease_read(void *context, const struct reply *const *replies, size_t count)
{
    struct held *held = context;
    struct worker *w = held->worker;
    const struct keys *k = partition_keys(held->partition);
    bool is_mine = reply_is_text(replies[count - 1], partition_owner(held->partition)->token);
    struct buf *out;
    if (!is_mine) {
        command_append(link_out(control_link(w->control)), "UNWATCH", NULL);
        link_expect(control_link(w->control), NULL, NULL, NULL, 0);
        link_flush(control_link(w->control));
        held->is_renewing = false;
        held->renew_at_ms = 0;
        control_end(w->control);
        if (!held->is_drained)
            partition_recover(held->partition, "lease_lost",
                              "the lease expired or is somebody else's");
        return;
    }
    out = talk_begin(control_talk(w->control), control_link(w->control));
    command_append(out, "MULTI", NULL);
    talk_expect(control_talk(w->control), "MULTI");
    command_append(out, "PEXPIRE", k->lease.data, log_number(w->config->lease_ms), NULL);
    talk_expect(control_talk(w->control), "PEXPIRE");
    command_append(out, "EXEC", NULL);
    talk_expect(control_talk(w->control), "EXEC");
    talk_send(control_talk(w->control), on_lease_changed, held);
}

static void read_lease(struct held *held, talk_done_call *done)
{
    struct worker *w = held->worker;
    const struct keys *k = partition_keys(held->partition);
    struct buf *out = talk_begin(control_talk(w->control), control_link(w->control));
    command_append(out, "WATCH", k->lease.data, NULL);
    talk_expect(control_talk(w->control), "WATCH lease");
    command_append(out, "GET", k->lease.data, NULL);
    talk_expect(control_talk(w->control), "GET lease");
    talk_send(control_talk(w->control), done, held);
}

static void renew(void *context)
{
    read_lease(context, on_lease_read);
}

static void renew_lost(void *context)
{
    struct held *held = context;
    held->is_renewing = false;
}

static void on_given_back(struct held *held)
{
    struct worker *w = held->worker;
    held->is_given_back = true;
    for (size_t i = 0; i < w->held_count; i++)
        if (!w->held[i]->is_given_back)
            return;
    w->callbacks.on_stopped(w->context);
}

static void on_deleted(void *context, const struct reply *const *replies, size_t count)
{
    struct held *held = context;
    struct error why;
    if (is_forbidden(held, replies, count, &why))
        log_line(LOG_WARN, "lease_stays", "the lease was not given back and expires by itself",
                 "cause", why.text, NULL);
    control_end(held->worker->control);
    on_given_back(held);
}

static void on_lease_read_back(void *context, const struct reply *const *replies, size_t count)
{
    struct held *held = context;
    struct worker *w = held->worker;
    const struct keys *k = partition_keys(held->partition);
    if (!reply_is_text(replies[count - 1], partition_owner(held->partition)->token)) {
        control_end(w->control);
        on_given_back(held);
        return;
    }
    struct buf *out = talk_begin(control_talk(w->control), control_link(w->control));
    command_append(out, "MULTI", NULL);
    talk_expect(control_talk(w->control), "MULTI");
    command_append(out, "DEL", k->lease.data, NULL);
    talk_expect(control_talk(w->control), "DEL");
    command_append(out, "EXEC", NULL);
    talk_expect(control_talk(w->control), "EXEC");
    talk_send(control_talk(w->control), on_deleted, held);
}

static void begin_giving_back(void *context)
{
    read_lease(context, on_lease_read_back);
}

static void give_back_lost(void *context)
{
    on_given_back(context);
}

static void give_back(struct held *held)
{
    struct control_job job = {.begin = begin_giving_back, .lost = give_back_lost, .context = held};
    if (held->renew_at_ms == 0)
        on_given_back(held); /* never ours */
    else
        control_add(held->worker->control, &job);
}

/* Events a second since the last look, for the status. */
static void measure(struct held *held, uint64_t now_ms)
{
    struct pipeline_counts counts;
    pipeline_count(partition_pipeline(held->partition), &counts);
    if (held->then_ms > 0 && now_ms > held->then_ms)
        held->events_per_s =
            (double)(counts.events - held->events_then) * 1000 / (double)(now_ms - held->then_ms);
    held->events_then = counts.events;
    held->then_ms = now_ms;
}

/* ── ticking
 * ──────────────────────────────────────────────────────────────────────────────────────────────────────────
 */

static void on_time(void *context, const struct reply *const *replies, size_t count)
{
    struct worker *w = context;
    (void)count;
    set_clock(w, replies[0]);
    control_end(w->control);
}

static void ask_time(void *context)
{
    struct worker *w = context;
    struct buf *out = talk_begin(control_talk(w->control), control_link(w->control));
    command_append(out, "TIME", NULL);
    talk_expect(control_talk(w->control), "TIME");
    talk_send(control_talk(w->control), on_time, w);
}

static void tick(void *context)
{
    struct worker *w = context;
    uint64_t now = clock_now_ms();
    loop_timer_start(w->tick_timer, TICK_MS);
    log_flush_held(now);
    if (!control_is_up(w->control))
        return;
    if (!w->has_looked) {
        if (!control_is_busy(w->control))
            control_add(w->control, &(struct control_job){.begin = look, .context = w});
        return;
    }
    for (size_t i = 0; i < w->held_count; i++) {
        struct held *held = w->held[i];
        if (held->renew_at_ms == 0 || held->is_renewing || now < held->renew_at_ms ||
            partition_phase(held->partition) != PARTITION_OWNED)
            continue;
        held->is_renewing = true;
        control_add(w->control,
                    &(struct control_job){.begin = renew, .lost = renew_lost, .context = held});
    }
    if (control_is_busy(w->control) || w->is_stopping)
        return;
    if (now >= w->probe_at_ms) {
        w->probe_at_ms = now + PROBE_EVERY_MS;
        control_add(w->control, &(struct control_job){.begin = ask_time, .context = w});
        for (size_t i = 0; i < w->held_count; i++) {
            measure(w->held[i], now);
            probe_add(w->probe, w->held[i]->partition);
        }
    }
    if (w->pattern_count > 0 && (now >= w->scan_at_ms || !w->is_scanned)) {
        w->scan_at_ms = now + SCAN_EVERY_MS;
        control_add(w->control,
                    &(struct control_job){.begin = scan, .lost = scan_lost, .context = w});
    }
}

/* ── life
 * ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
 */

static void on_control_up(void *context)
{
    struct worker *w = context;
    if (w->is_told_away)
        log_line(LOG_INFO, "redis_back", "Redis is there", "url", w->url.shown, NULL);
    w->is_told_away = false;
    control_add(w->control, &(struct control_job){.begin = look, .context = w});
    if (w->pattern_count > 0)
        control_add(w->control,
                    &(struct control_job){.begin = scan, .lost = scan_lost, .context = w});
}

static void on_control_down(void *context, const struct error *why)
{
    struct worker *w = context;
    if (why->code == ERROR_FATAL_REPLY) {
        fatal(w, why);
        return;
    }
    log_repeat(LOG_WARN, "redis_away", "no connection to Redis; trying again", "url", w->url.shown,
               "cause", why->text, NULL);
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

int worker_create(struct loop *loop, const struct config *config, struct rulebook *book,
                  const struct worker_callbacks *callbacks, void *context, struct worker **out,
                  struct error *error)
{
    static const struct control_callbacks control_callbacks = {.on_up = on_control_up,
                                                               .on_down = on_control_down};
    struct worker *w = calloc(1, sizeof *w);
    if (w == NULL)
        abort();
    w->loop = loop;
    w->config = config;
    w->book = book;
    w->callbacks = *callbacks;
    w->context = context;
    w->started_ms = clock_now_ms();
    snprintf(w->scan_cursor, sizeof w->scan_cursor, "0");
    int failed = redis_url_parse(config->redis, &w->url, error);
    if (failed != 0) {
        free(w);
        return failed;
    }
    char name[192];
    snprintf(name, sizeof name, "tidemill-%s-control", config->group);
    struct link_options options = {.url = &w->url, .name = name};
    w->control = control_create(loop, &options, &control_callbacks, w);
    w->tick_timer = loop_timer_open(loop, tick, w);
    w->stop_timer = loop_timer_open(loop, on_stop_timer, w);
    w->probe = probe_create(w->control, config->group);
    *out = w;
    return 0;
}

void worker_destroy(struct worker *w)
{
    if (w == NULL)
        return;
    for (size_t i = 0; i < w->held_count; i++) {
        partition_destroy(w->held[i]->partition);
        free(w->held[i]);
    }
    free(w->held);
    probe_destroy(w->probe);
    control_destroy(w->control);
    commands_destroy(w->commands);
    loop_timer_close(w->tick_timer);
    loop_timer_close(w->stop_timer);
    free(w->patterns);
    free(w->is_known_pattern);
    free(w);
}

void worker_start(struct worker *w)
{
    collect_streams(w);
    control_open(w->control);
    loop_timer_start(w->tick_timer, TICK_MS);
}

void worker_stop(struct worker *w)
{
    if (w->is_stopping)
        return;
    w->is_stopping = true;
    loop_timer_start(w->stop_timer, STOP_MS);
    if (w->held_count == 0 || !w->is_scanned) {
        w->callbacks.on_stopped(w->context);
        return;
    }
    for (size_t i = 0; i < w->held_count; i++)
        partition_drain(w->held[i]->partition);
}

void worker_status(struct worker *w, struct buf *json)
{
    struct status status = {.config = w->config,
                            .book = w->book,
                            .url = w->url.shown,
                            .is_connected = control_is_up(w->control),
                            .up_ms = clock_now_ms() - w->started_ms};
    status_begin(&status, json);
    for (size_t i = 0; i < w->held_count; i++)
        status_add_partition(&status, json, w->held[i]->partition, w->held[i]->events_per_s);
    status_end(&status, json);
}
