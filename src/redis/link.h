/* link.h: one connection to Redis on a loop: non-blocking, pipelined, made anew when it breaks.
 *
 *   closed ──open──> resolving ──> connecting ──socket──> greeting ──AUTH, SELECT, …──> ready
 *     ^                  ^              └───────────────────┴──────────────┬───────────────┘
 *     │                  └──backoff── waiting <──on_down── broken <────────┘ error, silence
 *     └── close; or an error that no waiting cures (on_down with ERROR_FATAL_REPLY)
 *
 * Promises:
 * (1) No call blocks; connecting, name lookup of a host (numeric or through a short-lived helper
 *     thread) and writing happen on the loop.
 * (2) Replies come in the order of the commands, each exactly once, unless the link breaks: then
 *     `on_down` is called once and no reply of before the break is ever delivered after it. What
 *     was sent may or may not have been executed. From then on no arena given to link_expect is
 *     touched any more.
 * (3) Nothing is sent by itself on a new connection but the greeting. The owner hears `on_up`
 *     and decides. Redis may still be loading, read-only or the like then: such replies are the
 *     owner's to judge.
 * (4) A command whose first unanswered reply has waited longer than `timeout_ms` breaks the link
 *     (blocking commands: give link_expect a longer patience). The wait begins anew whenever
 *     bytes arrive, or a full socket takes more: a long reply or a long commit on a slow network
 *     is no silence.
 * (5) Callbacks come from the loop, never from inside a call of the owner. They may call
 *     anything here, link_close and link_destroy included.
 * The byte layer (wire.h) is a table of functions, so that TLS can take its place. */
#ifndef TIDEMILL_REDIS_LINK_H
#define TIDEMILL_REDIS_LINK_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/loop.h"
#include "redis/reply.h"
#include "redis/url.h"

struct link;

/* The reply lives in the arena given to link_expect, or, where that is NULL, in the link's own
 * until the callback returns. */
typedef void link_reply_call(void *context, const struct reply *reply);

struct link_callbacks {
    void (*on_up)(void *context); /* greeted: commands may be sent */
    /* Broken or not to be made; once for each attempt. code ERROR_FATAL_REPLY: wrong password,
     * no permission for the greeting, too old: no retry follows (the link stays closed until
     * link_open). Otherwise it is tried again after the backoff. ERROR_CONNECTION,
     * ERROR_TIMEOUT, ERROR_REPLY (an error in the greeting), ERROR_FORMAT (no Redis protocol). */
    void (*on_down)(void *context, const struct error *why);
};

struct link_options {
    const struct redis_url *url; /* copied */
    const char *name;            /* CLIENT SETNAME; copied; NULL: none */
    uint64_t connect_timeout_ms; /* from the lookup to the end of the greeting; 0: 5000 */
    uint64_t timeout_ms;         /* 0: 5000 */
    uint64_t backoff_least_ms;   /* 0: 20; doubles with jitter up to */
    uint64_t backoff_most_ms;    /* 0: 2000 */
};

/* Created closed. Everything in `options` and `callbacks` is copied. */
struct link *link_create(struct loop *loop, const struct link_options *options,
                         const struct link_callbacks *callbacks, void *context);
void link_destroy(struct link *l); /* breaks without on_down */

/* Starts to connect; does nothing when it is on its way or up already. */
void link_open(struct link *l);

/* From on_up until on_down or link_close. */
bool link_is_up(const struct link *l);

/* Breaks it on purpose: on_down is not called; link_open makes it anew. */
void link_close(struct link *l);

/* The bytes waiting to be written. The owner appends whole commands here, then says with
 * link_expect what to do with each reply, in order, then calls link_flush. Only while up. */
struct buf *link_out(struct link *l);

/* One more reply is expected. `arena` is where it is built (NULL: the link's own scratch, gone
 * when the call returns). `call` may be NULL: the reply is dropped. `patience_ms` 0: the link's
 * timeout. */
void link_expect(struct link *l, link_reply_call *call, void *context, struct arena *arena,
                 uint64_t patience_ms);

/* Writes what can be written now; the rest follows when the socket takes it. May find the link
 * broken: then on_down is called from the loop, not from inside this call. */
void link_flush(struct link *l);

/* Redis' version as of the last greeting: 0xMMmmpp, 7.0.15 is 0x07000f; 0 before the first. */
uint32_t link_redis_version(const struct link *l);

size_t link_waiting(const struct link *l); /* replies not yet received */

#endif
