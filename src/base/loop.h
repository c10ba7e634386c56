/* loop.h: one thread's events: readable, writable, after a time, a signal. The only home of
 * libevent.
 *
 * Every watcher is an opaque handle that its owner closes; a callback may close any watcher, its
 * own too. */
#ifndef TIDEMILL_BASE_LOOP_H
#define TIDEMILL_BASE_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct loop_io;
struct loop_timer;
struct loop_signal;

struct loop *loop_create(void);
void loop_destroy(struct loop *loop); /* after all its watchers are closed */

/* In a child that was forked, before anything else is done with the loop: from here on what is done
 * to it does not reach the parent's. The child closes the watchers and destroys the loop. */
void loop_after_fork(struct loop *loop);

void loop_run(struct loop *loop);  /* until loop_stop */
void loop_stop(struct loop *loop); /* the run returns after the callback that called this */

/* File descriptors (level triggered). `fd` stays its owner's: close the watcher before the
 * descriptor. */
typedef void loop_io_call(void *context, bool readable, bool writable);
struct loop_io *loop_io_open(struct loop *loop, int fd, loop_io_call *call, void *context);
void loop_io_want(struct loop_io *io, bool readable, bool writable);
void loop_io_close(struct loop_io *io);

/* Timers fire once per start; starting again moves the time. */
typedef void loop_timer_call(void *context);
struct loop_timer *loop_timer_open(struct loop *loop, loop_timer_call *call, void *context);
void loop_timer_start(struct loop_timer *timer, uint64_t after_ms);
void loop_timer_stop(struct loop_timer *timer);
bool loop_timer_is_started(const struct loop_timer *timer);
void loop_timer_close(struct loop_timer *timer);

typedef void loop_signal_call(void *context, int number);
struct loop_signal *loop_signal_open(struct loop *loop, int number, loop_signal_call *call,
                                     void *context);
void loop_signal_close(struct loop_signal *s);

#endif
