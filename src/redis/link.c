/* link.c: see link.h for the states and promises.
 *
 * (6) One function, break_link, ends a connection that failed, and one, tell_down, says so,
 *     always from a turn of the loop of its own: so on_down never comes while the owner, or one
 *     of our functions, is half way through something.
 * (7) `epoch` counts connections that ended. Code that calls out remembers it and stops when it
 *     has moved.
 * (8) There is one timer; what it means depends on the state: deadline of the connection being
 *     made, of the first awaited reply, the turn that tells of a break, or the end of the
 *     backoff. `timer_due_ms` is the truth, and a timer that comes early (libevent's time is
 *     cached) goes back to sleep. */
#include "redis/link.h"

#include "base/backoff.h"
#include "base/clock.h"
#include "redis/greeting.h"
#include "redis/parser.h"
#include "redis/resolve.h"
#include "redis/wire.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/un.h>

enum {
    DEFAULT_TIMEOUT_MS = 5000,
    DEFAULT_BACKOFF_LEAST_MS = 20,
    DEFAULT_BACKOFF_MOST_MS = 2000,
    READ_BYTES = 128 * 1024, /* one read(): about what a socket holds */
    FEED_BYTES = 16 * 1024,  /* for the parser, which moves the rest down after each reply */
    ROUNDS_MOST = 16,        /* reads or writes in one turn: other links want theirs */
    KEEP_BYTES = 1024 * 1024 /* of the output buffer and the scratch arena, when they are empty */
};

enum link_state { CLOSED, RESOLVING, CONNECTING, GREETING, READY, BROKEN, WAITING };

/* What to do with the next reply. */
struct expectation {
    link_reply_call *call; /* NULL: nothing */
    void *context;
    struct arena *arena; /* NULL: the link's scratch */
    uint64_t patience_ms;
};

struct link {
    struct loop *loop;
    const struct wire *wire;
    struct link_callbacks callbacks;
    void *context;
    struct redis_url url;
    char name[128];
    uint64_t connect_timeout_ms, timeout_ms;
    struct backoff backoff;

    enum link_state state;
    bool is_up;               /* the owner heard on_up and no on_down yet */
    unsigned epoch;           /* (7) */
    struct loop_timer *timer; /* (8) */
    uint64_t timer_due_ms;
    struct error why; /* of the break, while BROKEN */

    struct resolve *resolve;    /* while RESOLVING */
    struct addresses addresses; /* tried in turn, each once an attempt … */
    unsigned address_next;      /* … beginning behind the one tried last */
    int addresses_left;

    int fd; /* -1: none */
    struct loop_io *io;
    struct parser *parser;
    char *read_room; /* READ_BYTES */
    struct buf out;  /* commands … */
    size_t out_sent; /* … of which so many bytes are written */

    struct expectation *queue; /* a ring; its size is a power of two */
    size_t queue_room, queue_head, queue_count;
    uint64_t quiet_since_ms; /* bytes moved last, or the first awaited reply was asked for */
    struct arena scratch;

    enum greeting_step steps[GREETING_STEPS];
    int step_count, step_now;
    uint32_t redis_version;

    int depth;      /* of our functions called by the loop */
    bool is_doomed; /* destroyed inside a callback: freed when depth is 0 again */
};

static void set_state(struct link *l, enum link_state state)
{
    l->state = state;
}

static void set_timer(struct link *l, uint64_t after_ms)
{
    l->timer_due_ms = clock_now_ms() + after_ms;
    loop_timer_start(l->timer, after_ms);
}

/* ---- the queue of expectations ---- */

static struct expectation *queue_peek(struct link *l)
{
    return &l->queue[l->queue_head];
}

static void queue_push(struct link *l, struct expectation e)
{
    if (l->queue_count == l->queue_room) {
        size_t room = l->queue_room > 0 ? l->queue_room * 2 : 16;
        struct expectation *queue = malloc(room * sizeof *queue);
        if (queue == NULL)
            abort();
        for (size_t i = 0; i < l->queue_count; i++)
            queue[i] = l->queue[(l->queue_head + i) & (l->queue_room - 1)];
        free(l->queue);
        l->queue = queue;
        l->queue_room = room;
        l->queue_head = 0;
    }
    l->queue[(l->queue_head + l->queue_count++) & (l->queue_room - 1)] = e;
}

static void queue_pop(struct link *l)
{
    assert(l->queue_count > 0);
    l->queue_head = (l->queue_head + 1) & (l->queue_room - 1);
    l->queue_count--;
}

/* ---- the end of a connection ---- */

