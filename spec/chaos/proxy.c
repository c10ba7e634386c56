/* proxy.c: stands between the engine and its Redis and does what networks do at the worst moment.
 *
 *   proxy LISTEN_SOCKET REDIS_SOCKET CONTROL_SOCKET
 *
 * Every connection to LISTEN_SOCKET gets one to REDIS_SOCKET: a pair. Bytes pass command by command
 * and reply by reply, so that faults strike between two of them and never by chance inside a
 * payload. Orders come as lines over CONTROL_SOCKET; each is answered "ok", or "error" and a
 * reason:
 *
 *   cut                  all pairs end at once; what is under way is lost (held EXECs stay)
 *   delay MS             everything takes MS longer, each way, from now on; 0: no longer
 *   hold EXEC [MS] [with=NAME]
 *                        the next EXEC is kept back and its client cut off at once; the EXEC
 * reaches Redis, on the old connection, after MS or (no MS) at `release`. with=NAME: only of a
 * transaction in which a command NAME was queued hold MULTI [MS] [with=NAME] the same with the
 * whole transaction release              what is held goes to Redis now swallow EXEC [with=NAME]
 *                        the next EXEC is executed, but its reply is lost and its client cut off
 *   disarm               what hold and swallow have asked for and has not happened is called off
 *   count                "ok" and what has happened so far, as name=number
 *
 * (1) A client that goes away has sent what it has sent: it still reaches Redis, as it would
 *     through a kernel.
 * (2) Replies are counted against commands, so that the reply of one EXEC is known among
 *     pipelined ones. */
#include "base/buf.h"
#include "base/clock.h"
#include "base/loop.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { READ_BYTES = 64 * 1024, PENDING_MOST = 8 * 1024 * 1024, NAME_ROOM = 32 };

/* ---- the protocol: where a command or a reply ends ---- */

/* A value (RESP 2) passes through byte by byte; nested arrays only add to what is missing. */
struct scan {
    long long missing; /* values until the whole is complete; 0 before its first byte */
    size_t skip;       /* bytes of a string, and its end of line, still to come */
    char line[64];     /* the header line being read, cut off at the room's end */
    size_t line_len;
    char first;           /* type of the outermost value */
    bool is_nil;          /* the outermost value is nil */
    char name[NAME_ROOM]; /* the first string inside: of a command, its name */
    size_t name_len;
    bool has_name;
};

static void scan_header(struct scan *s)
{
    long long n = strtoll(s->line + 1, NULL, 10);
    char type = s->line[0];
    if (s->first == 0) {
        s->first = type;
        s->is_nil = (type == '*' || type == '$') && n < 0;
    }
    s->missing--;
    if (type == '*' && n > 0)
        s->missing += n;
    if (type == '$' && n >= 0)
        s->skip = (size_t)n + 2;
    s->line_len = 0;
}

static void scan_string(struct scan *s, const char *bytes, size_t len)
{
    for (size_t i = 0; i < len && !s->has_name && s->name_len + 1 < NAME_ROOM; i++)
        if (s->skip - i > 2)
            s->name[s->name_len++] = bytes[i];
    s->skip -= len;
    s->has_name = s->has_name || s->skip == 0;
}

/* Takes bytes up to the end of the value at most; *is_whole tells that it is complete. Start
 * each value zeroed. */
static size_t scan_value(struct scan *s, const char *bytes, size_t len, bool *is_whole)
{
    size_t at = 0;
    *is_whole = false;
    if (s->first == 0 && s->line_len == 0)
        s->missing = 1;
    while (at < len && (s->missing > 0 || s->skip > 0)) {
        if (s->skip > 0) {
            size_t take = len - at < s->skip ? len - at : s->skip;
            scan_string(s, bytes + at, take);
            at += take;
        } else {
            char c = bytes[at++];
            if (s->line_len + 1 < sizeof s->line)
                s->line[s->line_len++] = c;
            s->line[s->line_len] = '\0';
            if (c == '\n')
                scan_header(s);
        }
    }
    *is_whole = s->missing == 0 && s->skip == 0;
    return at;
}

/* ---- bytes on their way to one side ---- */

struct chunk {
    struct chunk *next;
    uint64_t due_ms; /* not to be written before */
    size_t len, sent;
    char bytes[];
};

struct side {
    struct pair *pair;
    int fd;
    struct loop_io *io;
    struct loop_timer *timer;    /* for the first chunk that is not due */
    struct chunk *first, **last; /* to be written to this side */
    size_t pending;
    bool is_ended; /* nothing more comes from this side */
    /* What comes from this side: */
    struct scan scan;
    struct buf partial; /* the value that is not whole yet */
    uint64_t count;     /* whole values passed on to the other side: commands or replies */
};

