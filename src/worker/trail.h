/* trail.h: the note that the owner of a partition leaves in ctl, so that its successor knows how it
 * ended. Pure: text in, counts and text out. What is done about it: careful.h.
 *
 *   ctl.note              who wrote it does              if it dies now, the next one finds
 *   ─────────             ────────────────               ──────────────────────────────────
 *   (none)                nothing: it ended cleanly      nothing
 *   -                     anything, at full speed        a death, somewhere
 *   0 ID 0 ? - STREAM     the entry ID, all its rules    one death at ID, the rule not known
 *   n ID 0 r/v - STREAM   the entry ID, rules up to r    n + 1 deaths at ID in r of version v
 *
 * n counts deaths in a row at this entry and rule. The third one blames the rule: it moves to the
 * list in the place of the last `-`, and the count begins anew for the entry's other rules. The
 * STREAM is empty when it is a timer or window that fired: ID then says when it was due, and a hash
 * of whose it is. The third field is not 0 when the entry is a letter that is tried again: how
 * often it had failed. */
#ifndef TIDEMILL_WORKER_TRAIL_H
#define TIDEMILL_WORKER_TRAIL_H

#include "rules/note.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TRAIL_DEATHS = 3, TRAIL_BLAMED = 1024, TRAIL_NOTE = 2560 };

#define TRAIL_NONE "-"

struct trail {
    unsigned deaths;
    uint64_t ms, seq; /* the entry */
    uint32_t attempts;
    char rule[RULE_NAME], version[16]; /* rule "": not known */
    char blamed[TRAIL_BLAMED];         /* "cart/1a2b,fraud/9c0d" */
    char stream[NOTE_NAME];
};

/* False: the text names no entry (TRAIL_NONE, or what no engine wrote). */
bool trail_parse(const char *text, struct trail *out);
void trail_format(const struct trail *t, char text[TRAIL_NOTE]);

bool trail_is_same_entry(const struct trail *a, const struct trail *b);

/* The engine that wrote it died: counts, and blames when that was one too many. */
void trail_count_death(struct trail *t);

bool trail_blames(const struct trail *t, const char *rule, const char *version);

/* The blamed rules, one a call; `*at` starts at 0. */
bool trail_next_blamed(const struct trail *t, size_t *at, char rule[RULE_NAME], char version[16]);

/* What to note while this rule of the entry is run, knowing `found`: its deaths count for the rule
 * that they happened in, or for any when that is not known; an edited rule has none yet. */
struct trail trail_at_rule(const struct trail *found, const char *rule, const char *version);

/* What to note of the entry while none of its rules is run. */
struct trail trail_at_rest(const struct trail *found);

#endif