static void drop_connection(struct link *l)
{
    l->epoch++;
    resolve_close(l->resolve);
    l->resolve = NULL;
    loop_io_close(l->io);
    l->io = NULL;
    if (l->fd >= 0)
        l->wire->close(l->fd);
    l->fd = -1;
    parser_destroy(l->parser);
    l->parser = NULL;
    l->queue_head = l->queue_count = 0;
    buf_reset(&l->out, KEEP_BYTES);
    l->out_sent = 0;
    loop_timer_stop(l->timer);
}

static void break_link(struct link *l, const struct error *why)
{
    drop_connection(l);
    l->why = *why;
    set_state(l, BROKEN);
    set_timer(l, 0);
}

static uint32_t draw_random(void)
{
    uint32_t random = 0;
    (void)!getrandom(&random, sizeof random, GRND_NONBLOCK); /* failing, the wait has no jitter */
    return random;
}

static void tell_down(struct link *l)
{
    struct error why = l->why;
    l->is_up = false;
    drop_connection(l); /* what the owner appended and expected since the break */
    if (why.code == ERROR_FATAL_REPLY) {
        set_state(l, CLOSED);
    } else {
        set_state(l, WAITING);
        set_timer(l, backoff_next_ms(&l->backoff, draw_random()));
    }
    l->callbacks.on_down(l->context, &why);
}

static void break_because(struct link *l, enum error_code code, const char *what, const char *cause)
{
    struct error why;
    error_set(&why, code, "%s Redis at %s: %s", what, l->url.shown, cause);
    break_link(l, &why);
}

/* What a failed call of the wire means; `status` is 0 at the end of the stream, else -errno. */
static void break_wire(struct link *l, ssize_t status)
{
    break_because(l, ERROR_CONNECTION, "lost the connection to",
                  status == 0 ? "it closed the connection" : strerror((int)-status));
}

/* ---- writing ---- */

/* Moves what is not written to the front once it is the smaller part: each byte moves about
 * once. */
static void compact_out(struct link *l)
{
    if (l->out_sent == l->out.len) {
        buf_reset(&l->out, KEEP_BYTES);
        l->out_sent = 0;
    } else if (l->out_sent > l->out.len / 2) {
        buf_consume(&l->out, l->out_sent);
        l->out_sent = 0;
    }
}

static void write_some(struct link *l)
{
    for (int round = 0; round < ROUNDS_MOST && l->out_sent < l->out.len; round++) {
        ssize_t put = l->wire->write(l->fd, l->out.data + l->out_sent, l->out.len - l->out_sent);
        if (put == -EAGAIN)
            break;
        if (put < 0) {
            break_wire(l, put);
            return;
        }
        l->out_sent += (size_t)put;
    }
    compact_out(l);
    loop_io_want(l->io, true, l->out.len > 0);
}

/* ---- patience ---- */

/* Sees to it that the timer comes when the first awaited reply is late; one that comes too early
 * finds out. */
static void watch_patience(struct link *l)
{
    if (l->state != READY || l->queue_count == 0)
        return;
    uint64_t due_ms = l->quiet_since_ms + queue_peek(l)->patience_ms;
    if (loop_timer_is_started(l->timer) && l->timer_due_ms <= due_ms)
        return;
    uint64_t now_ms = clock_now_ms();
    set_timer(l, due_ms > now_ms ? due_ms - now_ms : 0);
}

static void check_patience(struct link *l)
{
    if (l->queue_count == 0)
        return;
    uint64_t patience_ms = queue_peek(l)->patience_ms;
    if (clock_now_ms() < l->quiet_since_ms + patience_ms) {
        watch_patience(l);
        return;
    }
    char cause[64];
    snprintf(cause, sizeof cause, "no answer for %llu ms", (unsigned long long)patience_ms);
    break_because(l, ERROR_TIMEOUT, "gave up on", cause);
}

/* ---- reading ---- */

/* Delivers all whole replies; false when the connection they came from is gone. */
static bool take_replies(struct link *l)
{
    unsigned epoch = l->epoch;
    while (l->queue_count > 0) {
        struct expectation e = *queue_peek(l);
        const struct reply *reply = NULL;
        struct error why;
        if (parser_next(l->parser, e.arena != NULL ? e.arena : &l->scratch, &reply, &why) != 0) {
            break_because(l, ERROR_FORMAT, "cannot understand", why.text);
            return false;
        }
        if (reply == NULL)
            return true;
        queue_pop(l);
        if (e.call != NULL)
            e.call(e.context, reply);
        if (e.arena == NULL)
            arena_reset(&l->scratch, KEEP_BYTES);
        if (l->epoch != epoch)
            return false;
    }
    if (parser_has_more(l->parser)) {
        break_because(l, ERROR_FORMAT, "cannot understand", "it answered more than it was asked");
        return false;
    }
    return true;
}

