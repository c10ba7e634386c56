/* letter_view.h: a dead letter (design 3.4) as it stands in a partition's dlq, or in its inbox
 * while its retry waits. */
#ifndef TIDEMILL_CLI_LETTER_VIEW_H
#define TIDEMILL_CLI_LETTER_VIEW_H

#include "cli/table.h"
#include "config/config.h"
#include "redis/reply.h"
#include "stream/keys.h"

struct letter_view {
    const struct keys *keys;
    const struct reply *id;     /* of the entry of dlq or inbox */
    const struct reply *fields; /* field, value, … */
    bool is_retrying;
};

/* An entry of XRANGE. False when it is nothing like one. The letter lives as long as the reply. */
bool letter_view_read(struct letter_view *l, const struct keys *keys, const struct reply *entry,
                      bool is_retrying);

/* The ID by which people know it: that of the dlq, also while it is being retried. */
const struct reply *letter_view_id(const struct letter_view *l);

/* "" and 0 bytes when it has no such field. */
const char *letter_view_field(const struct letter_view *l, const char *name, size_t *len);

/* Do --rule and --reason want it? */
bool letter_view_is_wanted(const struct letter_view *l, const struct config *config);

/* A row of the table of `dlq list`; the heading comes first. `has_partition`: one says which. */
void letter_view_add_heading(struct table *table, bool has_partition);
void letter_view_add_row(const struct letter_view *l, struct table *table, bool has_partition);

/* One JSON object and a line feed; `codec` is that of the letter's stream (enum config_codec). */
void letter_view_append_json(const struct letter_view *l, int codec, struct buf *out);

/* Everything, for people. */
void letter_view_append_text(const struct letter_view *l, int codec, struct buf *out);

/* "5" and "5-0" are the same ID; false when `text` is none. */
bool letter_view_parse_id(const char *text, unsigned long long *ms, unsigned long long *sequence);

#endif
