/* client.h: a blocking conversation with Redis for commands of a shell (dlq, state, send …) and
 * for specs.
 *
 * Built on link.h and a loop of its own, so that there is one implementation of the protocol. */
#ifndef TIDEMILL_REDIS_CLIENT_H
#define TIDEMILL_REDIS_CLIENT_H

#include "redis/link.h"

struct client;

/* Connects and greets; on failure says why in a sentence with the URL (ERROR_USAGE for the URL
 * itself, ERROR_CONNECTION, ERROR_TIMEOUT, ERROR_REPLY, ERROR_FATAL_REPLY) and leaves *out. */
int client_open(const char *url, struct client **out, struct error *error);
void client_close(struct client *c);

/* Where the replies of the following client_post and client_run live, until the caller resets the
 * arena; NULL, as at first: a reply is gone when `each` returns. */
void client_keep_replies(struct client *c, struct arena *arena);

/* How long each reply of the following calls may let us wait (0: 5 s, as at first): for XREAD
 * BLOCK and the like. */
void client_set_patience(struct client *c, uint64_t patience_ms);

/* One command, its reply. The reply lives until the next client_call or client_run. An error
 * reply is a reply, not a failure. Failure, as of client_open: the connection is gone, and the
 * command may or may not have been executed; nothing is sent a second time by itself. The next
 * call connects anew. */
int client_call(struct client *c, const struct reply **reply, struct error *error, ...)
    __attribute__((sentinel));
int client_call_argv(struct client *c, int argc, const char *const *argv, const size_t *lens,
                     const struct reply **reply, struct error *error);

/* Pipelining for bulk work: append commands to client_out (count them), then client_run sends
 * all and calls `each` (may be NULL) with every reply, in order, before it returns. A reply is
 * gone when `each` returns. On failure `each` has seen the replies that came; client_out is
 * empty afterwards in any case. */
struct buf *client_out(struct client *c);
int client_run(struct client *c, size_t replies, link_reply_call *each, void *context,
               struct error *error);

/* The same in two halves, so that the caller works while Redis does: client_post sends without
 * waiting for a reply, client_wait waits for all replies of the post before (none: it returns at
 * once). `each` is called in client_wait only. Between the two nothing else may be asked. */
int client_post(struct client *c, size_t replies, link_reply_call *each, void *context,
                struct error *error);
int client_wait(struct client *c, struct error *error);

/* 0xMMmmpp, as link_redis_version. */
uint32_t client_redis_version(const struct client *c);

#endif
