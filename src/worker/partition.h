/* partition.h: one partition in this process: its two links, who owns it, and its pipeline.
 *
 *   closed ──open──> connecting ──both links up──> looking ──lease free──> acquiring ──> owned
 *                        ^                           │ ^                                   │
 *                        │                           └─┘ every 100 ms while               │
 *                        │                               somebody else's lease lives       │
 *                        └──────────────────────── any trouble <────────────────────────────┘
 *
 * (1) Any trouble (a link breaks, EXEC nil, ctl changed, Redis cannot now) ends the same way:
 * everything uncommitted and all that was remembered is dropped, both links are closed, and the way
 * begins anew. So no reply of before can be mistaken. */
#ifndef TIDEMILL_WORKER_PARTITION_H
#define TIDEMILL_WORKER_PARTITION_H

#include "worker/pipeline.h"

enum partition_phase {
    PARTITION_CLOSED,
    PARTITION_CONNECTING,
    PARTITION_LOOKING,
    PARTITION_ACQUIRING,
    PARTITION_OWNED
};

enum { PARTITION_NAME = 128 };

struct partition;

struct partition_options {
    const struct config *config;
    struct rulebook *book;
    struct loop *loop;
    const struct redis_url *url;
    struct slot *slot; /* counts its commits, or NULL */
    const char *token; /* of the lease: struct owner_options */
    const char *tag;   /* NULL: the untagged partition */
    size_t tag_len;
};

struct partition_callbacks {
    void (*on_fatal)(void *context, const struct error *why);
    /* The lease is ours and must be renewed from now on / need not be any more. */
    void (*on_owned)(void *context, struct partition *p);
    /* After partition_drain: nothing is under way any more. */
    void (*on_drained)(void *context, struct partition *p);
    /* See pipeline.h. */
    void (*on_blamed)(void *context, const struct blame *blame);
    void (*on_parted)(void *context); /* after partition_part; maybe more than once */
    void (*on_full)(void *context);   /* see pipeline.h */
};

/* What partition_name will give for a tag: cut when it is longer. */
void partition_name_of(const char *tag, size_t len, char name[PARTITION_NAME]);

int partition_create(const struct partition_options *options,
                     const struct partition_callbacks *callbacks, void *context,
                     struct partition **out, struct error *error);
void partition_destroy(struct partition *p);

/* Before partition_open, or later: then the position of the new stream is resolved by a new acquire
 * (partition_take_sources). `pattern`: the glob that brought it, or NULL. is_later: see struct
 * source. */
void partition_add_stream(struct partition *p, const char *name, size_t len, const char *pattern,
                          bool is_later);
bool partition_has_stream(const struct partition *p, const char *name, size_t len);
void partition_add_pattern(struct partition *p, const char *pattern); /* known ones are no matter */
/* Lets what is computed commit, forgets what was read ahead, and takes the partition anew, with the
 * streams that were added and without those that are not read any more. */
void partition_take_sources(struct partition *p);

/* Other rules (see pipeline_part); afterwards partition_take_sources or partition_go_on. */
void partition_part(struct partition *p);
bool partition_is_parted(const struct partition *p);
/* True when there are streams that the rules do not read any more. */
bool partition_attach(struct partition *p, struct rulebook *book);
void partition_go_on(struct partition *p);

void partition_open(struct partition *p);
void partition_set_commands(struct partition *p, const struct commands *commands);
void partition_set_clock(struct partition *p, double redis_ahead_ms);

/* Trouble that somebody else saw: the lease is gone, a stream was made anew. */
void partition_recover(struct partition *p, const char *kind, const char *why);

/* Takes nothing new; on_drained follows, at once when nothing is under way. */
void partition_drain(struct partition *p);

/* Owned by nobody any more: links closed. */
void partition_close(struct partition *p);

enum partition_phase partition_phase(const struct partition *p);
const char *partition_name(const struct partition *p); /* the tag, or "-" */
struct owner *partition_owner(struct partition *p);
struct pipeline *partition_pipeline(struct partition *p);
const struct keys *partition_keys(const struct partition *p);

#endif
