/* loop.c: a thin hand on libevent, so that nothing above knows its names. */
#include "base/loop.h"

#include <assert.h>
#include <event2/event.h>
#include <stdlib.h>

struct loop {
    struct event_base *base;
};

struct loop_io {
    struct event *read_watch, *write_watch;
    loop_io_call *call;
    void *context;
    bool wants_read, wants_write; /* what libevent has been told */
};

struct loop_timer {
    struct event *watch;
    loop_timer_call *call;
    void *context;
};

struct loop_signal {
    struct event *watch;
    loop_signal_call *call;
    void *context;
};

static void *zeroed(size_t bytes)
{
    void *memory = calloc(1, bytes);
    if (memory == NULL)
        abort();
    return memory;
}

struct loop *loop_create(void)
{
    struct loop *loop = zeroed(sizeof *loop);
    loop->base = event_base_new();
    assert(loop->base != NULL);
    return loop;
}

void loop_destroy(struct loop *loop)
{
    if (loop == NULL)
        return;
    event_base_free(loop->base);
    free(loop);
}

void loop_after_fork(struct loop *loop)
{
    int failed = event_reinit(loop->base);
    assert(failed == 0);
}

void loop_run(struct loop *loop)
{
    event_base_loop(loop->base, EVLOOP_NO_EXIT_ON_EMPTY);
}

void loop_stop(struct loop *loop)
{
    event_base_loopbreak(loop->base);
}

static void on_io(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    struct loop_io *io = context;
    io->call(io->context, (what & EV_READ) != 0, (what & EV_WRITE) != 0);
}

struct loop_io *loop_io_open(struct loop *loop, int fd, loop_io_call *call, void *context)
{
    struct loop_io *io = zeroed(sizeof *io);
    io->call = call;
    io->context = context;
    io->read_watch = event_new(loop->base, fd, EV_READ | EV_PERSIST, on_io, io);
    io->write_watch = event_new(loop->base, fd, EV_WRITE | EV_PERSIST, on_io, io);
    assert(io->read_watch != NULL && io->write_watch != NULL);
    return io;
}

void loop_io_want(struct loop_io *io, bool readable, bool writable)
{
    if (readable != io->wants_read) {
        io->wants_read = readable;
        readable ? event_add(io->read_watch, NULL) : event_del(io->read_watch);
    }
    if (writable != io->wants_write) {
        io->wants_write = writable;
        writable ? event_add(io->write_watch, NULL) : event_del(io->write_watch);
    }
}

void loop_io_close(struct loop_io *io)
{
    if (io == NULL)
        return;
    event_free(io->read_watch);
    event_free(io->write_watch);
    free(io);
}

static void on_timer(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct loop_timer *timer = context;
    timer->call(timer->context);
}

struct loop_timer *loop_timer_open(struct loop *loop, loop_timer_call *call, void *context)
{
    struct loop_timer *timer = zeroed(sizeof *timer);
    timer->call = call;
    timer->context = context;
    timer->watch = evtimer_new(loop->base, on_timer, timer);
    assert(timer->watch != NULL);
    return timer;
}

void loop_timer_start(struct loop_timer *timer, uint64_t after_ms)
{
    struct timeval after = {.tv_sec = (time_t)(after_ms / 1000),
                            .tv_usec = (suseconds_t)(after_ms % 1000 * 1000)};
    evtimer_add(timer->watch, &after);
}

void loop_timer_stop(struct loop_timer *timer)
{
    evtimer_del(timer->watch);
}

bool loop_timer_is_started(const struct loop_timer *timer)
{
    return evtimer_pending(timer->watch, NULL) != 0;
}

void loop_timer_close(struct loop_timer *timer)
{
    if (timer == NULL)
        return;
    event_free(timer->watch);
    free(timer);
}

static void on_signal(evutil_socket_t number, short what, void *context)
{
    (void)what;
    struct loop_signal *s = context;
    s->call(s->context, (int)number);
}

struct loop_signal *loop_signal_open(struct loop *loop, int number, loop_signal_call *call,
                                     void *context)
{
    struct loop_signal *s = zeroed(sizeof *s);
    s->call = call;
    s->context = context;
    s->watch = evsignal_new(loop->base, number, on_signal, s);
    assert(s->watch != NULL);
    event_add(s->watch, NULL);
    return s;
}

void loop_signal_close(struct loop_signal *s)
{
    if (s == NULL)
        return;
    event_free(s->watch);
    free(s);
}
