/* wire.h: the bytes between us and a Redis: connect, read, write, close. Sockets today; TLS
 * takes its place as a second table. */
#ifndef TIDEMILL_REDIS_WIRE_H
#define TIDEMILL_REDIS_WIRE_H

#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

struct wire {
    /* Starts to connect without blocking; the descriptor, to be watched for writing, or -errno. */
    int (*connect)(const struct sockaddr *address, socklen_t len);
    /* After the descriptor became writable: 0 connected, 1 not yet (watch on), or -errno. */
    int (*finish)(int fd);
    /* Bytes moved; 0 at the end of the stream (read); -EAGAIN when it would block; -errno. */
    ssize_t (*read)(int fd, void *bytes, size_t len);
    ssize_t (*write)(int fd, const void *bytes, size_t len);
    void (*close)(int fd);
};

extern const struct wire wire_socket;

#endif
