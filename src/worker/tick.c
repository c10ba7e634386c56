/* tick.c: see tick.h. */
#include "worker/tick.h"

#include "base/clock.h"
#include "base/log.h"
#include "redis/command.h"

#include <assert.h>
#include <math.h>

enum { PLAN_MOST_MS = 3600 * 1000, AFTER_ERROR_MS = 1000 };

static void on_timer(void *context)
{
    struct tick *t = context;
    t->callbacks.on_due(t->context);
}

void tick_init(struct tick *t, struct loop *loop, struct link *link, const struct owner *owner,
               const struct tick_callbacks *callbacks, void *context)
{
    *t = (struct tick){.timer = loop_timer_open(loop, on_timer, t),
                       .link = link,
                       .owner = owner,
                       .callbacks = *callbacks,
                       .context = context};
}

void tick_fini(struct tick *t)
{
    loop_timer_close(t->timer);
    t->timer = NULL;
}

void tick_rest(struct tick *t)
{
    loop_timer_stop(t->timer);
    t->is_looking = t->is_asking = t->is_stale = false;
    t->until_ms = t->exact_ms = 0;
    t->rests_us = 0;
}

void tick_plan(struct tick *t, double wake_ms, double now_ms)
{
    if (t->is_looking || t->until_ms > 0)
        return;
    if (isinf(wake_ms) && wake_ms > 0) {
        if (loop_timer_is_started(t->timer))
            loop_timer_stop(t->timer);
        return;
    }
    if (loop_timer_is_started(t->timer) && wake_ms == t->wake_ms)
        return;
    double delay = wake_ms - now_ms;
    uint64_t now_us = clock_now_us();
    double rest = t->rests_us > now_us ? (double)(t->rests_us - now_us) / 1000 : 0;
    delay = delay > rest ? delay : rest;
    t->wake_ms = wake_ms;
    loop_timer_start(t->timer, delay > PLAN_MOST_MS ? PLAN_MOST_MS : (uint64_t)ceil(delay));
}

/* ── asking ──────────────────────────────────────────────────────────────────────────────────── */

/* False: the partition is in trouble, and all of this is forgotten. (TIME may be asked: the acquire
 * did.) */
static bool read_time(struct tick *t, const struct reply *reply, double *ms)
{
    if (reply->type != REPLY_ARRAY || reply->count != 2) {
        t->callbacks.on_trouble(t->context, reply);
        return false;
    }
    double seconds = (double)reply_number(reply->elements[0], 0),
           us = (double)reply_number(reply->elements[1], 0);
    t->callbacks.on_time(t->context, seconds * 1000 + us / 1000);
    *ms = seconds * 1000 + floor(us / 1000);
    return true;
}

static void on_exact(void *context, const struct reply *reply)
{
    struct tick *t = context;
    if (!read_time(t, reply, &t->exact_ms))
        return;
    t->is_asking = false;
    t->callbacks.on_looked(t->context);
}

void tick_ask(struct tick *t)
{
    assert(!t->is_asking);
    t->is_asking = true;
    t->exact_ms = 0;
    command_append(link_out(t->link), "TIME", NULL);
    link_expect(t->link, on_exact, t, NULL, 0);
    link_flush(t->link);
}

/* ── looking ─────────────────────────────────────────────────────────────────────────────────── */

static void end_look(struct tick *t, bool is_tail)
{
    t->is_looking = false;
    if (is_tail && !t->is_stale && t->time_ms >= t->wake_ms)
        t->until_ms = t->time_ms;
    t->callbacks.on_looked(t->context);
}

static void on_read(void *context, const struct reply *reply)
{
    struct tick *t = context;
    if (reply->type == REPLY_ERROR && reply_means_later(reply)) {
        t->callbacks.on_trouble(t->context, reply);
        return;
    }
    if (reply->type == REPLY_ERROR) /* the reader finds the same, and says so */
        t->rests_us = clock_now_us() + AFTER_ERROR_MS * 1000;
    end_look(t, reply->type == REPLY_NIL);
}

static void on_time(void *context, const struct reply *reply)
{
    struct tick *t = context;
    (void)read_time(t, reply, &t->time_ms);
}

static void on_time_alone(void *context, const struct reply *reply)
{
    struct tick *t = context;
    if (read_time(t, reply, &t->time_ms))
        end_look(t, true);
}

static bool is_read(const struct source *s)
{
    return s->number != 0 && s->is_known && !s->is_left_out;
}

void tick_look(struct tick *t)
{
    struct buf *out = link_out(t->link);
    const struct owner *o = t->owner;
    size_t count = 0;
    assert(!t->is_looking && t->until_ms == 0);
    for (size_t i = 0; i < o->source_count; i++)
        count += is_read(o->sources[i]);
    t->is_looking = true;
    t->is_stale = false;
    t->rests_us = clock_now_us() + TICK_EVERY_MS * 1000;
    command_append(out, "TIME", NULL); /* (1) */
    link_expect(t->link, count > 0 ? on_time : on_time_alone, t, NULL, 0);
    if (count > 0) {
        command_begin(out, 4 + 2 * count);
        command_argument_text(out, "XREAD");
        command_argument_text(out, "COUNT");
        command_argument_text(out, "1");
        command_argument_text(out, "STREAMS");
        for (size_t i = 0; i < o->source_count; i++)
            if (is_read(o->sources[i]))
                command_argument(out, o->sources[i]->name, o->sources[i]->name_len);
        for (size_t i = 0; i < o->source_count; i++) {
            char id[STREAM_ID_TEXT];
            if (!is_read(o->sources[i]))
                continue;
            stream_id_format(o->sources[i]->read_to, id);
            command_argument_text(out, id);
        }
        link_expect(t->link, on_read, t, NULL, 0);
    }
    link_flush(t->link);
}
