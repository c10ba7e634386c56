/* utc.h: moments as people write them. */
#ifndef TIDEMILL_BASE_UTC_H
#define TIDEMILL_BASE_UTC_H

#include <stdbool.h>
#include <stdint.h>

enum { UTC_LEN = sizeof "2026-11-22T15:04:05.123Z" };

/* Milliseconds since 1970 as 2026-11-22T15:04:05.123Z; what lies beyond the year 9999 is its last
 * moment. */
void utc_format(uint64_t wall_ms, char text[UTC_LEN]);

/* The other way: ISO 8601, a day (its first moment) or a moment, to the minute, second or finer;
 * without a zone it is UTC. False: it is none, or before 1970. */
bool utc_parse(const char *text, uint64_t *wall_ms);

#endif