static bool take_bytes(struct link *l, const char *bytes, size_t len)
{
    for (size_t at = 0; at < len; at += FEED_BYTES) {
        parser_feed(l->parser, bytes + at, len - at < FEED_BYTES ? len - at : FEED_BYTES);
        if (!take_replies(l))
            return false;
    }
    return true;
}

static void read_some(struct link *l)
{
    for (int round = 0; round < ROUNDS_MOST; round++) {
        ssize_t got = l->wire->read(l->fd, l->read_room, READ_BYTES);
        if (got == -EAGAIN)
            break;
        if (got <= 0) {
            break_wire(l, got);
            return;
        }
        l->quiet_since_ms = clock_now_ms();
        if (!take_bytes(l, l->read_room, (size_t)got))
            return;
        if (got < READ_BYTES)
            break;
    }
    watch_patience(l);
}

/* ---- a new connection ---- */

static void on_greeting_reply(void *context, const struct reply *reply)
{
    struct link *l = context;
    struct error why;
    if (greeting_judge(&l->url, l->steps[l->step_now], reply, &l->redis_version, &why) != 0) {
        break_link(l, &why);
        return;
    }
    if (++l->step_now < l->step_count)
        return;
    loop_timer_stop(l->timer);
    backoff_reset(&l->backoff);
    set_state(l, READY);
    l->is_up = true;
    l->callbacks.on_up(l->context);
}

static void start_greeting(struct link *l)
{
    l->parser = parser_create();
    l->step_now = 0;
    l->step_count = greeting_append(&l->url, l->name, &l->out, l->steps);
    for (int i = 0; i < l->step_count; i++)
        queue_push(l, (struct expectation){.call = on_greeting_reply, .context = l});
    set_state(l, GREETING);
    write_some(l);
}

static void on_io(void *context, bool readable, bool writable);

/* Tries the addresses that are left. `status` is why the one before did not do. */
static void connect_next(struct link *l, int status)
{
    while (l->addresses_left > 0) {
        const struct address *a =
            &l->addresses.list[l->address_next++ % (unsigned)l->addresses.count];
        l->addresses_left--;
        int fd = l->wire->connect((const struct sockaddr *)&a->at, a->len);
        if (fd >= 0) {
            l->fd = fd;
            l->io = loop_io_open(l->loop, fd, on_io, l);
            loop_io_want(l->io, false, true);
            set_state(l, CONNECTING);
            return;
        }
        status = fd;
    }
    break_because(l, ERROR_CONNECTION, "cannot connect to", strerror(-status));
}

static void finish_connect(struct link *l)
{
    int status = l->wire->finish(l->fd);
    if (status > 0)
        return;
    if (status == 0) {
        start_greeting(l);
        return;
    }
    loop_io_close(l->io);
    l->io = NULL;
    l->wire->close(l->fd);
    l->fd = -1;
    connect_next(l, status);
}

static void on_resolved(void *context, const struct addresses *found, const char *cause)
{
    struct link *l = context;
    if (found == NULL) {
        break_because(l, ERROR_CONNECTION, "cannot find the host of", cause);
        return;
    }
    l->addresses = *found;
    l->addresses_left = found->count;
    resolve_close(l->resolve);
    l->resolve = NULL;
    connect_next(l, -ENOENT);
}

static void find_unix(struct link *l)
{
    struct address *a = &l->addresses.list[0];
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    assert(strlen(l->url.path) < sizeof at.sun_path); /* redis_url_parse saw to it */
    memcpy(at.sun_path, l->url.path, strlen(l->url.path) + 1);
    memcpy(&a->at, &at, sizeof at);
    a->len = sizeof at;
    l->addresses.count = 1;
}

static void start_attempt(struct link *l)
{
    set_timer(l, l->connect_timeout_ms);
    if (l->url.is_unix) {
        find_unix(l);
    } else if (!resolve_numeric(l->url.host, l->url.port, &l->addresses)) {
        set_state(l, RESOLVING);
        l->resolve = resolve_start(l->loop, l->url.host, l->url.port, on_resolved, l);
        if (l->resolve == NULL)
            break_because(l, ERROR_SYSTEM, "cannot find the host of",
                          "the system has no thread or descriptor left");
        return;
    }
    l->addresses_left = l->addresses.count;
    connect_next(l, -ENOENT);
}

