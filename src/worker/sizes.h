/* sizes.h: which rules have no state, or no window, at all in Redis? A new key of such a rule need
 * not be asked for (states_know_all). */
#ifndef TIDEMILL_WORKER_SIZES_H
#define TIDEMILL_WORKER_SIZES_H

#include "redis/link.h"
#include "rules/registry.h"
#include "rules/state.h"
#include "stream/keys.h"

struct sizes {
    struct states *states;
    uint32_t came; /* replies so far */
};

/* Right behind an acquire, on the commit link, and before anything of ours is sent: so what the
 * replies say is still true when they come. An error among them only means that we do not know.
 * `s` must stay where it is until the link is closed. */
void sizes_ask(struct sizes *s, struct link *link, const struct keys *keys,
               const struct registry *registry);

#endif
