/* batch.h: what goes from stage to stage: entries, and the effects that rules want for them.
 *
 * The layouts of batch_entry, fired and effect are also in src/runtime/tidemill/cdef.lua; bridge.c
 * compares them at start. */
#ifndef TIDEMILL_BATCH_BATCH_H
#define TIDEMILL_BATCH_BATCH_H

#include "redis/reply.h"

#include <stdint.h>

/* One entry, in the order of a batch. A letter that is tried again is an entry too. */
struct batch_entry {
    double ms, clock_ms; /* of its ID; the position's clock at this entry, which never goes back */
    uint64_t seq;
    const struct reply *fields; /* array: field, value, … */
    uint32_t stream;            /* the kernel's number of the stream */
    uint32_t run_end;           /* place of the last entry in a row that is of the same stream */
    uint32_t size;              /* bytes of all fields and values */
    uint16_t only;              /* a retry for this rule alone (its number), or 0 */
    uint16_t attempts; /* of a retry: how often it failed before; 0 for an entry of a stream */
};

/* Numbers of entries from here on are of timers and windows that fired in the batch. */
enum { FIRED_FIRST = 1 << 30 };

/* A timer or window that fired: an entry of its own, between those of the streams. */
struct fired {
    struct batch_entry entry; /* ms: when it was due; clock_ms: the position's clock when it fired;
                                 seq: of its kind, rule, key and name; stream 0; only: its rule */
    const char *key, *name, *payload; /* payload NULL: none */
    uint32_t key_len, name_len, payload_len;
    double start_ms, stop_ms; /* of a window, as the kernel knows when it closes it; both 0: `name`
                                 says it, START-STOP (a letter that is tried again) */
    const char *reason, *message; /* when it is blamed: of its letter */
    uint32_t before;              /* the place of the entry that it fired before */
    uint8_t kind;                 /* enum timer_kind (rules/timers.h) */
    uint8_t is_blamed;            /* its rule is not called, but fails */
};

/* A command that a rule wants sent, as bytes of the protocol in the batch's buffer. */
struct effect {
    uint64_t at, len; /* len 0: taken back */
    uint32_t entry;
    uint16_t rule, ordinal;   /* ordinal: the how-manieth of (entry, rule), from 1 */
    uint32_t key_at, key_len; /* the rule's key, where that is noted (bridge_effect_key); else 0 */
};

#endif
