/* control.h: the worker's third link: a queue of small conversations, one at a time, which neither
 * XREAD nor a long commit blocks (design 4). */
#ifndef TIDEMILL_WORKER_CONTROL_H
#define TIDEMILL_WORKER_CONTROL_H

#include "redis/link.h"
#include "stream/talk.h"

struct control;

/* One conversation. `begin` is called when its turn has come: it starts a step with control_talk
 * (talk_begin … talk_send), its replies may start further steps, and control_end gives the turn to
 * the next. When the link breaks, `lost` is called instead of any further reply (may be NULL), and
 * the conversation is over. */
struct control_job {
    void (*begin)(void *context);
    void (*lost)(void *context);
    void *context;
};

struct control_callbacks {
    void (*on_up)(void *context);
    void (*on_down)(void *context, const struct error *why);
};

struct control *control_create(struct loop *loop, const struct link_options *options,
                               const struct control_callbacks *callbacks, void *context);
void control_destroy(struct control *c);
void control_open(struct control *c);
bool control_is_up(const struct control *c);

/* Puts a job into the queue; nothing happens to it while the link is down but being lost. */
void control_add(struct control *c, const struct control_job *job);
bool control_is_busy(const struct control *c);

struct talk *control_talk(struct control *c);
struct link *control_link(struct control *c);
void control_end(struct control *c);

#endif
