/* embedded.h: a private redis-server as a child, for trying things out (`run --embedded DIR`). */
#ifndef TIDEMILL_CLI_EMBEDDED_H
#define TIDEMILL_CLI_EMBEDDED_H

#include "base/error.h"

struct embedded;

/* Starts `redis-server` on the unix socket DIR/redis.sock, its data in DIR (made when it is not
 * there), and waits until it answers. It ends with this process. Errors: ERROR_SYSTEM. */
int embedded_start(const char *dir, struct embedded **out, struct error *error);

const char *embedded_url(const struct embedded *e); /* unix://… */

/* Stops it as its own SIGTERM does (data is saved) and waits for it. */
void embedded_stop(struct embedded *e);

#endif
