/* share.c: see share.h. */
#include "worker/share.h"

#include <assert.h>
#include <stdlib.h>

struct known_stream {
    char *name;
    size_t len;
    const char *pattern; /* of the rulebook; NULL: a rule names it */
    bool is_later;
};

struct share {
    const struct share_home *home;
    struct share_callbacks callbacks;
    void *context;
    char *tag;
    size_t tag_len;
    struct known_stream *streams;
    size_t stream_count;
    enum share_state state;
    bool is_told, is_wanted;
    enum message_later later;
    struct partition *partition;
    struct lease *lease;
    struct loop_timer *timer;
    uint64_t events_then, then_ms;
    double events_per_s;
};

/* ── leaving ────────────────────────────────────────────────────────────────────────────────── */

static void on_given_back(void *context)
{
    struct share *s = context;
    s->state = SHARE_CLOSING;
    loop_timer_start(s->timer, 0);
}

static void on_drained(void *context, struct partition *p)
{
    struct share *s = context;
    (void)p;
    if (s->state != SHARE_DRAINING)
        return;
    s->state = SHARE_GIVING_BACK;
    lease_give_back(s->lease);
}

static void bury(void *context)
{
    struct share *s = context;
    s->state = SHARE_CLOSED;
    loop_timer_start(s->timer, 0);
}

static void begin_burying(void *context)
{
    struct share *s = context;
    bury(s);
    control_end(s->home->control);
}

static void drop_partition(struct share *s)
{
    partition_destroy(s->partition);
    lease_destroy(s->lease);
    s->partition = NULL;
    s->lease = NULL;
    s->events_per_s = 0;
    s->then_ms = 0;
}

/* (1) */
static void on_timer(void *context)
{
    struct share *s = context;
    if (s->state == SHARE_CLOSING) {
        partition_close(s->partition);
        control_add(s->home->control,
                    &(struct control_job){.begin = begin_burying, .lost = bury, .context = s});
        return;
    }
    assert(s->state == SHARE_CLOSED);
    drop_partition(s);
    s->state = SHARE_KNOWN;
    s->callbacks.on_left(s->context, s);
}

void share_leave(struct share *s)
{
    if (s->state != SHARE_OPEN)
        return;
    s->state = SHARE_DRAINING;
    partition_drain(s->partition);
}

/* ── opening ────────────────────────────────────────────────────────────────────────────────── */

static void on_fatal(void *context, const struct error *why)
{
    struct share *s = context;
    s->callbacks.on_fatal(s->context, why);
}

static void on_blamed(void *context, const struct blame *blame)
{
    struct share *s = context;
    s->callbacks.on_blamed(s->context, blame);
}

static void on_parted(void *context)
{
    struct share *s = context;
    s->callbacks.on_parted(s->context);
}

static void on_full(void *context)
{
    struct share *s = context;
    s->callbacks.on_full(s->context);
}

static void on_owned(void *context, struct partition *p)
{
    struct share *s = context;
    (void)p;
    lease_begin(s->lease);
}

/* By the rules of now: others may have read it. */
static bool is_read(const struct share *s, const struct known_stream *stream)
{
    struct rulebook *book = s->home->book;
    return rulebook_is_read(book, rulebook_stream(book, stream->name, stream->len));
}

static bool is_later(const struct share *s, const struct known_stream *stream)
{
    return s->later == LATER_ALL || (s->later == LATER_SOME && stream->is_later);
}

void share_give_globs(struct share *s)
{
    size_t cursor = 0;
    const char *glob;
    while (s->partition != NULL && (glob = globs_next_scanned(s->home->globs, &cursor)) != NULL)
        partition_add_pattern(s->partition, glob);
}

void share_open(struct share *s)
{
    static const struct partition_callbacks callbacks = {
        .on_fatal = on_fatal,
        .on_owned = on_owned,
        .on_drained = on_drained,
        .on_blamed = on_blamed,
        .on_parted = on_parted,
        .on_full = on_full,
    };
    static const struct lease_callbacks lease_callbacks = {.on_fatal = on_fatal,
                                                           .on_given_back = on_given_back};
    const struct share_home *home = s->home;
    assert(s->state == SHARE_KNOWN);
    struct partition_options options = {.config = home->config,
                                        .book = home->book,
                                        .loop = home->loop,
                                        .url = &home->url,
                                        .slot = home->slot,
                                        .token = home->token,
                                        .tag = s->tag_len > 0 ? s->tag : NULL,
                                        .tag_len = s->tag_len};
    struct error error;
    if (partition_create(&options, &callbacks, s, &s->partition, &error) != 0) {
        s->callbacks.on_fatal(s->context, &error);
        return;
    }
    s->lease = lease_create(home->control, s->partition, (uint64_t)home->config->lease_ms,
                            &lease_callbacks, s);
    s->state = SHARE_OPEN;
    partition_set_commands(s->partition, home->commands);
    partition_set_clock(s->partition, home->redis_ahead_ms);
    share_give_globs(s);
    for (size_t i = 0; i < s->stream_count; i++)
        if (is_read(s, &s->streams[i]))
            partition_add_stream(s->partition, s->streams[i].name, s->streams[i].len,
                                 s->streams[i].pattern, is_later(s, &s->streams[i]));
    if (home->is_parting)
        partition_part(s->partition);
    for (size_t i = 0; i < home->blames->count; i++)
        if (strcmp(partition_name(s->partition), home->blames->list[i].partition) == 0)
            pipeline_blame(partition_pipeline(s->partition), &home->blames->list[i]);
    partition_open(s->partition);
}

