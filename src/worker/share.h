/* share.h: what a worker knows of one partition: the streams that it found of it, and, while the
 * supervisor has given it to this worker, the partition itself with its lease.
 *
 *   known ──open──> open ──leave──> draining ──nothing under way──> giving back ──> closing
 *     ^                                                                               │
 *     └────────── on_left <── behind all that the control link still had for it ──────┘
 *
 * (1) A partition is destroyed only from a timer, and behind every conversation about it: so no
 * callback of its own, and no reply, ever finds it gone. */
#ifndef TIDEMILL_WORKER_SHARE_H
#define TIDEMILL_WORKER_SHARE_H

#include "worker/blames.h"
#include "worker/globs.h"
#include "worker/lease.h"
#include "worker/message.h"
#include "worker/partition.h"

enum share_state {
    SHARE_KNOWN,
    SHARE_OPEN,
    SHARE_DRAINING,
    SHARE_GIVING_BACK,
    SHARE_CLOSING,
    SHARE_CLOSED /* its partition is still to be destroyed */
};

struct share;

/* What all shares of a worker have in common; the worker's, and up to date. */
struct share_home {
    const struct config *config;
    struct rulebook *book;
    struct loop *loop;
    struct slot *slot;
    const char *token;
    struct redis_url url;
    struct control *control;
    struct commands *commands;
    struct globs *globs; /* of all rules */
    bool is_parting;     /* no partition computes: see reload.h */
    const struct blames *blames;
    double redis_ahead_ms; /* Redis' clock less ours; 0: not known yet */
};

struct share_callbacks {
    void (*on_fatal)(void *context, const struct error *why);
    void (*on_parted)(void *context);                            /* see partition.h */
    void (*on_full)(void *context);                              /* see partition.h */
    void (*on_blamed)(void *context, const struct blame *blame); /* struct worker_callbacks */
    /* After share_leave: it is known only, and may be opened again. */
    void (*on_left)(void *context, struct share *share);
};

struct share *share_create(const struct share_home *home, const char *tag, size_t len,
                           const struct share_callbacks *callbacks, void *context);
void share_destroy(struct share *s);

bool share_is_tagged(const struct share *s, const char *tag, size_t len);
const char *share_tag(const struct share *s, size_t *len);
enum share_state share_state(const struct share *s);
struct partition *share_partition(struct share *s); /* NULL: it is known only */

/* A stream that the rules read. False: it is known already. An open partition gets it too, but
 * resolves its position only by partition_take_sources. is_later: see struct source. */
bool share_add_stream(struct share *s, const char *name, size_t len, const char *pattern,
                      bool is_later);

bool share_has_later(const struct share *s); /* any of its streams */

/* Has the supervisor heard of it? */
bool share_is_told(const struct share *s);
void share_set_told(struct share *s);

/* The globs that are scanned now, for its partition's ctl. */
void share_give_globs(struct share *s);

/* The supervisor has given it to us: to be opened as soon as may be. */
void share_want(struct share *s, enum message_later later);
bool share_is_wanted(const struct share *s);

void share_open(struct share *s);  /* when known */
void share_leave(struct share *s); /* when open; else nothing */

void share_tick(struct share *s, uint64_t now_ms);

/* Events a second between the last two calls of share_measure. */
void share_measure(struct share *s, uint64_t now_ms);
double share_events_per_s(const struct share *s);

#endif
