/* letter.h: a dead letter as the command that writes it (design 3.4). */
#ifndef TIDEMILL_BATCH_LETTER_H
#define TIDEMILL_BATCH_LETTER_H

#include "base/buf.h"
#include "redis/reply.h"

#include <stdint.h>

struct letter {
    const struct reply *fields; /* the raw entry: field, value, …; NULL: none */
    uint64_t size; /* when the entry was over the limit and is not kept: its bytes; else 0 */
    const char *stream, *id; /* "" when there is none */
    const char *rule, *version, *reason, *message, *traceback;
    const char *key, *payload;
    size_t key_len, payload_len;
    const char *timer, *window; /* what fired instead of an entry: the timer's name, or the window's
                                   START-STOP in ms; NULL: none */
    size_t timer_len, window_len;
    uint64_t at_ms;
    unsigned attempts; /* 1: the first failure */
};

/* Appends one XADD to `dlq_key`, trimmed to about `maxlen` letters (0: not trimmed). */
void letter_append(struct buf *out, const char *dlq_key, int64_t maxlen,
                   const struct letter *letter);

/* Appends a raw entry as a msgpack array of field, value, … */
void letter_pack_fields(struct buf *out, const struct reply *fields);

#endif