void share_want(struct share *s, enum message_later later)
{
    s->is_wanted = true;
    s->later = later;
}

bool share_is_wanted(const struct share *s)
{
    return s->is_wanted;
}

/* ── streams ────────────────────────────────────────────────────────────────────────────────── */

static void keep_stream(struct share *s, const char *name, size_t len, const char *pattern,
                        bool is_later)
{
    s->streams = realloc(s->streams, (s->stream_count + 1) * sizeof *s->streams);
    char *kept = strndup(name, len);
    if (s->streams == NULL || kept == NULL)
        abort();
    s->streams[s->stream_count++] =
        (struct known_stream){.name = kept, .len = len, .pattern = pattern, .is_later = is_later};
}

bool share_add_stream(struct share *s, const char *name, size_t len, const char *pattern,
                      bool is_later)
{
    bool is_known = false;
    for (size_t i = 0; i < s->stream_count; i++)
        is_known |= s->streams[i].len == len && memcmp(s->streams[i].name, name, len) == 0;
    if (!is_known)
        keep_stream(s, name, len, pattern, is_later);
    if (s->partition == NULL || partition_has_stream(s->partition, name, len))
        return !is_known;
    /* It was not there at the scan before, which found all that it was opened with. */
    partition_add_stream(s->partition, name, len, pattern, is_later);
    return true; /* new, or the rules of before did not read it */
}

bool share_is_told(const struct share *s)
{
    return s->is_told;
}

void share_set_told(struct share *s)
{
    s->is_told = true;
}

bool share_has_later(const struct share *s)
{
    for (size_t i = 0; i < s->stream_count; i++)
        if (s->streams[i].is_later)
            return true;
    return false;
}

/* ── life ───────────────────────────────────────────────────────────────────────────────────── */

struct share *share_create(const struct share_home *home, const char *tag, size_t len,
                           const struct share_callbacks *callbacks, void *context)
{
    struct share *s = calloc(1, sizeof *s);
    if (s == NULL || (s->tag = strndup(tag, len)) == NULL)
        abort();
    s->home = home;
    s->tag_len = len;
    s->callbacks = *callbacks;
    s->context = context;
    s->timer = loop_timer_open(home->loop, on_timer, s);
    return s;
}

void share_destroy(struct share *s)
{
    if (s == NULL)
        return;
    drop_partition(s);
    for (size_t i = 0; i < s->stream_count; i++)
        free(s->streams[i].name);
    free(s->streams);
    loop_timer_close(s->timer);
    free(s->tag);
    free(s);
}

bool share_is_tagged(const struct share *s, const char *tag, size_t len)
{
    return s->tag_len == len && memcmp(s->tag, tag, len) == 0;
}

const char *share_tag(const struct share *s, size_t *len)
{
    *len = s->tag_len;
    return s->tag;
}

enum share_state share_state(const struct share *s)
{
    return s->state;
}

struct partition *share_partition(struct share *s)
{
    return s->partition;
}

void share_tick(struct share *s, uint64_t now_ms)
{
    if (s->state == SHARE_OPEN || s->state == SHARE_DRAINING)
        lease_tick(s->lease, now_ms);
}

void share_measure(struct share *s, uint64_t now_ms)
{
    struct pipeline_counts counts;
    if (s->partition == NULL)
        return;
    pipeline_count(partition_pipeline(s->partition), &counts);
    if (s->then_ms > 0 && now_ms > s->then_ms)
        s->events_per_s =
            (double)(counts.events - s->events_then) * 1000 / (double)(now_ms - s->then_ms);
    s->events_then = counts.events;
    s->then_ms = now_ms;
}

double share_events_per_s(const struct share *s)
{
    return s->events_per_s;
}