static void give_up_attempt(struct link *l)
{
    const char *phase = l->state == RESOLVING    ? "its host name is not resolved"
                        : l->state == CONNECTING ? "no connection"
                                                 : "it takes connections but does not answer";
    char cause[96];
    snprintf(cause, sizeof cause, "%s after %llu ms", phase,
             (unsigned long long)l->connect_timeout_ms);
    break_because(l, ERROR_TIMEOUT, "cannot connect to", cause);
}

/* ---- called by the loop ---- */

static void free_link(struct link *l)
{
    loop_timer_close(l->timer);
    arena_fini(&l->scratch);
    buf_fini(&l->out);
    free(l->queue);
    free(l->read_room);
    free(l);
}

static void enter(struct link *l)
{
    l->depth++;
}

static void leave(struct link *l)
{
    if (--l->depth == 0 && l->is_doomed)
        free_link(l);
}

static void on_io(void *context, bool readable, bool writable)
{
    struct link *l = context;
    unsigned epoch = l->epoch;
    enter(l);
    if (l->state == CONNECTING) {
        finish_connect(l);
    } else {
        if (writable) {
            l->quiet_since_ms = clock_now_ms(); /* (4): the socket was full and has room again */
            write_some(l);
        }
        if (readable && l->epoch == epoch)
            read_some(l);
    }
    leave(l);
}

static void on_timer(void *context)
{
    struct link *l = context;
    uint64_t now_ms = clock_now_ms();
    if (now_ms < l->timer_due_ms) {
        loop_timer_start(l->timer, l->timer_due_ms - now_ms);
        return;
    }
    enter(l);
    switch (l->state) {
    case RESOLVING:
    case CONNECTING:
    case GREETING:
        give_up_attempt(l);
        break;
    case READY:
        check_patience(l);
        break;
    case BROKEN:
        tell_down(l);
        break;
    case WAITING:
        start_attempt(l);
        break;
    case CLOSED:
        break;
    }
    leave(l);
}

/* ---- for the owner ---- */

static uint64_t or_default(uint64_t value, uint64_t otherwise)
{
    return value != 0 ? value : otherwise;
}

struct link *link_create(struct loop *loop, const struct link_options *options,
                         const struct link_callbacks *callbacks, void *context)
{
    struct link *l = calloc(1, sizeof *l);
    if (l == NULL || (l->read_room = malloc(READ_BYTES)) == NULL)
        abort();
    l->loop = loop;
    l->wire = &wire_socket;
    l->callbacks = *callbacks;
    l->context = context;
    l->url = *options->url;
    snprintf(l->name, sizeof l->name, "%s", options->name != NULL ? options->name : "");
    l->connect_timeout_ms = or_default(options->connect_timeout_ms, DEFAULT_TIMEOUT_MS);
    l->timeout_ms = or_default(options->timeout_ms, DEFAULT_TIMEOUT_MS);
    l->backoff.least_ms = or_default(options->backoff_least_ms, DEFAULT_BACKOFF_LEAST_MS);
    l->backoff.most_ms = or_default(options->backoff_most_ms, DEFAULT_BACKOFF_MOST_MS);
    if (l->backoff.most_ms < l->backoff.least_ms)
        l->backoff.most_ms = l->backoff.least_ms;
    l->fd = -1;
    l->timer = loop_timer_open(loop, on_timer, l);
    return l;
}

void link_destroy(struct link *l)
{
    if (l == NULL)
        return;
    link_close(l);
    l->is_doomed = true;
    if (l->depth == 0)
        free_link(l);
}

void link_open(struct link *l)
{
    if (l->state != CLOSED)
        return;
    backoff_reset(&l->backoff);
    start_attempt(l);
}

bool link_is_up(const struct link *l)
{
    return l->is_up;
}

void link_close(struct link *l)
{
    drop_connection(l);
    l->is_up = false;
    set_state(l, CLOSED);
}

struct buf *link_out(struct link *l)
{
    assert(l->is_up);
    return &l->out;
}

void link_expect(struct link *l, link_reply_call *call, void *context, struct arena *arena,
                 uint64_t patience_ms)
{
    assert(l->is_up);
    if (l->queue_count == 0)
        l->quiet_since_ms = clock_now_ms();
    queue_push(l,
               (struct expectation){call, context, arena, or_default(patience_ms, l->timeout_ms)});
}

void link_flush(struct link *l)
{
    assert(l->is_up);
    if (l->state != READY)
        return; /* broken, and the owner is about to hear of it */
    write_some(l);
    watch_patience(l);
}

uint32_t link_redis_version(const struct link *l)
{
    return l->redis_version;
}

size_t link_waiting(const struct link *l)
{
    return l->queue_count;
}
