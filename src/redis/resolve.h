/* resolve.h: the addresses of a host, found without blocking the loop. */
#ifndef TIDEMILL_REDIS_RESOLVE_H
#define TIDEMILL_REDIS_RESOLVE_H

#include "base/loop.h"

#include <sys/socket.h>

enum { RESOLVE_MOST = 8 };

struct address {
    struct sockaddr_storage at;
    socklen_t len;
};

struct addresses {
    int count; /* at most RESOLVE_MOST */
    struct address list[RESOLVE_MOST];
};

/* A numeric IPv4 or IPv6 address needs no lookup: fills *found and returns true. */
bool resolve_numeric(const char *host, int port, struct addresses *found);

/* A name is looked up in a helper thread of its own. `call` comes once, from the loop: `found`
 * is NULL when there is no such host, and `why` says so. */
struct resolve;
typedef void resolve_call(void *context, const struct addresses *found, const char *why);

/* NULL when the system has no thread or descriptor left. */
struct resolve *resolve_start(struct loop *loop, const char *host, int port, resolve_call *call,
                              void *context);

/* Ends it, answered or not, also from inside its call. A thread still at work finishes alone;
 * its answer is dropped. */
void resolve_close(struct resolve *r);

#endif
