/* versions.h: which version of each rule runs: what the folder holds, where that can be loaded,
 * else the last good one; or an older one that was brought back. Pure: it neither reads nor loads.
 *
 *   folder's texts ──propose──> candidate ──validated──> judge ──sound──> accept: it runs
 *                                   ▲                      │
 *                                   └── again: files with problems stand back ──┘
 *
 * (1) A file with a problem keeps its last good text, with the libraries of then; a new one is left
 * out. (2) Of two files that claim one name the changed one is refused. (3) A text that runs
 * already and now fails refuses the whole edition: nothing changes. (4) A rule that was rolled back
 * stays so until its file's text changes. */
#ifndef TIDEMILL_SUPERVISOR_VERSIONS_H
#define TIDEMILL_SUPERVISOR_VERSIONS_H

#include "base/error.h"
#include "rules/edition.h"
#include "supervisor/findings.h"

#include <stdbool.h>

enum { VERSIONS_KEPT = 16 };

/* Of a rule, from (or "": it is new) and to (or "": it is gone). */
struct version_change {
    char name[72], from[16], to[16];
};

/* A version that ran before. */
struct version {
    struct edition *unit; /* of one unit */
    char version[16];
    int state_version;
};

struct version_history {
    char name[72];
    struct version list[VERSIONS_KEPT]; /* the newest last */
    size_t count;
};

/* Begins as zeroes. */
struct versions {
    struct edition *current, *folder; /* NULL: none yet; folder: as it was proposed last */
    struct findings facts;            /* of current */
    struct findings problems;         /* why the folder is not what runs */
    struct version_history *histories;
    size_t history_count;
    uint64_t number; /* of the last edition that was accepted */
};

void versions_fini(struct versions *v);

/* The folder holds nothing new. */
bool versions_is_tried(const struct versions *v, const struct edition *folder);

/* Takes the folder's texts; the candidate is the caller's. */
struct edition *versions_propose(struct versions *v, struct edition *folder);

/* The version before of a rule, in place of the one that runs. Errors (ERROR_USAGE): unknown rule,
 * none before, another state.version. */
int versions_roll_back(struct versions *v, const char *rule, struct edition **candidate,
                       struct error *error);

enum versions_verdict {
    VERSIONS_SOUND,
    VERSIONS_AGAIN, /* the candidate has changed: validate it again */
    VERSIONS_REFUSED
};

/* What validating the candidate found. Problems are added to `problems`. */
enum versions_verdict versions_judge(const struct versions *v, struct edition *candidate,
                                     const struct findings *found, struct findings *problems);

/* A sound candidate is what runs from now on; takes it, and the findings. is_rollback: the versions
 * that it replaces are not to be come back to. The changes are the caller's to free. */
struct version_change *versions_accept(struct versions *v, struct edition *candidate,
                                       struct findings *found, bool is_rollback, size_t *count);

/* What is to be shown as wrong from now on; takes it. */
void versions_set_problems(struct versions *v, struct findings *problems);

/* Of a rule that runs: was it brought back, and the version before, "" when there is none. */
bool versions_is_rolled_back(const struct versions *v, const char *rule);
const char *versions_previous(const struct versions *v, const char *rule);

#endif
