/* difference.h: where two versions of the rules decided differently, in figures and samples. Pure:
 * decisions come in pairs, or alone. */
#ifndef TIDEMILL_REPLAY_DIFFERENCE_H
#define TIDEMILL_REPLAY_DIFFERENCE_H

#include "replay/decision.h"
#include "replay/tally.h"

enum difference_side { SIDE_OLD, SIDE_NEW, SIDES };

/* Texts for people: what changed, for whom, where. */
struct difference_sample {
    char *key, *place;  /* "u17", "cart 1700000000000-0" */
    char *value[SIDES]; /* NULL: there was none */
};

struct samples {
    struct difference_sample *list;
    size_t count;
};

struct difference_field {
    char *name;
    size_t name_len;
    uint64_t changed;
    struct figures figures; /* new less old, of those where both are numbers */
    struct samples samples;
};

struct difference_output {
    enum tally_kind kind;
    char *name;
    size_t name_len;
    uint64_t only[SIDES]; /* effects or letters that one version alone has */
    struct samples samples[SIDES];
    struct difference_field *fields;
    size_t field_count;
};

struct difference_rule {
    char *name;           /* "": decisions of no rule, such as letters `decode` */
    char *version[SIDES]; /* NULL: that version has no such rule */
    uint64_t same, changed, only[SIDES], reordered; /* decisions; reordered: of the changed ones,
                                                       those that differ in nothing but order */
    struct difference_output *outputs;
    size_t output_count;
};

struct difference {
    struct difference_rule *rules; /* by name */
    size_t rule_count;
    const struct plan *plan;
    size_t samples_most;
    struct buf scratch[SIDES], text;
    struct words words[SIDES];
};

void difference_init(struct difference *d, const struct plan *plan, size_t samples_most);
void difference_fini(struct difference *d);

/* Before any decision: a rule of one version. Returns its place for the calls below, which moves
 * when others are told: look it up again with difference_rule. */
void difference_know(struct difference *d, enum difference_side side, const char *name,
                     const char *version);
struct difference_rule *difference_find(struct difference *d, const char *name);

/* The two decisions of one entry, timer or window. */
void difference_pair(struct difference *d, struct difference_rule *rule, const struct decision *old,
                     const struct decision *new);
/* Only one version decided anything. */
void difference_alone(struct difference *d, struct difference_rule *rule, enum difference_side side,
                      const struct decision *decision);

bool difference_is_none(const struct difference *d);

#endif
