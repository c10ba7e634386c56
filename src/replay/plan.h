/* plan.h: what a replay goes over, fixed before it begins: the partitions, in them the streams that
 * the rules read, and of each from which entry to which. So a stream that grows meanwhile ends all
 * the same, and two versions of the rules get the same entries.
 *
 * Time, too: in a partition it passes with the entries, and at the end goes on to `end_ms`. */
#ifndef TIDEMILL_REPLAY_PLAN_H
#define TIDEMILL_REPLAY_PLAN_H

#include "redis/client.h"
#include "replay/events.h"
#include "rules/rulebook.h"

/* One stream of a partition. */
struct plan_lane {
    char *name;
    size_t name_len;
    struct stream_id from, to; /* both inclusive */
    bool is_empty;             /* nothing is to be read of it; it is attended all the same */
};

struct plan_partition {
    char *tag;
    size_t tag_len;
    struct plan_lane *lanes; /* by name */
    size_t lane_count;
    const struct event_row **rows; /* of a file, in order; their lanes by row->stream */
    size_t row_count;
};

struct plan {
    struct plan_partition *partitions; /* by tag */
    size_t partition_count;
    uint64_t about;  /* entries, as far as is known */
    double end_ms;   /* time goes on to here; 0: it stays where the last entry left it */
    struct buf says; /* lines for people: what is missing, what was left out */
    const struct events *events; /* of a file, or NULL: they are in Redis */
};

/* What a person asked for. */
struct plan_range {
    const char *from, *to; /* start, end, an ID, ms or a moment; NULL: not said */
    int64_t last_ms;       /* above 0: so long before the end, instead of `from` */
    const char *stream;    /* only this one, or those that match the glob; NULL: all */
};

/* The words of --from and --to. `is_end`: of the last entry of that ms. Errors: ERROR_USAGE, the
 * end of a sentence ("must be …"). */
int plan_parse_id(const char *word, bool is_end, struct stream_id *id, struct error *error);

/* The streams that any of the books reads, `book_count` of them. Errors: those of the client,
 * ERROR_REPLY; ERROR_USAGE, of the range. Not to be freed then. */
int plan_of_redis(struct plan *plan, const struct config *config, const struct plan_range *range,
                  struct client *client, struct rulebook *const *books, size_t book_count,
                  struct error *error);

/* The same for a file's events, which must outlive the plan. */
int plan_of_events(struct plan *plan, const struct config *config, const struct plan_range *range,
                   const struct events *events, struct rulebook *const *books, size_t book_count,
                   struct error *error);

void plan_fini(struct plan *plan);

#endif
