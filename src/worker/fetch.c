/* fetch.c: see fetch.h. */
#include "worker/fetch.h"

#include "base/log.h"

#include <assert.h>

enum { KEEP_BYTES = 1 << 20 };

void fetch_fini(struct fetch *f)
{
    arena_fini(&f->replies);
}

static void refuse(struct fetch *f, const struct reply *error)
{
    struct error why;
    error_set(&why, ERROR_FATAL_REPLY, "Redis refuses to load states: %s", error->text);
    if (reply_is_error(error, "NOPERM"))
        owner_explain_refusal(f->owner, error, "HMGET :state:*", &why);
    f->callbacks.on_fatal(f->context, &why);
}

static void on_reply(void *context, const struct reply *reply)
{
    struct fetch *f = context;
    size_t place = f->came++;
    if (reply->type == REPLY_ERROR && reply_means_later(reply)) {
        f->callbacks.on_trouble(f->context, "redis_later", reply->text, true);
        return;
    }
    if (place >= f->states) {
        bridge_take_answer(f->bridge, reply);
    } else if (reply->type == REPLY_ERROR) {
        refuse(f, reply);
        return;
    } else if (!bridge_take_states(f->bridge, place, reply)) {
        log_repeat(LOG_ERROR, "state_unreadable",
                   "a state in Redis cannot be read and counts as empty", "partition", f->partition,
                   NULL);
    }
    if (fetch_is_done(f))
        f->callbacks.on_fetched(f->context);
}

void fetch_ask(struct fetch *f)
{
    struct bridge_wants wants;
    bridge_wants(f->bridge, link_out(f->link), &wants);
    f->states = wants.state_replies;
    f->lookups = wants.lookup_replies;
    f->came = 0;
    assert(f->states + f->lookups > 0);
    for (size_t i = 0; i < f->states + f->lookups; i++)
        link_expect(f->link, on_reply, f, &f->replies, 0);
    link_flush(f->link);
}

bool fetch_is_done(const struct fetch *f)
{
    return f->came == f->states + f->lookups;
}

void fetch_forget(struct fetch *f)
{
    arena_reset(&f->replies, KEEP_BYTES);
}

void fetch_rest(struct fetch *f)
{
    f->states = f->lookups = f->came = 0;
}
