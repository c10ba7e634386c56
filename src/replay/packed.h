/* packed.h: values inside msgpack bytes, looked at where they lie: what a rule has emitted, field
 * by field. */
#ifndef TIDEMILL_REPLAY_PACKED_H
#define TIDEMILL_REPLAY_PACKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that somebody else keeps. */
struct span {
    const char *bytes;
    size_t len;
};

bool span_is(struct span a, struct span b);
bool span_is_text(struct span span, const char *text);

/* The value that begins at `bytes`, whole; len 0: there is none, or it is cut. Nested as deep as it
 * may be. */
struct span packed_value(const char *bytes, size_t len);

bool packed_is_map(struct span value);

/* The pairs of a map, one after the other: false behind the last. `*cursor` starts at 0 and is the
 * walk's own. */
struct packed_walk {
    size_t at;
    uint64_t left;
    bool is_begun;
};
bool packed_next(struct packed_walk *walk, struct span map, struct span *key, struct span *value);

/* The text of a string; false: it is none. */
bool packed_text(struct span value, struct span *text);

/* An integer or a double, as a double. False: it is neither. */
bool packed_number(struct span value, double *number);

/* Do both mean the same? Numbers by value, maps in any order of their keys. */
bool packed_equal(struct span a, struct span b);

#endif
