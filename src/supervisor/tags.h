/* tags.h: which worker has which partition. Pure.
 *
 * (1) A partition has one worker from the moment it is found, and keeps it, through all lives of
 * that worker. Not given to another when its worker dies: the successor is there in milliseconds;
 * and whatever killed the one would come along and kill the other. Found ones go where the fewest
 * are, so none ever needs to move. */
#ifndef TIDEMILL_SUPERVISOR_TAGS_H
#define TIDEMILL_SUPERVISOR_TAGS_H

#include "worker/message.h"

#include <stddef.h>

struct tag {
    char *bytes;
    size_t len;
    unsigned worker;
    enum message_later later;
};

struct tags {
    struct tag *list;
    size_t count;
};

struct tag *tags_find(const struct tags *t, const char *bytes, size_t len);
size_t tags_count(const struct tags *t, unsigned worker);

/* Adds one that is not known, for the one of `workers` that has the fewest. */
struct tag *tags_add(struct tags *t, const char *bytes, size_t len, enum message_later later,
                     unsigned workers);
void tags_fini(struct tags *t);

#endif
