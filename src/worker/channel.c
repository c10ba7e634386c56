/* channel.c: see channel.h. A message is a head and its body in a stream of bytes. */
#include "worker/channel.h"

#include "base/buf.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_BYTES = 65536 };

struct head {
    uint64_t type, len;
};

struct channel {
    struct channel_callbacks callbacks;
    void *context;
    struct loop_io *io;
    int fd;
    struct buf in, out;
    bool is_gone, is_busy, is_closed; /* closed inside its own callback: freed behind it */
};

/* ── sending ────────────────────────────────────────────────────────────────────────────────── */

static void flush(struct channel *c)
{
    while (c->out.len > 0 && !c->is_gone) {
        ssize_t sent = send(c->fd, c->out.data, c->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent > 0)
            buf_consume(&c->out, (size_t)sent);
        if (sent > 0 || errno == EINTR)
            continue;
        if (errno == EAGAIN)
            break;
        c->out.len = 0; /* closed at the other end: reading finds that out, after its last words */
    }
    if (!c->is_gone)
        loop_io_want(c->io, true, c->out.len > 0);
}

void channel_send_parts(struct channel *c, int type, const void *first, size_t first_len,
                        const void *second, size_t second_len)
{
    struct head head = {.type = (uint64_t)type, .len = first_len + second_len};
    if (c->is_gone)
        return;
    buf_append(&c->out, &head, sizeof head);
    if (first_len > 0)
        buf_append(&c->out, first, first_len);
    if (second_len > 0)
        buf_append(&c->out, second, second_len);
    flush(c);
}

void channel_send(struct channel *c, int type, const void *body, size_t len)
{
    channel_send_parts(c, type, body, len, NULL, 0);
}

/* ── receiving ──────────────────────────────────────────────────────────────────────────────── */

/* False: nothing more is there, or nothing will ever be. */
static bool receive_some(struct channel *c)
{
    buf_reserve(&c->in, READ_BYTES);
    ssize_t got = recv(c->fd, c->in.data + c->in.len, READ_BYTES, MSG_DONTWAIT);
    if (got < 0 && errno == EINTR)
        return true;
    if (got < 0 && errno == EAGAIN)
        return false;
    if (got <= 0) {
        c->is_gone = true;
        return false;
    }
    c->in.len += (size_t)got;
    return true;
}

/* Hands over every whole message. */
static void deliver(struct channel *c)
{
    size_t at = 0;
    while (!c->is_closed && c->in.len - at >= sizeof(struct head)) {
        struct head head;
        memcpy(&head, c->in.data + at, sizeof head);
        if (c->in.len - at - sizeof head < head.len)
            break;
        const char *body = c->in.data + at + sizeof head;
        at += sizeof head + head.len;
        c->callbacks.on_message(c->context, (int)head.type, body, head.len);
    }
    buf_consume(&c->in, at);
}

static void destroy(struct channel *c)
{
    buf_fini(&c->in);
    buf_fini(&c->out);
    free(c);
}

void channel_read(struct channel *c)
{
    if (c->is_busy || c->is_gone)
        return;
    c->is_busy = true;
    while (!c->is_closed && receive_some(c))
        deliver(c);
    if (c->is_gone && !c->is_closed) {
        loop_io_want(c->io, false, false);
        c->callbacks.on_gone(c->context);
    }
    c->is_busy = false;
    if (c->is_closed)
        destroy(c);
}

static void on_io(void *context, bool readable, bool writable)
{
    struct channel *c = context;
    if (writable)
        flush(c);
    if (readable)
        channel_read(c);
}

/* ── life ───────────────────────────────────────────────────────────────────────────────────── */

int channel_pair(int ends[2], struct error *error)
{
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0)
        return error_set(error, ERROR_SYSTEM, "cannot make a channel to a worker: %s",
                         strerror(errno));
    return 0;
}

struct channel *channel_open(struct loop *loop, int fd, const struct channel_callbacks *callbacks,
                             void *context)
{
    struct channel *c = calloc(1, sizeof *c);
    if (c == NULL)
        abort();
    c->callbacks = *callbacks;
    c->context = context;
    c->fd = fd;
    c->io = loop_io_open(loop, fd, on_io, c);
    loop_io_want(c->io, true, false);
    return c;
}

void channel_close(struct channel *c)
{
    if (c == NULL)
        return;
    loop_io_close(c->io);
    close(c->fd);
    c->is_closed = true;
    if (!c->is_busy)
        destroy(c);
}
