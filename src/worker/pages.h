/* pages.h: loads what is missing of the queues of timers (rules/timers.h), page by page, on the
 * commit link.
 *
 *   here ──is_wanted, pages_ask──> asking ──replies──> asking … ──nothing is missing──> here
 *
 * (1) While it asks, no batch is open, and none begins: so what Redis answers is what the next one
 * finds. */
#ifndef TIDEMILL_WORKER_PAGES_H
#define TIDEMILL_WORKER_PAGES_H

#include "redis/link.h"
#include "rules/bridge.h"

#include <stdbool.h>

struct pages_callbacks {
    void (*on_loaded)(void *context);                             /* nothing is missing any more */
    void (*on_refused)(void *context, const struct reply *error); /* all is forgotten then */
    void (*on_foreign)(void *context); /* Redis holds something else there than a queue */
};

struct pages {
    struct link *link;
    struct bridge *bridge;
    struct pages_callbacks callbacks;
    void *context;
    bool is_wanted; /* something may be missing */
    uint32_t asked, came;
};

void pages_init(struct pages *p, struct link *link, struct bridge *bridge,
                const struct pages_callbacks *callbacks, void *context);

/* Forgets what it was about to do; the link was closed. */
void pages_rest(struct pages *p);

/* False: nothing is missing. True: replies come, and then on_loaded. */
bool pages_ask(struct pages *p);
bool pages_is_asking(const struct pages *p);

#endif
