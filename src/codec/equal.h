/* equal.h: are two msgpack values the same? The pairs of a map may stand in any order, as Lua's
 * tables have none. */
#ifndef TIDEMILL_CODEC_EQUAL_H
#define TIDEMILL_CODEC_EQUAL_H

#include <stdbool.h>
#include <stddef.h>

/* Of equal bytes true without a look at them. False, too, when one of them is no whole value or
 * nested deeper than 200. */
bool msgpack_is_equal(const void *a, size_t a_len, const void *b, size_t b_len);

#endif
