/* selection.h: which dead letters a command means: places, not contents, so that a hundred thousand
 * fit in memory. */
#ifndef TIDEMILL_CLI_SELECTION_H
#define TIDEMILL_CLI_SELECTION_H

#include "cli/letter_view.h"
#include "cli/partitions.h"

struct letter_place {
    size_t partition;                /* index in the partitions */
    unsigned long long ms, sequence; /* the ID that people know */
    char id[44];                     /* the ID in its stream: in the inbox another one */
    size_t size_bytes;               /* of its fields */
    bool is_retrying;                /* it is in the inbox */
    bool is_unverified;              /* its reason; such a letter cannot be retried */
};

struct selection {
    struct letter_place *list;
    size_t count, room;
};

/* All letters that --rule and --reason select, of every partition; of each stream at most the
 * newest `most` (0: all). What arrives while it works is left out. */
int selection_find(struct client *client, const struct config *config,
                   const struct partitions *partitions, int64_t most, struct selection *out,
                   struct error *error);

/* One letter by its ID. ERROR_USAGE: `id` is none, or several partitions have one; ERROR_REPLY:
 * there is none. */
int selection_find_id(struct client *client, const struct partitions *partitions, const char *id,
                      struct selection *out, struct error *error);

/* For people, or for changes: partition by partition, oldest first, so that what is retried keeps
 * its order. Letters that were named twice become one. */
enum selection_order { SELECTION_NEWEST_FIRST, SELECTION_BY_PARTITION };
void selection_sort(struct selection *s, enum selection_order order);

void selection_fini(struct selection *s);

/* The key in which the letter stands. */
const struct buf *letter_place_key(const struct letter_place *place,
                                   const struct partitions *partitions);

#endif
