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

/* Milliseconds since 1970: for log lines and letters only. */
uint64_t clock_wall_ms(void);

#endif
