/* owner.h: who works on a partition (lease), whose commits count (fence), and where its streams
 * stand (ctl).
 *
 *   free ──acquire──> held ──renew──> held ──expire or give back──> free
 *
 * The lease says when a partition may be taken over; never whether a commit may land: that is the
 * fence. Every acquire, also the first thing after any trouble of our own, makes a new fence and
 * reads the positions anew (design 4, parts 2, 3, 6).
 *
 * (1) `ctl` is read after WATCH, and the transaction that changes the fence fails if it has changed
 * since. (2) A position is never guessed: ctl's offset; else the group's last-delivered ID; else,
 * only for a stream that this group has never read, what --from says. Resolved once, in the
 * transaction of the acquire. (3) An offset above a stream's last ID means that the stream was made
 * anew: it starts at 0-0. */
#ifndef TIDEMILL_STREAM_OWNER_H
#define TIDEMILL_STREAM_OWNER_H

#include "base/error.h"
#include "redis/link.h"
#include "stream/keys.h"
#include "stream/source.h"
#include "stream/talk.h"

#include <stdbool.h>

enum { OWNER_FENCE = 64, OWNER_TOKEN = 48, OWNER_NONCE = 8, OWNER_NOTE = 2560 };

struct owner_options {
    const struct keys *keys;
    const char *group;
    const char *from; /* start, end or an ID */
    uint64_t lease_ms;
    /* Who we are in the lease, or NULL: a name of its own. All workers of a supervisor have one, so
     * that the lease of a dead one is at once its successor's. */
    const char *token;
    const char *user; /* for cures: the ACL user, "" for default */
};

struct owner {
    struct owner_options options;
    char token[OWNER_TOKEN];
    char fence[OWNER_FENCE];
    int64_t commits, edits;
    bool has_owned; /* since this process began */
    int64_t
        verified; /* the last commit whose outcome we saw whole; -1: none that ctl still knows */
    char held_fence[OWNER_FENCE]; /* of the last acquire that we know to be ours */
    bool is_continued;    /* ctl is as our last verified commit left it: what we still owe for that
                             commit is still owed */
    char unverified[512]; /* what ctl told of a commit whose outcome nobody saw; "" when nothing */
    bool has_unverified;  /* ctl has the field, whoever wrote it */
    char nonce[OWNER_NONCE + 1]; /* begins that of every fence of ours */
    /* Who had it before, as of the last acquire: this process; or another one, whose lease was ours
     * to take (a sibling: our supervisor knows how it ended), or was not. */
    enum owner_before { OWNER_MYSELF, OWNER_SIBLING, OWNER_STRANGER } before;
    char note[OWNER_NOTE]; /* ctl.note, which that one left; "": it ended cleanly, or never was */
    /* What ctl says of the event time of rules, as of the last acquire: how far a rule is on a
     * stream (seen:RULE:STREAM), or, where `stream` is "", at all (watermark:RULE). */
    struct owner_clock {
        const char *rule, *stream;
        double ms;
    } * clocks;
    size_t clock_count;
    struct arena clock_texts;
    uint64_t redis_ms;       /* Redis' TIME at the acquire */
    uint64_t acquired_us;    /* our clock then: when the lease's life began */
    struct source **sources; /* sorted by name; the inbox is one of them */
    size_t source_count;
    unsigned list_version; /* another one whenever the list of sources changes */
    const char **patterns; /* globs of rules; not owned */
    size_t pattern_count;
    struct talk *talk; /* on the commit link */
    struct link *link;
    struct buf ctl_fields; /* what the acquire writes into ctl besides the fence */
    size_t ctl_field_count;
    struct arena scratch;
    void (*done)(void *context, int outcome, const struct error *why);
    void *context;
};

/* A new name for who holds leases: no other process has it. */
void owner_make_token(char token[OWNER_TOKEN]);

enum owner_outcome {
    OWNER_MINE,
    OWNER_TAKEN, /* somebody else's lease is alive */
    OWNER_LATER, /* Redis cannot now (loading, read-only, out of memory …), or somebody was faster:
                    try again */
    OWNER_FATAL, /* waiting will not help: `why` says the cure */
};

void owner_init(struct owner *o, const struct owner_options *options);
void owner_fini(struct owner *o);

/* Adds a stream (number as of rulebook_stream; 0: the inbox). Its position is resolved by the next
 * acquire. */
struct source *owner_add_source(struct owner *o, const char *name, size_t len, uint32_t number);
/* Takes those out that no rule reads any more; what ctl says of them stays. No entry of them may be
 * under way. */
void owner_drop_unread(struct owner *o);
struct source *owner_find_source(const struct owner *o, const char *name, size_t len);

/* Takes the partition, or finds that somebody else has it. `done` is called once, from the loop,
 * unless owner_cancel comes first. The link is the commit link: nothing else may be under way on
 * it. */
void owner_acquire(struct owner *o, struct link *link,
                   void (*done)(void *context, int outcome, const struct error *why),
                   void *context);
void owner_cancel(struct owner *o);

/* The cure for a NOPERM error: which ACL rule is missing for which command and key. `command` is
 * the command's name, or "XINFO|STREAM key"; a key that begins with a colon is one of the engine's
 * own without its prefix: "HSET :ctl". */
void owner_explain_refusal(const struct owner *o, const struct reply *error, const char *command,
                           struct error *out);

#endif
