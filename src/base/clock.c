/* clock.c: see clock.h. */
#include "base/clock.h"

#include <time.h>

static uint64_t read_us(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

uint64_t clock_now_ms(void)
{
    return read_us(CLOCK_MONOTONIC) / 1000;
}

uint64_t clock_now_us(void)
{
    return read_us(CLOCK_MONOTONIC);
}

uint64_t clock_coarse_ms(void)
{
    return read_us(CLOCK_MONOTONIC_COARSE) / 1000;
}

uint64_t clock_cpu_us(void)
{
    return read_us(CLOCK_THREAD_CPUTIME_ID);
}

uint64_t clock_cpu_about_us(void)
{
    enum { STALE_US = 250 };
    static _Thread_local struct {
        uint64_t at_us, cpu_us; /* the two clocks at one moment */
    } known;
    uint64_t now_us = clock_now_us();
    if (now_us - known.at_us >= STALE_US) {
        known.at_us = now_us;
        known.cpu_us = clock_cpu_us();
    }
    return known.cpu_us + (now_us - known.at_us);
}

uint64_t clock_wall_ms(void)
{
    return read_us(CLOCK_REALTIME) / 1000;
}
