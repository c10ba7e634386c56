/* fetch.h: what a batch waits for while it is computed: states, and the answers to lookups. Both
 * travel on the commit link, behind the transaction that was sent last, so they see it.
 *
 *   done ──bridge says wait, fetch_ask──> asking ──all replies──> on_fetched, done */
#ifndef TIDEMILL_WORKER_FETCH_H
#define TIDEMILL_WORKER_FETCH_H

#include "redis/link.h"
#include "rules/bridge.h"
#include "stream/owner.h"

struct fetch_callbacks {
    void (*on_fetched)(void *context);
    void (*on_trouble)(void *context, const char *kind, const char *why, bool later);
    void (*on_fatal)(void *context, const struct error *why);
};

struct fetch {
    struct link *link;
    struct bridge *bridge;
    const struct owner *owner;
    const char *partition; /* its name; not owned */
    struct fetch_callbacks callbacks;
    void *context;
    struct arena replies;
    size_t states, lookups, came; /* replies */
};

/* The rest of `f` is the caller's to set: link, bridge, owner, partition. Begins as zeroes. */
void fetch_fini(struct fetch *f);

/* Sends for what the batch waits for. */
void fetch_ask(struct fetch *f);
bool fetch_is_done(const struct fetch *f);

/* The batch is over: the answers are not looked at any more. */
void fetch_forget(struct fetch *f);

/* The link was closed. */
void fetch_rest(struct fetch *f);

#endif
