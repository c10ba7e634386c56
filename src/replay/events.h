/* events.h: events that come from a file instead of Redis: one JSON object a line, as `tidemill
 * tail` prints them, {"id": …, "stream": …, "event": {…}} (or "fields"), or the event alone, as
 * `tidemill send` takes it. They are kept packed, in memory, and found by stream and ID.
 *
 * What `tail` prints of an entry of plain fields is an event whose values are all strings: so such
 * a one is an entry of plain fields here, too, unless the settings say that its stream holds none
 * (or it would be taken for something else: a sole value that begins like a map). */
#ifndef TIDEMILL_REPLAY_EVENTS_H
#define TIDEMILL_REPLAY_EVENTS_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/names.h"
#include "config/config.h"
#include "stream/source.h"

struct event_row {
    struct stream_id id;
    const char *packed; /* a msgpack map */
    uint32_t len;
    uint32_t stream;      /* its number in `streams` */
    bool is_plain_fields; /* all of its values are strings, which are the entry's own fields */
};

struct events {
    const struct config *config;
    const char *stream; /* of events that do not say it; NULL: they all must */
    struct names *streams;
    struct event_row *rows; /* as they came */
    size_t count, cap;
    struct stream_id *last; /* by stream: its last ID */
    uint32_t last_count;
    uint64_t last_ms;  /* the newest ID of all */
    bool has_made_ids; /* some said none: those are no time at which anything was added */
    struct arena memory;
    struct buf scratch;
};

/* `stream` may be NULL. Both outlive it. */
void events_init(struct events *e, const struct config *config, const char *stream);
void events_fini(struct events *e);

/* Adds the event of a line (empty ones are passed over). Events that say no ID get the one a ms
 * behind the newest, 1700000000000-0 first. Errors: ERROR_FORMAT, this line is no event;
 * ERROR_USAGE, nobody says which stream it is of. */
int events_add(struct events *e, const char *text, size_t len, struct error *error);

#endif
