/* utc.h: moments as people write them. */
#ifndef TIDEMILL_BASE_UTC_H
#define TIDEMILL_BASE_UTC_H

#include <stdint.h>

enum { UTC_LEN = sizeof "2026-11-22T15:04:05.123Z" };

/* Milliseconds since 1970 as 2026-11-22T15:04:05.123Z; what lies beyond the year 9999 is its last
 * moment. */
void utc_format(uint64_t wall_ms, char text[UTC_LEN]);

#endif
