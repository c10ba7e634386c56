/* timers.h: what is pending at a due time, per partition: timers that rules have set, and windows
 * that are to be closed. All of it stands in Redis, in sorted sets; the earliest of each queue
 * stand here, too.
 *
 * A queue is one sorted set of one rule: wall or event timers, or windows. It is complete here up
 * to its horizon, and beyond that nothing is known:
 *
 *     Redis:  a b c d e f g h i j …          ZRANGEBYSCORE, one page at a time
 *     here:   a b c d │
 *                     horizon
 *
 * (1) Within a queue the order is due time, then member bytes: Redis' own, so that a page can end
 * in the middle of a tie. Members are written so that this is the order of due, key, name
 * (timer_member). (2) A batch's changes are applied here at once, with what was before kept until
 * timers_discard (the batch is taken back) or timers_seal (it was sent). (3) Pages are only asked
 * for behind a sent commit, when no change is open: so what Redis answers is what is known here,
 * and what lies beyond the horizon needs no reading to be replaced or cancelled.
 *
 * Rules go by the numbers of the registry, as states do. */
#ifndef TIDEMILL_RULES_TIMERS_H
#define TIDEMILL_RULES_TIMERS_H

#include "base/buf.h"
#include "redis/reply.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The kernel knows these numbers, too (runtime/tidemill/timers.lua). A rule, key and name has one
 * timer, of either clock; windows are apart. */
enum timer_kind { TIMER_WALL, TIMER_EVENT, TIMER_WINDOW, TIMER_KINDS };

struct timers;

/* What was taken; its texts live until the batch is sealed or discarded. `payload` NULL: none. */
struct timer {
    double due_ms;
    const char *key, *name, *payload;
    uint32_t key_len, name_len, payload_len;
};

struct timers *timers_create(void);
void timers_destroy(struct timers *t);

/* Forgets all that is known and every change; which queues are attended stays. */
void timers_drop(struct timers *t);

/* Nothing is pending but what is set here from now on, and all of it stays here: there is no Redis
 * behind the queues. At once after timers_create. */
void timers_know_all(struct timers *t);

/* Whether this queue fires at all: only then is it loaded. Changes of others only go to Redis. Not
 * while a batch is open. */
void timers_attend(struct timers *t, uint32_t rule, enum timer_kind kind, bool is_attended);

/* When the earliest of each queue is due, by rule * TIMER_KINDS + kind: INFINITY when there is none
 * or the queue is not attended; -INFINITY, or the horizon's due time, when nothing below is known
 * before the next page. Kept up to date in place; moves only in timers_attend. */
const double *timers_nexts(const struct timers *t);
/* The least of the TIMER_WALL ones. */
double timers_next_wall(const struct timers *t);

/* Begins a batch: what is far beyond use is forgotten, and the horizon moves to it. */
void timers_begin(struct timers *t);

/* Sets or replaces. A due time is whole ms, at most 2^53; others are brought there. `payload` NULL:
 * none; windows have none. A wall timer replaces an event timer, and the other way. */
void timers_set(struct timers *t, uint32_t rule, enum timer_kind kind, const char *key,
                size_t key_len, const char *name, size_t name_len, double due_ms,
                const char *payload, size_t payload_len);
/* Nothing when there is none. Wall and event: cancels whichever there is. */
void timers_cancel(struct timers *t, uint32_t rule, enum timer_kind kind, const char *key,
                   size_t key_len, const char *name, size_t name_len);

/* When it is due; TIMERS_NONE: there is none; TIMERS_UNKNOWN: ask Redis. Of timers: either clock.
 */
#define TIMERS_NONE (-1.0)
#define TIMERS_UNKNOWN (-2.0)
double timers_find(struct timers *t, uint32_t rule, enum timer_kind kind, const char *key,
                   size_t key_len, const char *name, size_t name_len);

/* Takes the earliest of a queue out: it fires. False: there is none, or the queue must be loaded
 * first (timers_is_short). */
bool timers_take(struct timers *t, uint32_t rule, enum timer_kind kind, struct timer *out);
bool timers_is_short(const struct timers *t, uint32_t rule, enum timer_kind kind);

/* Those of a queue that are here, without taking them: the earliest is number 0, the others follow
 * in no order. False: there are no more. Only in a batch. */
bool timers_peek(struct timers *t, uint32_t rule, enum timer_kind kind, uint32_t number,
                 struct timer *out);

void timers_discard(struct timers *t);
void timers_seal(struct timers *t);

/* ── commands ── */

/* `name` gives a rule's name by its number, `prefix` is that of the partition's keys. */
struct timer_names {
    const char *(*name)(const void *context, uint32_t rule);
    const void *context;
    const char *prefix;
};

/* The commands that write the batch's changes, one for each kind of change of a queue and at most
 * 512 members: ZADD, ZREM, HSET, HDEL. Those that would change nothing are left out as far as that
 * is known. Appends to `out`; returns how many. */
uint32_t timers_commands(struct timers *t, const struct timer_names *names, struct buf *out);

/* Commands that load what is missing: a page of each attended queue that has become short, or the
 * payloads of the pages that came last. A page is also asked for while there is still something to
 * take, so that the next batch need not wait. Returns how many replies to expect; 0: nothing is
 * missing. Each reply, in order, goes to timers_take_reply; then ask again. Only while no change is
 * open; the next batch waits for the replies, too: once something has changed they are not used,
 * and asked for again. */
uint32_t timers_wants(struct timers *t, const struct timer_names *names, struct buf *out);
/* False: Redis holds something else there than a queue of ours (what counts as empty). */
bool timers_take_reply(struct timers *t, uint32_t number, const struct reply *reply);

/* ── members ── */

/* Appends the member of a key and a name: the key with every NUL as NUL FF, then NUL, then the
 * name, which has no NUL and does not begin with FF (or is empty, as a window's may be). */
void timer_member(struct buf *out, const char *key, size_t key_len, const char *name,
                  size_t name_len);
/* The other way; `key` gets the key. False: this is no member. `*name` points into `member`. */
bool timer_member_parse(const char *member, size_t len, struct buf *key, const char **name,
                        size_t *name_len);

size_t timers_count(const struct timers *t); /* pending ones that are known here */

#endif
