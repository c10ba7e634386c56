/* partitions.h: the partitions of a group that exist on a Redis, found by their ctl. */
#ifndef TIDEMILL_CLI_PARTITIONS_H
#define TIDEMILL_CLI_PARTITIONS_H

#include "config/config.h"
#include "redis/client.h"
#include "stream/keys.h"

struct partitions {
    struct keys *list;
    size_t count; /* at least 1 */
};

/* With --tag that one, else all, by SCAN. Errors: those of the client, ERROR_REPLY, and when there
 * is no ctl: nothing was deployed under this name, so there is nothing to look at or to change. Not
 * to be freed after an error. */
int partitions_find(struct client *client, const struct config *config, struct partitions *out,
                    struct error *error);
void partitions_fini(struct partitions *p);

/* "untagged" or "{TAG}", for people; valid until the next call. */
const char *partitions_name(const struct keys *keys);

#endif
