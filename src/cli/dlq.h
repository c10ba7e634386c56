/* dlq.h: the halves of `tidemill dlq`: dlq.c looks, dlq_edit.c changes. */
#ifndef TIDEMILL_CLI_DLQ_H
#define TIDEMILL_CLI_DLQ_H

#include "cli/partitions.h"

struct dlq {
    const struct config *config;
    struct client *client;
    struct partitions partitions;
};

/* `ids` are `count` words of the command line. Return the exit status; what is to be said has been
 * said. */
int dlq_retry(struct dlq *d, char **ids, int count);
int dlq_drop(struct dlq *d, char **ids, int count);

#endif
