/* timers.h: the parts of `tidemill timers`: timers.c reads the words, timers_list.c looks,
 * timers_drop.c changes. */
#ifndef TIDEMILL_CLI_TIMERS_H
#define TIDEMILL_CLI_TIMERS_H

#include "cli/pending.h"

struct timers_command {
    const struct config *config;
    struct client *client;
    struct partitions partitions;
    struct pending pending; /* of the rules that --rule selects */
};

/* The earliest of those that --rule, --key and --name select. `*is_broken`: something there is no
 * timer, which was said. */
int timers_list(struct timers_command *t, bool *is_broken, struct error *error);

/* All that --rule, --key and --name select. Prints how many there were. */
int timers_drop_selected(struct timers_command *t, struct error *error);

#endif