enum hold_phase { NOT_HELD, STASHING, HELD, RELEASED };

struct pair {
    struct pair *next, **link;
    struct side client, server;
    /* The transaction being queued has the command that the order asks for: */
    bool is_for_hold, is_for_swallow;
    enum hold_phase phase;
    struct buf held;          /* commands kept back … */
    uint64_t held_count;      /* … and how many */
    struct loop_timer *timer; /* of the release */
    uint64_t late_reply;      /* RELEASED: the number of the late EXEC's reply */
    uint64_t swallow_reply;   /* the number of the reply that will be lost; 0: none */
};

/* ---- all of it ---- */

enum counter { CUT, HOLD, RELEASE, LANDED, FENCED, LOST, SWALLOW, CONNECTIONS, EXECS, COUNTERS };
static const char *const counter_names[COUNTERS] = {
    [CUT] = "cut",       [HOLD] = "hold", [RELEASE] = "release", [LANDED] = "landed",
    [FENCED] = "fenced", [LOST] = "lost", [SWALLOW] = "swallow", [CONNECTIONS] = "connections",
    [EXECS] = "execs",
};

static struct {
    struct loop *loop;
    const char *redis_path;
    struct pair *pairs;
    uint64_t counts[COUNTERS];
    uint64_t delay_ms;
    struct {
        bool is_armed, is_whole; /* is_whole: from MULTI on */
        uint64_t ms;             /* 0: until release */
        char with[NAME_ROOM];
    } hold;
    struct {
        bool is_armed;
        char with[NAME_ROOM];
    } swallow;
} the_proxy;

static void die(const char *what, const char *path)
{
    fprintf(stderr, "proxy: %s %s: %s\n", what, path, strerror(errno));
    exit(1);
}

static void *zeroed(size_t bytes)
{
    void *memory = calloc(1, bytes);
    if (memory == NULL)
        abort();
    return memory;
}

/* ---- the end of a pair ---- */

static void side_close(struct side *s)
{
    loop_io_close(s->io);
    s->io = NULL;
    loop_timer_close(s->timer);
    s->timer = NULL;
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
    while (s->first != NULL) {
        struct chunk *chunk = s->first;
        s->first = chunk->next;
        free(chunk);
    }
    s->last = &s->first;
    s->pending = 0;
    buf_fini(&s->partial);
}

static void pair_close(struct pair *p)
{
    if (p->phase == HELD || p->phase == RELEASED)
        the_proxy.counts[LOST]++; /* Redis went away before it answered the late EXEC */
    side_close(&p->client);
    side_close(&p->server);
    loop_timer_close(p->timer);
    buf_fini(&p->held);
    *p->link = p->next;
    if (p->next != NULL)
        p->next->link = p->link;
    free(p);
}

/* ---- writing ---- */

