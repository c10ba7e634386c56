/* alone.h: which entries of a partition are run alone, and how: those that rules are blamed for
 * (blames.h), and, after an unclean death, those that the dead owner may have been working on
 * (careful.h); timers and windows that fire then are entries as well, once it is known which (a
 * peek). The pipeline asks before it computes, and tells what it sent and what landed. */
#ifndef TIDEMILL_WORKER_ALONE_H
#define TIDEMILL_WORKER_ALONE_H

#include "rules/bridge.h"
#include "stream/owner.h"
#include "stream/reader.h"
#include "worker/blames.h"
#include "worker/careful.h"

struct alone {
    const char *partition; /* its name; not owned */
    const struct owner *owner;
    /* What would fire before anything else, for the choice that comes next: to be found out, or
     * nothing, or this one. */
    enum { PEEK_NONE, PEEK_NOTHING, PEEK_FIRED } peeked;
    struct fired next;
    struct blames blames;
    struct careful careful;
    bool is_due;           /* ctl.note has to say `note` before anything else is run */
    char note[TRAIL_NOTE]; /* what it has to say */
};

void alone_init(struct alone *a, const char *partition);
void alone_fini(struct alone *a);

/* Right after an acquire. */
void alone_begin(struct alone *a, const struct owner *o, uint32_t batch_events);

/* The rules are others now. */
void alone_begin_anew(struct alone *a);

/* Nothing is run alone. */
bool alone_is_over(const struct alone *a);

/* How the first of some entries are run. */
struct alone_choice {
    uint32_t count;      /* so many of them */
    bool is_alone;       /* one, as follows (alone_put) */
    bool is_noted;       /* ctl.note names it */
    bool is_rehearsal;   /* what it does is forgotten, and then the choice is made again */
    bool is_held;        /* nothing may be run before a commit has landed, see is_due */
    bool is_peek;        /* find out what would fire (alone_peeked); then choose again */
    bool is_fired;       /* one that fires, and nothing else */
    uint32_t most_rules; /* when it is noted */
};

/* `entries` are those of `batch` from place `first` on, or the event of a letter (count 1). `batch`
 * NULL: there are none, only what fires. */
void alone_choose(struct alone *a, struct rulebook *book, const struct read_batch *batch,
                  uint32_t first, const struct batch_entry *entries, uint32_t count,
                  struct alone_choice *choice);

/* What a peek has found: NULL: nothing fires. */
void alone_peeked(struct alone *a, const struct fired *fired);

/* After bridge_put_batch with that entry, or none. */
void alone_put(const struct alone *a, struct rulebook *book, struct bridge *bridge,
               const struct batch_entry *entry, const struct alone_choice *choice);

/* It has been run as chosen, and forgotten. */
void alone_survived(struct alone *a, const struct alone_choice *choice);

/* The batch waits before an entry and may do so for long. True: a commit has to say so. */
bool alone_rest(struct alone *a);

/* What the commit that is built now says in ctl.note, or NULL: what stands there. `choice`: how
 * what it commits was run, or NULL. `next`: the place in `batch` of the entry after it; `batch`
 * NULL: there is none, or it will not be run. */
const char *alone_send(struct alone *a, struct rulebook *book, const struct alone_choice *choice,
                       const struct read_batch *batch, uint32_t next);

/* A commit has landed: with these, or without any (zeroes, but for the book). */
struct alone_landed {
    const struct rulebook *book;
    const struct alone_choice *choice; /* how it was run; NULL: there was nothing to run */
    const struct batch_entry *entry;   /* its first; is_letter: the event of a letter */
    const struct fired *fired;
    uint32_t fired_count;
    bool is_letter;
};
void alone_land(struct alone *a, const struct alone_landed *landed);
/* The blames whose event is committed now, one a call, until false. */
bool alone_next_over(struct alone *a, const struct owner *o, const struct alone_landed *landed,
                     size_t *at, struct blame *over);

#endif
