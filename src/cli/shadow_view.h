/* shadow_view.h: a record of a shadow rule (batch/shadow_record.h) as `tidemill shadow` shows it.
 */
#ifndef TIDEMILL_CLI_SHADOW_VIEW_H
#define TIDEMILL_CLI_SHADOW_VIEW_H

#include "base/arena.h"
#include "cli/table.h"
#include "redis/reply.h"
#include "stream/keys.h"

/* Its fields; their names are in the .c. */
enum shadow_field {
    SHADOW_STREAM,
    SHADOW_ID,
    SHADOW_TIMER,
    SHADOW_WINDOW,
    SHADOW_KEY,
    SHADOW_VERSION,
    SHADOW_OF,
    SHADOW_OF_VERSION,
    SHADOW_WOULD,
    SHADOW_DID,
    SHADOW_SAME,
    SHADOW_REASON,
    SHADOW_MESSAGE,
    SHADOW_TRACEBACK,
    SHADOW_DID_REASON,
    SHADOW_DID_MESSAGE,
    SHADOW_FIELDS
};

struct shadow_text {
    const char *bytes; /* never NULL */
    size_t len;        /* 0: there is no such field */
};

struct shadow_view {
    const struct keys *keys;         /* of its partition */
    unsigned long long ms, sequence; /* its ID */
    struct shadow_text fields[SHADOW_FIELDS];
};

/* ONLY_WOULD, ONLY_DID: the other rule wanted nothing. */
enum shadow_verdict {
    SHADOW_IS_SAME,
    SHADOW_IS_DIFFERENT,
    SHADOW_IS_ONLY_WOULD,
    SHADOW_IS_ONLY_DID,
    SHADOW_VERDICTS
};

/* An entry of XRANGE. False when it is nothing like one. It lives as long as the reply. */
bool shadow_view_read(struct shadow_view *v, const struct keys *keys, const struct reply *entry);
struct shadow_view shadow_view_copy(const struct shadow_view *v, struct arena *arena);

enum shadow_verdict shadow_view_verdict(const struct shadow_view *v);
const char *shadow_verdict_name(enum shadow_verdict verdict); /* "same", "only would" … */

/* May the other half of it stand in another record? What fires of the two rules is paired within a
 * commit (runtime/tidemill/shadow.lua), and one may hold the last timers of the one and the next
 * the first of the other. */
bool shadow_view_is_half(const struct shadow_view *v);
/* Orders halves so that those of one timer or window stand side by side; 0: they may be joined. */
int shadow_view_compare_halves(const struct shadow_view *a, const struct shadow_view *b);
/* Two halves, one of each rule, as one record with the ID of `a`. */
struct shadow_view shadow_view_join(const struct shadow_view *a, const struct shadow_view *b);

/* A row of the table; the heading comes first. */
void shadow_view_add_heading(struct table *table, bool has_partition);
void shadow_view_add_row(const struct shadow_view *v, struct table *table, bool has_partition);

/* One JSON object and a line feed. */
void shadow_view_append_json(const struct shadow_view *v, struct buf *out);

#endif
