/* limit.c: see limit.h. All state is static, as the profiler's in LuaJIT is.
 *
 * The tick runs as a signal handler on the VM's thread, between any two machine instructions of it.
 * lua_sethook is made for that, with one exception: when the VM itself was just about to change its
 * dispatch table, it may overwrite what the handler did. Hence a fire first takes the hook off and
 * then sets it, which always writes the table anew, and fires are repeated. */
#include "sandbox/limit.h"

#include "base/clock.h"

#include <assert.h>
#include <errno.h>
#include <lauxlib.h>
#include <luajit.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define TICK_SIGNAL (SIGRTMIN + 1)
#define STOP_FUNCTION "tidemill.limit"

enum { TICKS_PER_LIMIT = 5, TICK_LEAST_MS = 1, TICK_MOST_MS = 10 };

static struct {
    lua_State *lua; /* NULL: no limits */
    struct mark *mark;
    const uint32_t *rule_ms;
    uint32_t rule_count;
    pid_t thread; /* that the timer is of; 0: there is no timer */
    timer_t timer;
    /* What the last tick saw running, and the thread's CPU time then. */
    uint32_t rule, serial;
    uint64_t since_us;
    /* What the hook was set for. */
    volatile uint32_t fired_rule, fired_serial;
} limit;

static void stop(lua_State *L, lua_Debug *activation)
{
    (void)activation;
    lua_sethook(L, NULL, 0, 0);
    if (limit.mark->rule == 0 || limit.mark->rule != limit.fired_rule ||
        limit.mark->serial != limit.fired_serial)
        return;
    lua_getfield(L, LUA_REGISTRYINDEX, STOP_FUNCTION);
    lua_call(L, 0, 1);
    lua_error(L);
}

static void fire(uint32_t rule, uint32_t serial)
{
    limit.fired_rule = rule;
    limit.fired_serial = serial;
    lua_sethook(limit.lua, NULL, 0, 0);
    lua_sethook(limit.lua, stop, LUA_MASKCOUNT, 1);
    raise(SIGPROF); /* the thread's own */
}

static void on_tick(int number)
{
    (void)number;
    int saved = errno;
    if (limit.lua == NULL)
        return;
    struct mark *mark = limit.mark;
    uint32_t rule = mark->rule, serial = mark->serial;
    if (rule == 0 || rule > limit.rule_count) {
        limit.rule = 0;
        return;
    }
    uint64_t now_us = clock_cpu_us();
    if (rule != limit.rule || serial != limit.serial) {
        limit.rule = rule;
        limit.serial = serial;
        limit.since_us = now_us;
        mark->is_seen = 1;
    }
    if (now_us - limit.since_us + mark->spent_us >= (uint64_t)limit.rule_ms[rule] * 1000) {
        fire(rule, serial);
    }
    errno = saved;
}

/* The profiler's callback: nothing is profiled. */
static void ignore(void *context, lua_State *L, int samples, int state)
{
    (void)context;
    (void)L;
    (void)samples;
    (void)state;
}

/* The timer of this thread, which is made once. */
static int make_timer(struct error *error)
{
    pid_t thread = (pid_t)syscall(SYS_gettid);
    if (limit.thread == thread)
        return 0;
    struct sigaction action = {.sa_handler = on_tick, .sa_flags = SA_RESTART};
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = TICK_SIGNAL};
    sigset_t ours;
    event._sigev_un._tid = thread;
    sigaction(TICK_SIGNAL, &action, NULL);
    sigemptyset(&ours);
    sigaddset(&ours, SIGPROF);
    sigaddset(&ours, TICK_SIGNAL);
    pthread_sigmask(SIG_UNBLOCK, &ours, NULL);
    if (timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &limit.timer) != 0)
        return error_set(error, ERROR_SYSTEM, "cannot make a timer of CPU time: %s",
                         strerror(errno));
    limit.thread = thread;
    return 0;
}

static void set_timer(uint32_t tick_ms)
{
    const struct timespec tick = {.tv_nsec = (long)tick_ms * 1000000};
    const struct itimerspec every = {.it_interval = tick, .it_value = tick};
    timer_settime(limit.timer, 0, &every, NULL);
}

static void detach(void)
{
    if (limit.lua == NULL)
        return;
    set_timer(0); /* the last tick has been handled: it was this thread's */
    lua_sethook(limit.lua, NULL, 0, 0);
    luaJIT_profile_stop(limit.lua);
    limit.lua = NULL;
}

int limit_attach(struct vm *vm, struct mark *mark, const uint32_t *rule_ms, uint32_t rule_count,
                 struct error *error)
{
    lua_State *L = vm_lua(vm);
    static const struct itimerval never;
    assert(lua_isfunction(L, -1));
    lua_setfield(L, LUA_REGISTRYINDEX, STOP_FUNCTION);
    int failed = make_timer(error);
    if (failed != 0)
        return failed;
    detach();
    limit.mark = mark;
    limit.rule_ms = rule_ms - 1;
    limit.rule_count = rule_count;
    limit.rule = limit.fired_rule = 0;
    limit.lua = L;
    luaJIT_profile_start(L, "l", ignore, NULL);
    setitimer(ITIMER_PROF, &never, NULL); /* its own ticks; the handler stays */
    uint32_t tick_ms = TICK_MOST_MS;
    for (uint32_t i = 0; i < rule_count; i++)
        if (rule_ms[i] / TICKS_PER_LIMIT < tick_ms)
            tick_ms = rule_ms[i] / TICKS_PER_LIMIT;
    set_timer(tick_ms < TICK_LEAST_MS ? TICK_LEAST_MS : tick_ms);
    return 0;
}

bool limit_is_attached(const struct vm *vm)
{
    return limit.lua != NULL && limit.lua == vm_lua((struct vm *)vm);
}

void limit_stop(void)
{
    fire(limit.mark->rule, limit.mark->serial);
}

void limit_cancel(void)
{
    limit.fired_rule = 0;
}

void limit_detach(struct vm *vm)
{
    if (limit.lua == vm_lua(vm))
        detach();
}
