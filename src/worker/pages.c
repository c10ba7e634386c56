/* pages.c: see pages.h. */
#include "worker/pages.h"

#include <assert.h>

void pages_init(struct pages *p, struct link *link, struct bridge *bridge,
                const struct pages_callbacks *callbacks, void *context)
{
    *p =
        (struct pages){.link = link, .bridge = bridge, .callbacks = *callbacks, .context = context};
}

void pages_rest(struct pages *p)
{
    p->is_wanted = false;
    p->asked = p->came = 0;
}

bool pages_is_asking(const struct pages *p)
{
    return p->came < p->asked;
}

static void on_page(void *context, const struct reply *reply)
{
    struct pages *p = context;
    if (reply->type == REPLY_ERROR && !reply_is_error(reply, "WRONGTYPE")) {
        p->callbacks.on_refused(p->context, reply);
        return;
    }
    if (!timers_take_reply(bridge_timers(p->bridge), p->came++, reply))
        p->callbacks.on_foreign(p->context);
    if (pages_is_asking(p))
        return;
    if (!pages_ask(p)) {
        bridge_timers_loaded(p->bridge);
        p->callbacks.on_loaded(p->context);
    }
}

bool pages_ask(struct pages *p)
{
    struct timer_names names;
    assert(!pages_is_asking(p));
    bridge_timer_names(p->bridge, &names);
    p->came = 0;
    p->asked = timers_wants(bridge_timers(p->bridge), &names, link_out(p->link));
    p->is_wanted = p->asked > 0;
    for (uint32_t i = 0; i < p->asked; i++)
        link_expect(p->link, on_page, p, NULL, 0);
    if (p->asked > 0)
        link_flush(p->link);
    return p->asked > 0;
}
