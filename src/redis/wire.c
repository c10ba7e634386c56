/* wire.c: plain sockets. */
#include "redis/wire.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

/* A peer that vanished without a word is noticed after half a minute of silence, even when no
 * reply is awaited. */
enum { KEEPALIVE_IDLE_S = 15, KEEPALIVE_PAUSE_S = 5, KEEPALIVE_TRIES = 3 };

static void tune_tcp(int fd)
{
    const struct {
        int level, name, value;
    } options[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S},
        {IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_PAUSE_S},
        {IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_TRIES},
    };
    /* A system that refuses one of them still has a working socket. */
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        (void)setsockopt(fd, options[i].level, options[i].name, &options[i].value,
                         sizeof options[i].value);
}

static int socket_connect(const struct sockaddr *address, socklen_t len)
{
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (address->sa_family != AF_UNIX)
        tune_tcp(fd);
    if (connect(fd, address, len) == 0 || errno == EINPROGRESS || errno == EINTR)
        return fd;
    int code = errno;
    close(fd);
    return -code;
}

static int socket_finish(int fd)
{
    int code = 0;
    socklen_t len = sizeof code;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &len) != 0)
        code = errno;
    return -code;
}

static ssize_t socket_read(int fd, void *bytes, size_t len)
{
    ssize_t got;
    do
        got = recv(fd, bytes, len, 0);
    while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got;
}

static ssize_t socket_write(int fd, const void *bytes, size_t len)
{
    ssize_t put;
    do
        put = send(fd, bytes, len, MSG_NOSIGNAL);
    while (put < 0 && errno == EINTR);
    return put < 0 ? -errno : put;
}

static void socket_close(int fd)
{
    close(fd);
}

const struct wire wire_socket = {socket_connect, socket_finish, socket_read, socket_write,
                                 socket_close};
