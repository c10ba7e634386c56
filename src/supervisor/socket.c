/* socket.c: see socket.h. */
#include "supervisor/socket.h"

#include "base/log.h"
#include "config/runtime_dir.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { QUESTION_MOST = 256, CLIENTS_MOST = 32 };

struct asker {
    struct control_socket *socket;
    struct asker *next;
    struct loop_io *io;
    int fd;
    char question[QUESTION_MOST];
    size_t question_len;
    struct buf answer;
    size_t sent;
};

struct control_socket {
    struct loop *loop;
    struct loop_io *io;
    int fd;
    char path[sizeof((struct sockaddr_un *)0)->sun_path];
    control_question_call *on_question;
    void *context;
    struct asker *askers;
    unsigned asker_count;
};

static int set_address(const char *path, struct sockaddr_un *address, struct error *error)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address->sun_path)
        return error_set(error, ERROR_USAGE,
                         "the path of the control socket is too long (at most %zu bytes): %s",
                         sizeof address->sun_path - 1, path);
    strcpy(address->sun_path, path);
    return 0;
}

/* ── the engine's side ───────────────────────────────────────────────────────────────────── */

static void asker_close(struct asker *a)
{
    struct asker **link = &a->socket->askers;
    while (*link != a)
        link = &(*link)->next;
    *link = a->next;
    a->socket->asker_count--;
    loop_io_close(a->io);
    close(a->fd);
    buf_fini(&a->answer);
    free(a);
}

void control_answer(struct asker *a, const char *text, size_t len)
{
    buf_append(&a->answer, text, len);
    buf_append_text(&a->answer, "\n");
    loop_io_want(a->io, false, true);
}

/* Until it is answered, nothing is heard of it. */
static void ask(struct asker *a)
{
    char *end = memchr(a->question, '\n', a->question_len);
    *end = '\0';
    loop_io_want(a->io, false, false);
    a->socket->on_question(a->socket->context, a, a->question);
}

static void on_asker(void *context, bool readable, bool writable)
{
    struct asker *a = context;
    if (readable) {
        ssize_t got = recv(a->fd, a->question + a->question_len,
                           sizeof a->question - a->question_len, MSG_DONTWAIT);
        if (got <= 0 && !(got < 0 && errno == EAGAIN)) {
            asker_close(a);
            return;
        }
        a->question_len += got > 0 ? (size_t)got : 0;
        if (memchr(a->question, '\n', a->question_len) != NULL)
            ask(a);
        else if (a->question_len == sizeof a->question)
            asker_close(a);
        return;
    }
    if (writable) {
        ssize_t put = send(a->fd, a->answer.data + a->sent, a->answer.len - a->sent,
                           MSG_DONTWAIT | MSG_NOSIGNAL);
        if (put < 0 && errno == EAGAIN)
            return;
        a->sent += put > 0 ? (size_t)put : 0;
        if (put < 0 || a->sent == a->answer.len)
            asker_close(a);
    }
}

static void on_connection(void *context, bool readable, bool writable)
{
    struct control_socket *s = context;
    (void)readable;
    (void)writable;
    int fd = accept4(s->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    if (s->asker_count == CLIENTS_MOST) {
        close(fd);
        return;
    }
    struct asker *a = calloc(1, sizeof *a);
    if (a == NULL)
        abort();
    a->socket = s;
    a->fd = fd;
    a->next = s->askers;
    s->askers = a;
    s->asker_count++;
    a->io = loop_io_open(s->loop, fd, on_asker, a);
    loop_io_want(a->io, true, false);
}

/* Removes a socket that nobody answers on. False: somebody does. */
static bool clear_path(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool is_alive = connect(fd, (const struct sockaddr *)address, sizeof *address) == 0;
    close(fd);
    if (!is_alive)
        unlink(address->sun_path);
    return !is_alive;
}

static int listen_at(struct control_socket *s, struct error *error)
{
    struct sockaddr_un address;
    if (set_address(s->path, &address, error) != 0 || runtime_dir_prepare(s->path, error) != 0)
        return (int)error->code;
    if (!clear_path(&address))
        return error_set(
            error, ERROR_SYSTEM,
            "another engine answers on the control socket %s; name another with --control PATH",
            s->path);
    s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    mode_t before = umask(0177);
    int failed =
        bind(s->fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(s->fd, 16) != 0;
    int cause = errno;
    umask(before);
    if (failed)
        return error_set(error, ERROR_SYSTEM,
                         "cannot open the control socket %s: %s; name another with --control PATH",
                         s->path, strerror(cause));
    return 0;
}

int control_socket_open(struct loop *loop, const char *path, bool is_asked_for,
                        control_question_call *on_question, void *context,
                        struct control_socket **out, struct error *error)
{
    struct control_socket *s = calloc(1, sizeof *s);
    struct error why = {0};
    if (s == NULL)
        abort();
    *s = (struct control_socket){
        .loop = loop, .fd = -1, .on_question = on_question, .context = context};
    snprintf(s->path, sizeof s->path, "%s", path);
    int failed =
        strlen(path) < sizeof s->path
            ? listen_at(s, &why)
            : error_set(&why, ERROR_USAGE, "the path of the control socket is too long: %s", path);
    if (failed == 0) {
        s->io = loop_io_open(loop, s->fd, on_connection, s);
        loop_io_want(s->io, true, false);
        *out = s;
        return 0;
    }
    if (s->fd >= 0)
        close(s->fd);
    free(s);
    *out = NULL;
    if (is_asked_for) {
        if (error != NULL)
            *error = why;
        return failed;
    }
    log_line(LOG_WARN, "no_control", "`tidemill status` will not find this engine", "cause",
             why.text, NULL);
    return 0;
}

static void drop(struct control_socket *s)
{
    while (s->askers != NULL)
        asker_close(s->askers);
    loop_io_close(s->io);
    close(s->fd);
    free(s);
}

void control_socket_close(struct control_socket *s)
{
    if (s == NULL)
        return;
    unlink(s->path);
    drop(s);
}

void control_socket_leave(struct control_socket *s)
{
    if (s != NULL)
        drop(s);
}

/* ── the asking side ─────────────────────────────────────────────────────────────────────── */

int control_socket_ask(const char *path, const char *question, unsigned patience_s,
                       struct buf *answer_out, struct error *error)
{
    struct sockaddr_un address;
    struct timeval patience = {.tv_sec = patience_s};
    char line[QUESTION_MOST];
    if (set_address(path, &address, error) != 0)
        return ERROR_USAGE;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    int failed = 0;
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        failed = error_set(
            error, ERROR_CONNECTION,
            "no engine answers on %s (%s); is `tidemill run` running, with the same --group and "
            "--control?",
            path, strerror(errno));
        goto out;
    }
    int len = snprintf(line, sizeof line, "%s\n", question);
    if (send(fd, line, (size_t)len, MSG_NOSIGNAL) != len) {
        failed = error_set(error, ERROR_CONNECTION, "the engine on %s does not listen: %s", path,
                           strerror(errno));
        goto out;
    }
    for (;;) {
        buf_reserve(answer_out, 65536);
        ssize_t got = recv(fd, answer_out->data + answer_out->len, 65536, 0);
        if (got == 0)
            break;
        if (got < 0) {
            failed = error_set(error, ERROR_TIMEOUT, "the engine on %s did not answer within %u s",
                               path, patience_s);
            break;
        }
        answer_out->len += (size_t)got;
    }
out:
    close(fd);
    return failed;
}
