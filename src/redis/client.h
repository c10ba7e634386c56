/* client.h: a blocking conversation with Redis for commands of a shell (dlq, state, send …) and for specs.
 *
 * Built on link.h and a loop of its own, so that there is one implementation of the protocol. */
#ifndef TIDEMILL_REDIS_CLIENT_H
#define TIDEMILL_REDIS_CLIENT_H

#include "redis/link.h"

struct client;

/* Connects and greets; on failure says why in a sentence with the URL (ERROR_CONNECTION, ERROR_FATAL_REPLY) and leaves *out. */
int client_open(const char *url, struct client **out, struct error *error);
void client_close(struct client *c);

/* One command, its reply. The reply lives until the next client_call/client_run/client_pipeline_* call. An error reply is a
 * reply, not a failure. Failure: ERROR_CONNECTION, ERROR_TIMEOUT. */
int client_call(struct client *c, const struct reply **reply, struct error *error, ...) __attribute__((sentinel));
int client_call_argv(struct client *c, int argc, const char *const *argv, const size_t *lens, const struct reply **reply,
                     struct error *error);

/* Pipelining for bulk work: append commands to client_out (count them), then client_run sends all and calls `each` with
 * every reply, in order, before it returns. */
struct buf *client_out(struct client *c);
int client_run(struct client *c, size_t replies, link_reply_call *each, void *context, struct error *error);

/* 0xMMmmpp, as link_redis_version. */
uint32_t client_redis_version(const struct client *c);

#endif