/* Writes what is due; false when the pair is gone. */
static bool side_write(struct side *s)
{
    if (s->fd < 0)
        return true; /* a client that was cut off */
    uint64_t now_ms = clock_now_ms();
    while (s->first != NULL && s->first->due_ms <= now_ms) {
        struct chunk *chunk = s->first;
        ssize_t put =
            send(s->fd, chunk->bytes + chunk->sent, chunk->len - chunk->sent, MSG_NOSIGNAL);
        if (put < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (put < 0) {
            pair_close(s->pair);
            return false;
        }
        chunk->sent += (size_t)put;
        s->pending -= (size_t)put;
        if (chunk->sent < chunk->len)
            continue;
        s->first = chunk->next;
        if (s->first == NULL)
            s->last = &s->first;
        free(chunk);
    }
    bool is_due = s->first != NULL && s->first->due_ms <= now_ms;
    if (s->first != NULL && !is_due)
        loop_timer_start(s->timer, s->first->due_ms - now_ms);
    struct side *other = s == &s->pair->client ? &s->pair->server : &s->pair->client;
    loop_io_want(s->io, !s->is_ended && other->pending < PENDING_MOST, is_due);
    if (other->io != NULL)
        loop_io_want(other->io, !other->is_ended && s->pending < PENDING_MOST,
                     other->first != NULL && other->first->due_ms <= now_ms);
    bool waits = s->pair->phase == HELD || s->pair->phase == RELEASED;
    if (s->first == NULL && other->is_ended && !waits) { /* (1) */
        pair_close(s->pair);
        return false;
    }
    return true;
}

static void side_put(struct side *s, const void *bytes, size_t len)
{
    struct chunk *chunk = malloc(sizeof *chunk + len);
    if (chunk == NULL)
        abort();
    *chunk = (struct chunk){.due_ms = clock_now_ms() + the_proxy.delay_ms, .len = len};
    memcpy(chunk->bytes, bytes, len);
    *s->last = chunk;
    s->last = &chunk->next;
    s->pending += len;
}

/* ---- faults on transactions ---- */

static void hold_release(void *context)
{
    struct pair *p = context;
    if (p->phase != HELD)
        return;
    the_proxy.counts[RELEASE]++;
    p->phase = RELEASED;
    p->client.count += p->held_count;
    p->late_reply = p->client.count;
    side_put(&p->server, p->held.data, p->held.len);
    side_write(&p->server);
}

/* The EXEC is here: the client's side ends, the server's side waits for the release. */
static void hold_begin(struct pair *p)
{
    the_proxy.counts[HOLD]++;
    the_proxy.hold.is_armed = false;
    p->phase = HELD;
    side_close(&p->client);
    p->client.is_ended = true;
    if (the_proxy.hold.ms > 0)
        loop_timer_start(p->timer, the_proxy.hold.ms);
}

static void stash(struct pair *p, const struct buf *command)
{
    buf_append(&p->held, command->data, command->len);
    p->held_count++;
}

static void pass_command(struct pair *p, const struct buf *command)
{
    p->client.count++;
    side_put(&p->server, command->data, command->len);
}

/* It was not the transaction that the order asks for. */
static void unstash(struct pair *p)
{
    p->client.count += p->held_count;
    side_put(&p->server, p->held.data, p->held.len);
    buf_fini(&p->held);
    p->held_count = 0;
    p->phase = NOT_HELD;
}

static void take_exec(struct pair *p, const struct buf *command)
{
    bool may_hold = the_proxy.hold.is_armed && p->is_for_hold;
    the_proxy.counts[EXECS]++;
    if (may_hold && (p->phase == STASHING || !the_proxy.hold.is_whole)) {
        stash(p, command);
        hold_begin(p);
        return;
    }
    if (p->phase == STASHING)
        unstash(p);
    pass_command(p, command);
    if (the_proxy.swallow.is_armed && p->is_for_swallow) {
        the_proxy.swallow.is_armed = false;
        p->swallow_reply = p->client.count; /* (2) */
    }
}

/* One whole command of the client. */
static void take_command(struct pair *p, const char *name, const struct buf *command)
{
    if (strcasecmp(name, "EXEC") == 0) {
        take_exec(p, command);
        return;
    }
    if (strcasecmp(name, "MULTI") == 0) {
        p->is_for_hold = the_proxy.hold.with[0] == '\0';
        p->is_for_swallow = the_proxy.swallow.with[0] == '\0';
        if (the_proxy.hold.is_armed && the_proxy.hold.is_whole && p->phase == NOT_HELD)
            p->phase = STASHING;
    }
    p->is_for_hold = p->is_for_hold || strcasecmp(name, the_proxy.hold.with) == 0;
    p->is_for_swallow = p->is_for_swallow || strcasecmp(name, the_proxy.swallow.with) == 0;
    if (p->phase == STASHING)
        stash(p, command);
    else
        pass_command(p, command);
    if (p->phase == STASHING && strcasecmp(name, "DISCARD") == 0)
        unstash(p);
}

/* One whole reply of Redis; false when the pair is gone. */
static bool take_reply(struct pair *p, const struct scan *reply, const struct buf *bytes)
{
    uint64_t number = ++p->server.count;
    if (p->phase == RELEASED && number == p->late_reply) {
        the_proxy.counts[reply->is_nil ? FENCED : reply->first == '*' ? LANDED : LOST]++;
        p->phase = NOT_HELD;
        pair_close(p);
        return false;
    }
    if (number == p->swallow_reply) {
        the_proxy.counts[SWALLOW]++;
        pair_close(p);
        return false;
    }
    if (p->client.fd >= 0)
        side_put(&p->client, bytes->data, bytes->len);
    return true;
}

/* ---- reading ---- */

/* Takes bytes from one side apart; false when the pair is gone. */
static bool side_take(struct side *s, const char *bytes, size_t len)
{
    struct pair *p = s->pair;
    bool is_client = s == &p->client;
    while (len > 0) {
        bool is_whole;
        size_t taken = scan_value(&s->scan, bytes, len, &is_whole);
        buf_append(&s->partial, bytes, taken);
        bytes += taken;
        len -= taken;
        if (!is_whole)
            continue;
        struct scan scan = s->scan;
        struct buf value = s->partial;
        s->scan = (struct scan){0};
        s->partial = (struct buf){0};
        bool is_alive = true;
        if (is_client)
            take_command(p, scan.name, &value);
        else
            is_alive = take_reply(p, &scan, &value);
        buf_fini(&value);
        if (!is_alive)
            return false;
        if (is_client && p->phase == HELD)
            break; /* what the client sent behind is lost with its side */
    }
    return side_write(is_client ? &p->server : &p->client);
}

/* The end of what one side sends. The other side still gets what is under way. */
static void side_end(struct side *s)
{
    struct pair *p = s->pair;
    s->is_ended = true;
    if (p->phase == STASHING)
        unstash(p);
    loop_io_want(s->io, false, false);
    struct side *other = s == &p->client ? &p->server : &p->client;
    if (other->fd < 0)
        pair_close(p);
    else
        side_write(other);
}

static void on_side(void *context, bool readable, bool writable)
{
    static char room[READ_BYTES];
    struct side *s = context;
    if (writable && !side_write(s))
        return;
    if (!readable || s->is_ended)
        return;
    ssize_t got = recv(s->fd, room, sizeof room, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0)
        side_end(s);
    else
        side_take(s, room, (size_t)got);
}

static void on_due(void *context)
{
    side_write(context);
}

/* ---- connections ---- */

static struct sockaddr_un address_of(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof at.sun_path) {
        errno = ENAMETOOLONG;
        die("socket", path);
    }
    memcpy(at.sun_path, path, strlen(path));
    return at;
}

