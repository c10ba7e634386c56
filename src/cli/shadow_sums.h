/* shadow_sums.h: what the records of a shadow rule come to: how many are the same, and by how much
 * the numbers differ that the two rules emit. */
#ifndef TIDEMILL_CLI_SHADOW_SUMS_H
#define TIDEMILL_CLI_SHADOW_SUMS_H

#include "cli/shadow_view.h"

#include <stdint.h>

/* A field of what is emitted to a stream, as far as it is a number. */
struct shadow_sum {
    const char *stream, *field; /* stream_len and field_len bytes */
    size_t stream_len, field_len;
    double would, did; /* sums over all records */
    uint64_t compared; /* how often both rules emitted one, in the same place of one record */
    double difference; /* of those: the sum of would less did */
    uint64_t difference_count; /* of those: how often it is not 0 */
};

/* Begins as zeroes. */
struct shadow_sums {
    uint64_t kept, failed; /* failed: records of a failure of the shadow rule */
    uint64_t verdicts[SHADOW_VERDICTS];
    struct shadow_text of; /* of the record that was added first: the name of the other rule */
    struct shadow_sum *list;
    size_t count;
    struct arena texts;
};

void shadow_sums_add(struct shadow_sums *s, const struct shadow_view *v);
void shadow_sums_fini(struct shadow_sums *s);

/* The table of the fields whose numbers differ; nothing when there are none. */
void shadow_sums_append_table(const struct shadow_sums *s, struct buf *out, bool is_coloured);

/* One line of JSON about the rule `name`. */
void shadow_sums_append_json(const struct shadow_sums *s, const char *name, struct buf *out);

#endif
