/* blames.h: blames that are not done yet: of a worker, for partitions that it may get, and of a
 * partition, until the blamed event's dead letter is committed. */
#ifndef TIDEMILL_WORKER_BLAMES_H
#define TIDEMILL_WORKER_BLAMES_H

#include "rules/blame.h"
#include "rules/bridge.h"

#include <stdbool.h>
#include <stddef.h>

/* Begins as zeroes. */
struct blames {
    struct blame *list;
    size_t count;
};

void blames_fini(struct blames *b);

/* Copies it, unless it is there already. */
void blames_add(struct blames *b, const struct blame *blame);
void blames_remove(struct blames *b, size_t place);
void blames_forget(struct blames *b, const struct blame *blame); /* maybe it is not there */

/* Is it about this entry, and a rule that runs on it? A letter that is tried again is another one
 * each time. */
bool blame_is_about(const struct blame *blame, const struct rulebook *book,
                    const struct batch_entry *entry);

/* The place of the first entry that a blame is about; `count`: there is none. */
uint32_t blames_first(const struct blames *b, const struct rulebook *book,
                      const struct batch_entry *entries, uint32_t count);

/* Tells the bridge, whose only entry is `entry`, which rules fail on it. A rule that was edited
 * since may be cured: it is called. */
void blames_put(const struct blames *b, struct rulebook *book, struct bridge *bridge,
                const struct batch_entry *entry);

/* The same for what may fire in its batch: before that is run. */
void blames_put_fired(const struct blames *b, struct bridge *bridge);

#endif
