/* slice.h: parts of a msgpack document as the bytes that they are, where a value is wanted whole
 * rather than its tokens.
 *
 * For documents that msgpack_tokens has found to be well formed; of others a part may be empty, but
 * nothing beyond their end is read. */
#ifndef TIDEMILL_CODEC_SLICE_H
#define TIDEMILL_CODEC_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct slice {
    const char *bytes;
    size_t len; /* 0: no value */
};

/* Takes the first value off `rest`. False: there is none. */
bool slice_next(struct slice *rest, struct slice *value);

/* What is in a map (`*count` pairs: key, value, key, …) or an array. False: it is none. */
bool slice_open_map(struct slice map, struct slice *items, uint32_t *count);
bool slice_open_array(struct slice array, struct slice *items, uint32_t *count);

/* The value of a map's field; empty when it has none, or is no map. */
struct slice slice_find(struct slice map, const char *name);

/* The bytes of a string; empty when it is none. */
struct slice slice_text(struct slice value);

/* A number that is not below 0, as decisions and letters have them; `otherwise` when it is none. */
double slice_number(struct slice value, double otherwise);

bool slice_is_same(struct slice a, struct slice b);
bool slice_is_nil(struct slice value);

#endif
