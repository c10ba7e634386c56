/* shadow_record.h: what a shadow rule would have done with an entry, beside what the rule did that
 * it would replace, as the command that keeps it (design 3.6: …:shadow:RULE). */
#ifndef TIDEMILL_BATCH_SHADOW_RECORD_H
#define TIDEMILL_BATCH_SHADOW_RECORD_H

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

/* One of the two rules. */
struct shadow_record_side {
    const char *name, *version; /* "": there is no such rule */
    const char *effects;        /* a msgpack array of what shadow_record_pack_effect writes */
    size_t effects_len;
    const char *reason, *message, *traceback; /* why it failed; NULL: it did not */
};

struct shadow_record {
    const char *stream, *id; /* of the entry; stream "": something fired, due at `id` */
    const char *key;
    size_t key_len;
    const char *timer, *window; /* which one fired, as in struct letter; NULL: neither */
    size_t timer_len, window_len;
    struct shadow_record_side would, did;
    bool is_same;
};

/* Appends one XADD to `key`, trimmed to about `maxlen` records. Fields that would be empty are
 * left out. */
void shadow_record_append(struct buf *out, const char *key, int64_t maxlen,
                          const struct shadow_record *record);

/* Appends the head of an array of so many effects; they follow. */
void shadow_record_begin_effects(struct buf *out, uint32_t count);
/* Appends an effect, which is a command as bytes of the protocol, as msgpack: [stream, event] when
 * it emits one (XADD of a field `data` alone that holds a map), else the array of its words. */
void shadow_record_pack_effect(struct buf *out, const char *command, size_t len);

#endif
