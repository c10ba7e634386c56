/* clock.h: the clocks of this machine. Only loops, links and drivers read them; policy gets `now`
 * as an argument. */
#ifndef TIDEMILL_BASE_CLOCK_H
#define TIDEMILL_BASE_CLOCK_H

#include <stdint.h>

/* Monotonic; does not jump with the wall clock. */
uint64_t clock_now_ms(void);
uint64_t clock_now_us(void);

/* Monotonic in steps of a few milliseconds: cheap enough to ask once an event. */
uint64_t clock_coarse_ms(void);

/* CPU time of the calling thread. May be called in a signal handler; costs a system call. */
uint64_t clock_cpu_us(void);

/* The same to a quarter of a millisecond, and cheap (30 ns; the system call is 200, on some virtual
 * machines 1,600): the monotonic clock, put right when the last time was that long ago. What the
 * thread spent off its CPU since then counts until it is put right; then the clock steps back. Each
 * thread has its own. */
uint64_t clock_cpu_about_us(void);

/* Milliseconds since 1970: for log lines and letters only. */
uint64_t clock_wall_ms(void);

#endif
