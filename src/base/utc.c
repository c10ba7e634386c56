/* utc.c: see utc.h. */
#include "base/utc.h"

#include <stdio.h>
#include <time.h>

static const uint64_t last_ms = UINT64_C(253402300799999);

void utc_format(uint64_t wall_ms, char text[UTC_LEN])
{
    if (wall_ms > last_ms)
        wall_ms = last_ms;
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm utc;
    char moment[UTC_LEN];
    gmtime_r(&seconds, &utc);
    strftime(moment, sizeof moment, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(text, UTC_LEN, "%.19s.%03uZ", moment, (unsigned)(wall_ms % 1000));
}
