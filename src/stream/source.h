/* source.h: one input stream of a partition, and how far it is done. */
#ifndef TIDEMILL_STREAM_SOURCE_H
#define TIDEMILL_STREAM_SOURCE_H

#include "redis/reply.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct stream_id {
    uint64_t ms, seq;
};

enum { STREAM_ID_TEXT = 48 };

/* "ms-seq" or "ms"; false when it is neither. */
bool stream_id_parse(const char *text, size_t len, struct stream_id *id);
void stream_id_format(struct stream_id id, char text[STREAM_ID_TEXT]);
int stream_id_compare(struct stream_id a, struct stream_id b);

struct source {
    char *name;
    size_t name_len;
    uint32_t number;            /* the kernel's number of the stream; 0: the inbox */
    struct stream_id committed; /* as in ctl */
    struct stream_id sent;      /* as the commit in flight will leave it, when sent_count > 0 */
    uint64_t sent_count;        /* entries that the commit in flight is about */
    int64_t read; /* entries of the stream up to there, as XGROUP's ENTRIESREAD counts them; -1: not
                     known */
    uint64_t ahead;      /* entries read since the position, worked on or not */
    bool is_known;       /* its position is in ctl, so it may be read */
    bool has_group;      /* the consumer group that shows the position exists, as far as we know */
    const char *pattern; /* the glob that brought it, or NULL; not owned */
    bool is_later;       /* appeared under a glob that the group knew already: begins at its start,
                            whatever --from says */
    bool is_unread;      /* no rule reads it any more: leaves the list with the next acquire */
    struct stream_id last_then; /* the stream's last ID when we took it over from somebody else */
    bool is_left_out; /* the key holds another type: not read until a probe finds otherwise */
    int64_t added; /* entries ever added to the stream, when it was last looked at; -1: not known */
    uint64_t lost; /* entries trimmed before we read them, as far as they could be counted */

    /* The reader's own. */
    struct stream_id read_to; /* the last entry that was read, maybe not yet worked on */
    struct chunk *chunk;      /* where entries wait, or NULL */
    const struct reply *entries;
    uint32_t next; /* of them */
    struct stream_id next_id;
    bool is_leftover; /* a batch has been cut from them, or other streams were read while they
                         waited: newer entries of this stream may exist that we have not seen */
    bool is_filled;   /* the read was full: more may exist */
    bool is_drained;  /* worked off, and not asked for since: what comes next is not known */
};

struct source *source_create(const char *name, size_t len, uint32_t number);
void source_destroy(struct source *s);

#endif
