/* keys.h: the names of the engine's keys in Redis (design 3.6). One partition has one `struct
 * keys`.
 *
 *   tidemill:{TAG}:GROUP:ctl      of the partition of streams with the hash tag {TAG}
 *   tidemill:GROUP:ctl            of the untagged partition of one Redis */
#ifndef TIDEMILL_STREAM_KEYS_H
#define TIDEMILL_STREAM_KEYS_H

#include "base/buf.h"

#include <stdbool.h>

/* All names are whole keys; `len` bytes each, with a NUL behind them that is not counted. A tag may
 * hold any bytes. */
struct keys {
    struct buf tag;    /* without braces; empty: the untagged partition */
    struct buf prefix; /* what all of them begin with, with its last colon */
    struct buf ctl, lease, dlq, inbox, decisions;
};

/* `tag` NULL: the untagged partition. */
void keys_init(struct keys *k, const void *tag, size_t tag_len, const char *group);
void keys_fini(struct keys *k);

/* Puts the key of a rule's state into `out`, whose earlier content goes. */
void keys_state(const struct keys *k, const char *rule, struct buf *out);

/* For SCAN: appends a pattern that every ctl of the group matches, and some others perhaps. */
void keys_append_ctl_pattern(struct buf *out, const char *group);

/* Is it the ctl of a partition of this group? `*tag` points into the key; NULL for the untagged
 * partition. */
bool keys_is_ctl(const void *key, size_t len, const char *group, const char **tag, size_t *tag_len);

/* The tag of the partition that a stream belongs to: between the first { and the next }, when that
 * is not empty, as Redis Cluster reads it; else its name when streams without one stand alone
 * (`untagged_alone`, the setting `partition`), or nothing (*tag_len 0). Points into the name. */
void keys_tag_of(const char *name, size_t len, bool untagged_alone, const char **tag,
                 size_t *tag_len);

/* Does the key belong to the engine? No rule may touch those. */
bool keys_is_ours(const void *key, size_t len);

#endif
