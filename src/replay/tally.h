/* tally.h: a replay in figures: how many effects and letters of each rule, and for each numeric
 * field of what it emitted sum, mean, least and most. */
#ifndef TIDEMILL_REPLAY_TALLY_H
#define TIDEMILL_REPLAY_TALLY_H

#include "replay/wishes.h"

/* Of numbers: of a field, or of a field's differences. */
struct figures {
    uint64_t count;
    double sum, least, most;
};

void figures_add(struct figures *f, double number);
double figures_mean(const struct figures *f);

struct tally_field {
    char *name;
    size_t name_len;
    struct figures figures; /* of the values that are numbers */
    uint64_t others;        /* values that are none */
};

enum tally_kind { TALLY_EMIT, TALLY_COMMAND, TALLY_LETTER };

/* What a rule did of one kind: emits to a stream, one command, letters of one reason. */
struct tally_output {
    enum tally_kind kind;
    char *name; /* of the stream, the command, the reason */
    size_t name_len;
    uint64_t count;
    struct tally_field *fields; /* of emits, in the order of their coming */
    size_t field_count;
    uint64_t unkept; /* of fields beyond TALLY_FIELDS_MOST */
};

struct tally_rule {
    struct tally_output *outputs;
    size_t output_count, last; /* last: the one that was found last */
};

enum { TALLY_FIELDS_MOST = 64, TALLY_OUTPUTS_MOST = 200 };

struct tally {
    struct tally_rule *rules; /* by number; 0: of no rule */
    size_t rule_count;
    struct buf scratch;
};

/* `rules`: how many there are. */
void tally_init(struct tally *t, size_t rules);
void tally_fini(struct tally *t);

/* Outputs of one rule beyond TALLY_OUTPUTS_MOST share one row with the name "…". */
void tally_add(struct tally *t, const struct wish *wish);

/* What an emitted payload says as a msgpack map; `scratch` is for JSON. False: it is no map. */
bool tally_payload(struct span payload, struct buf *scratch, struct span *map);

#endif
