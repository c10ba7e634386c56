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

/* A number of exactly `digits` digits; moves `*text` behind it. */
static bool take_digits(const char **text, int digits, int *number)
{
    *number = 0;
    for (int i = 0; i < digits; i++) {
        if (**text < '0' || **text > '9')
            return false;
        *number = *number * 10 + (*(*text)++ - '0');
    }
    return true;
}

static bool take_sign(const char **text, char sign)
{
    if (**text != sign)
        return false;
    ++*text;
    return true;
}

/* A fraction of a second, of which the ms count. */
static bool take_fraction(const char **text, int *ms)
{
    int scale = 100;
    if (**text < '0' || **text > '9')
        return false;
    for (; **text >= '0' && **text <= '9'; ++*text, scale /= 10)
        *ms += (**text - '0') * scale;
    return true;
}

/* Z, +01:00, -0530, or nothing: UTC. */
static bool take_zone(const char **text, int *minutes)
{
    int sign = **text == '-' ? -1 : 1, hours = 0, more = 0;
    *minutes = 0;
    if (**text == '\0' || take_sign(text, 'Z'))
        return true;
    if (!take_sign(text, '+') && !take_sign(text, '-'))
        return false;
    if (!take_digits(text, 2, &hours) || (take_sign(text, ':'), !take_digits(text, 2, &more)))
        return false;
    *minutes = sign * (hours * 60 + more);
    return hours < 24 && more < 60;
}

bool utc_parse(const char *text, uint64_t *wall_ms)
{
    struct tm utc = {0};
    int ms = 0, zone = 0, day;
    if (!take_digits(&text, 4, &utc.tm_year) || !take_sign(&text, '-') ||
        !take_digits(&text, 2, &utc.tm_mon) || !take_sign(&text, '-') ||
        !take_digits(&text, 2, &utc.tm_mday))
        return false;
    if (take_sign(&text, 'T') || take_sign(&text, ' ')) {
        if (!take_digits(&text, 2, &utc.tm_hour) || !take_sign(&text, ':') ||
            !take_digits(&text, 2, &utc.tm_min))
            return false;
        if (take_sign(&text, ':') && (!take_digits(&text, 2, &utc.tm_sec) ||
                                      (take_sign(&text, '.') && !take_fraction(&text, &ms))))
            return false;
        if (!take_zone(&text, &zone))
            return false;
    }
    if (*text != '\0' || utc.tm_mon < 1 || utc.tm_mon > 12 || utc.tm_hour > 23 || utc.tm_min > 59 ||
        utc.tm_sec > 60)
        return false;
    utc.tm_year -= 1900;
    utc.tm_mon -= 1;
    day = utc.tm_mday;
    time_t seconds = timegm(&utc) - zone * 60;
    if (utc.tm_mday != day || seconds < 0) /* there is no such day */
        return false;
    *wall_ms = (uint64_t)seconds * 1000 + (uint64_t)ms;
    return true;
}
