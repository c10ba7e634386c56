/* decision_view.h: a record of decisions as it stands in a partition's `…:decisions`: what rules
 * did with one event, or with a timer or window that fired, and why (decision_pack.lua says how its
 * field `rules` is written). */
#ifndef TIDEMILL_CLI_DECISION_VIEW_H
#define TIDEMILL_CLI_DECISION_VIEW_H

#include "codec/slice.h"
#include "config/config.h"
#include "redis/reply.h"
#include "stream/keys.h"

struct decision_view {
    const struct keys *keys;
    const struct reply *id;     /* of the record's own entry */
    const struct reply *fields; /* field, value, … */
    struct slice rules;         /* a msgpack array */
};

/* An entry of XRANGE. False when it is nothing like one. The record lives as long as the reply. */
bool decision_view_read(struct decision_view *v, const struct keys *keys,
                        const struct reply *entry);

/* Is it about this entry of this stream? */
bool decision_view_is_of(const struct decision_view *v, const char *stream, unsigned long long ms,
                         unsigned long long sequence);

/* Has it a decision of this rule, for this key? NULL: of any. */
bool decision_view_has(const struct decision_view *v, const char *rule, const char *key);

/* How it is shown. */
struct decision_show {
    const char *rule, *key; /* only decisions of these; NULL: of any */
    int codec;              /* of the record's stream (enum config_codec) */
    bool is_full;           /* states whole, not only what has changed */
    bool is_coloured;
};

/* One JSON object and a line feed. */
void decision_view_append_json(const struct decision_view *v, const struct decision_show *show,
                               struct buf *out);

/* A page for people. */
void decision_view_append_text(const struct decision_view *v, const struct decision_show *show,
                               struct buf *out);

#endif
