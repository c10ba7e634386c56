/* careful.h: how a successor works whose predecessor died without a word: what is run next, and
 * what ctl.note (trail.h) says meanwhile. Pure: it is told what happened, and answers what to do.
 *
 *   full speed ──begin: the one before died──> careful ──as many entries as it may have had──┐
 *        └───────────────────────────────────────────────────────────────────────────────────┘
 *
 *   careful, for each entry:   note "0 E ?" ──landed──> run E alone ──commit, noting the next one
 *   an entry found in the note: note "n E r1" ──landed──> run it up to r1, forget what that did,
 *                               note "n E r2" ──landed──> … up to the last rule: commit
 *
 * (1) An entry is run only while ctl names it: so a death in it is found there. (2) Nothing else is
 * run while ctl names an entry: so a death elsewhere is not put down to it. (3) A count only grows
 * by a death at the same entry in the same rule, nothing having been committed in between: three
 * kills that mean nothing would have to hit the same few microseconds of the same event. */
#ifndef TIDEMILL_WORKER_CAREFUL_H
#define TIDEMILL_WORKER_CAREFUL_H

#include "worker/trail.h"

/* Begins as zeroes. */
struct careful {
    uint32_t left;          /* entries to be run alone and noted */
    bool has_found;         /* somebody died at `found` */
    struct trail found;     /* what is known of that */
    uint32_t place;         /* rules of `found`'s entry that have been run without a death */
    char noted[TRAIL_NOTE]; /* ctl.note, as of the last commit that landed */
    char sent[TRAIL_NOTE];  /* as of the commit in flight, when that changes it, else "" */
};

/* A rule that runs on an entry. */
struct careful_rule {
    const char *name, *version;
};

enum careful_before { CAREFUL_MYSELF, CAREFUL_KNOWN, CAREFUL_DEAD };

/* After an acquire. `note`: ctl's. Who was there before: this process; another one, of whose end
 * somebody else has the evidence; or one that died and nobody knows why. `most`: entries that it
 * may have been working on. */
void careful_begin(struct careful *c, const char *note, enum careful_before before, uint32_t most);

/* What was found is about an entry that is committed, or cannot be any more. */
void careful_forget(struct careful *c);

bool careful_is_on(const struct careful *c);

struct careful_plan {
    bool may_run;          /* ctl names it: run it alone; else `note` has to land first */
    uint32_t most_rules;   /* as many of its rules, from the first */
    bool is_rehearsal;     /* then forget what they did, and ask again (careful_survived) */
    char note[TRAIL_NOTE]; /* for ctl */
};

/* What to do with the entry that `entry` names (its ID, attempts and stream are set), on which
 * these rules run. */
void careful_plan(const struct careful *c, const struct trail *entry,
                  const struct careful_rule *rules, uint32_t count, struct careful_plan *plan);

/* Is `entry` the one that somebody died at? Only then its rules matter. */
bool careful_has_found(const struct careful *c, const struct trail *entry);

/* A rehearsal of so many rules is over. */
void careful_survived(struct careful *c, uint32_t rules);

/* The note while no noted entry is run, for TRAIL_NOTE bytes. */
void careful_rest_note(const struct careful *c, char note[TRAIL_NOTE]);

/* A commit is on its way that changes the note. / A commit has landed, with this entry, which was
 * run alone, or without one (NULL). */
void careful_sent(struct careful *c, const char *note);
void careful_landed(struct careful *c, const struct trail *entry);

#endif
