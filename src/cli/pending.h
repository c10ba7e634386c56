/* pending.h: the pending timers of a group (design 3.6): where they stand, and how they are read.
 * What a window waits for is no timer and is never looked at.
 *
 *   pending_find ──> a row for each partition and rule
 *                      ├──> pending_walk   all of them, the earliest first, a page at a time
 *                      └──> pending_scan   those of a key or a name, in no order */
#ifndef TIDEMILL_CLI_PENDING_H
#define TIDEMILL_CLI_PENDING_H

#include "cli/partitions.h"
#include "rules/note.h"
#include "rules/timers.h"

enum { PENDING_CLOCKS = TIMER_EVENT + 1 };

/* The timers of one rule in one partition. */
struct pending_rule {
    size_t partition; /* index in the partitions */
    char rule[RULE_NAME];
    struct buf queues[PENDING_CLOCKS]; /* keys of the sorted sets, by TIMER_WALL and TIMER_EVENT */
    struct buf payloads;               /* key of the hash */
};

struct pending {
    struct pending_rule *list; /* by partition, then rule */
    size_t count;
};

/* The rule --rule, whether it has timers or not, or by SCAN all that have some. Errors: those of
 * the client, ERROR_REPLY. Not to be freed after an error. */
int pending_find(struct client *client, const struct config *config,
                 const struct partitions *partitions, struct pending *out, struct error *error);
void pending_fini(struct pending *p);

/* "wall" or "event". */
const char *pending_clock_name(enum timer_kind clock);

/* -- Timers that were read -- */

struct pending_timer {
    double due_ms;
    const struct pending_rule *rule;
    enum timer_kind clock;
    size_t at; /* of its member in the list's bytes */
    uint32_t len;
};

/* Zero it; may be emptied by pending_list_clear and used again. */
struct pending_list {
    struct pending_timer *list;
    size_t count, room;
    struct buf members;
};

void pending_list_add(struct pending_list *l, const struct pending_timer *timer,
                      const char *member);
/* The earliest first, at most `most` (0: all) of them. */
void pending_list_sort(struct pending_list *l, size_t most);
void pending_list_clear(struct pending_list *l);
void pending_list_fini(struct pending_list *l);

/* -- Reading -- */

struct pending_walk;

struct pending_walk *pending_walk_open(struct client *client, const struct pending *pending);
/* Appends the next timers, `most` at most; none: that was all. What is set or fires while it works
 * may or may not be among them; none comes twice with one due time. */
int pending_walk_next(struct pending_walk *w, size_t most, struct pending_list *out,
                      struct error *error);
void pending_walk_close(struct pending_walk *w);

/* One queue, searched. Zero it and set the first five. */
struct pending_scan {
    struct client *client;
    const struct pending_rule *rule;
    enum timer_kind clock;
    const char *key, *name; /* NULL: any */
    struct buf pattern;
    char cursor[32];
    bool is_over;
};

/* Appends what the next page of the queue has; a timer may come twice. One round trip. */
int pending_scan_next(struct pending_scan *s, struct pending_list *out, struct error *error);
void pending_scan_fini(struct pending_scan *s);

/* "cannot read KEY: Redis says …" */
int pending_refuse(const struct buf *key, const struct reply *reply, struct error *error);

#endif
