/* commit.h: one fenced transaction at a time on the commit link (design 4, parts 1, 2, 5).
 *
 *   idle ──commit_arm──> arming ──HMGET as expected──> armed ──commit_begin … commit_send──> flying
 * ──EXEC──> arming …
 *
 * (1) Arming is WATCH ctl and, behind it, HMGET ctl fence commits edits. It travels in the same
 * write as the EXEC before it. (2) A transaction is sent only when armed: so it can only land on
 * the ctl that it was computed for. (3) Every reply is looked at: at queueing, EXEC's own, and
 * every element inside EXEC. */
#ifndef TIDEMILL_STREAM_COMMIT_H
#define TIDEMILL_STREAM_COMMIT_H

#include "base/error.h"
#include "redis/link.h"
#include "stream/owner.h"

struct commit;

enum commit_outcome {
    COMMIT_LANDED,  /* all of it is done; refused elements are told by commit_refused_next */
    COMMIT_FENCED,  /* EXEC nil: nothing is done; ctl has changed */
    COMMIT_LATER,   /* nothing is done; Redis cannot now */
    COMMIT_REFUSED, /* nothing is done: an effect was refused when it was queued
                       (commit_refused_next) */
    COMMIT_FATAL,   /* nothing is done: an engine command was refused; `why` says the cure */
};

struct commit_callbacks {
    void (*on_outcome)(void *context, enum commit_outcome outcome, const struct error *why);
    /* Armed: the next transaction may be sent. */
    void (*on_armed)(void *context);
    /* ctl is not as we left it: somebody else, the shell, or a late EXEC of ours. */
    void (*on_changed)(void *context, const char *how);
};

struct commit *commit_create(struct link *link, struct owner *owner,
                             const struct commit_callbacks *callbacks, void *context);
void commit_destroy(struct commit *c);

/* After an acquire: the first arming. */
void commit_arm(struct commit *c);

/* The link broke or the partition is let go. */
void commit_reset(struct commit *c);

bool commit_is_armed(const struct commit *c);
bool commit_is_flying(const struct commit *c);

/* Builds the next transaction, straight into the link's buffer. Effects of rules come first; then
 * everything else. Only when armed; between begin and send nobody else may write to the link. */
void commit_begin(struct commit *c);
void commit_add_effect(struct commit *c, const char *bytes, size_t len); /* one command */
void commit_add_commands(struct commit *c, const char *bytes, size_t len, uint32_t count,
                         const char *what); /* the engine's own */
struct buf *commit_add_command(
    struct commit *c, const char *what); /* one of the engine's own: append it to the buffer */
void commit_send(struct commit *c);      /* EXEC, and the next arming, in one write */

/* After COMMIT_REFUSED or COMMIT_LANDED: the refused effects, one a call; *cursor starts at 0. */
bool commit_refused_next(const struct commit *c, size_t *cursor, uint32_t *effect,
                         const char **message);

/* After COMMIT_LANDED: what was refused of the engine's own ("XGROUP SETID orders"); NULL at the
 * end. */
const char *commit_complaint_next(const struct commit *c, size_t *cursor, const char **message);

#endif