static int listen_at(const char *path)
{
    struct sockaddr_un at = address_of(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    unlink(path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(fd, 128) != 0)
        die("cannot listen at", path);
    return fd;
}

static int connect_redis(void)
{
    struct sockaddr_un at = address_of(the_proxy.redis_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (connect(fd, (struct sockaddr *)&at, sizeof at) != 0) {
        close(fd);
        return -1;
    }
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static void side_open(struct side *s, struct pair *p, int fd)
{
    s->pair = p;
    s->fd = fd;
    s->last = &s->first;
    s->timer = loop_timer_open(the_proxy.loop, on_due, s);
    s->io = loop_io_open(the_proxy.loop, fd, on_side, s);
    loop_io_want(s->io, true, false);
}

static void on_connection(void *context, bool readable, bool writable)
{
    (void)readable;
    (void)writable;
    int client = accept4(*(int *)context, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (client < 0)
        return;
    int server = connect_redis();
    if (server < 0) {
        close(client); /* no Redis: the client sees its connection end */
        return;
    }
    the_proxy.counts[CONNECTIONS]++;
    struct pair *p = zeroed(sizeof *p);
    p->next = the_proxy.pairs;
    p->link = &the_proxy.pairs;
    if (p->next != NULL)
        p->next->link = &p->next;
    the_proxy.pairs = p;
    p->timer = loop_timer_open(the_proxy.loop, hold_release, p);
    side_open(&p->client, p, client);
    side_open(&p->server, p, server);
}

/* ---- orders ---- */

static void order_cut(void)
{
    the_proxy.counts[CUT]++;
    struct pair *next;
    for (struct pair *p = the_proxy.pairs; p != NULL; p = next) {
        next = p->next;
        if (p->phase != HELD && p->phase != RELEASED)
            pair_close(p);
    }
}

static void order_release(void)
{
    struct pair *next;
    for (struct pair *p = the_proxy.pairs; p != NULL; p = next) {
        next = p->next;
        hold_release(p);
    }
}

static void order_disarm(void)
{
    the_proxy.hold.is_armed = the_proxy.swallow.is_armed = false;
    struct pair *next;
    for (struct pair *p = the_proxy.pairs; p != NULL; p = next) {
        next = p->next;
        if (p->phase == STASHING) {
            unstash(p);
            side_write(&p->server);
        }
    }
}

/* EXEC|MULTI [MS] [with=NAME]; false when it is something else. */
static bool order_hold(char *words)
{
    char *rest, *word = strtok_r(words, " ", &rest);
    if (word == NULL || (strcmp(word, "EXEC") != 0 && strcmp(word, "MULTI") != 0))
        return false;
    bool is_whole = strcmp(word, "MULTI") == 0;
    uint64_t ms = 0;
    char with[NAME_ROOM] = "";
    while ((word = strtok_r(NULL, " ", &rest)) != NULL) {
        if (strncmp(word, "with=", 5) == 0)
            snprintf(with, sizeof with, "%s", word + 5);
        else if ((ms = strtoull(word, NULL, 10)) == 0)
            return false;
    }
    the_proxy.hold.is_armed = true;
    the_proxy.hold.is_whole = is_whole;
    the_proxy.hold.ms = ms;
    memcpy(the_proxy.hold.with, with, sizeof with);
    return true;
}

static bool order_swallow(const char *words)
{
    if (strncmp(words, "EXEC", 4) != 0)
        return false;
    if (words[4] != '\0' && strncmp(words + 4, " with=", 6) != 0)
        return false;
    the_proxy.swallow.is_armed = true;
    snprintf(the_proxy.swallow.with, NAME_ROOM, "%s", words[4] != '\0' ? words + 10 : "");
    return true;
}

static void append_counts(struct buf *answer)
{
    for (int i = 0; i < COUNTERS; i++)
        buf_printf(answer, " %s=%llu", counter_names[i], (unsigned long long)the_proxy.counts[i]);
}

static void obey(char *line, struct buf *answer)
{
    bool is_known = true, is_count = false;
    if (strcmp(line, "cut") == 0)
        order_cut();
    else if (strncmp(line, "delay ", 6) == 0)
        the_proxy.delay_ms = strtoull(line + 6, NULL, 10);
    else if (strncmp(line, "hold ", 5) == 0)
        is_known = order_hold(line + 5);
    else if (strcmp(line, "release") == 0)
        order_release();
    else if (strncmp(line, "swallow ", 8) == 0)
        is_known = order_swallow(line + 8);
    else if (strcmp(line, "disarm") == 0)
        order_disarm();
    else
        is_known = is_count = strcmp(line, "count") == 0;
    buf_append_text(answer, is_known ? "ok" : "error unknown order");
    if (is_count)
        append_counts(answer);
    buf_append_text(answer, "\n");
}

struct control {
    int fd;
    struct loop_io *io;
    struct buf in;
};

static void control_close(struct control *c)
{
    loop_io_close(c->io);
    close(c->fd);
    buf_fini(&c->in);
    free(c);
}

static void on_order(void *context, bool readable, bool writable)
{
    (void)readable;
    (void)writable;
    struct control *c = context;
    buf_reserve(&c->in, 1024);
    ssize_t got = recv(c->fd, c->in.data + c->in.len, 1024, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        control_close(c);
        return;
    }
    c->in.len += (size_t)got;
    struct buf answer = {0};
    char *end;
    while ((end = memchr(c->in.data, '\n', c->in.len)) != NULL) {
        *end = '\0';
        obey(c->in.data, &answer);
        buf_consume(&c->in, (size_t)(end + 1 - c->in.data));
    }
    (void)!send(c->fd, answer.data, answer.len, MSG_NOSIGNAL);
    buf_fini(&answer);
}

static void on_control(void *context, bool readable, bool writable)
{
    (void)readable;
    (void)writable;
    int fd = accept4(*(int *)context, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    struct control *c = zeroed(sizeof *c);
    c->fd = fd;
    c->io = loop_io_open(the_proxy.loop, fd, on_order, c);
    loop_io_want(c->io, true, false);
}

static void on_term(void *context, int number)
{
    (void)number;
    loop_stop(context);
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: proxy LISTEN_SOCKET REDIS_SOCKET CONTROL_SOCKET\n");
        return 2;
    }
    the_proxy.loop = loop_create();
    the_proxy.redis_path = argv[2];
    int listen_fd = listen_at(argv[1]), control_fd = listen_at(argv[3]);
    struct loop_io *listen_io = loop_io_open(the_proxy.loop, listen_fd, on_connection, &listen_fd);
    struct loop_io *control_io = loop_io_open(the_proxy.loop, control_fd, on_control, &control_fd);
    struct loop_signal *term = loop_signal_open(the_proxy.loop, SIGTERM, on_term, the_proxy.loop);
    loop_io_want(listen_io, true, false);
    loop_io_want(control_io, true, false);
    loop_run(the_proxy.loop);
    while (the_proxy.pairs != NULL)
        pair_close(the_proxy.pairs);
    loop_io_close(listen_io);
    loop_io_close(control_io);
    loop_signal_close(term);
    unlink(argv[1]);
    unlink(argv[3]);
    return 0;
}
