/* resolve.c: getaddrinfo blocks and cannot be cancelled, so a detached thread does it and nobody
 * waits for the thread.
 *
 * (1) The work is shared by two holders, the loop's side and the thread. Each lets go once; the
 *     last one frees it, with the eventfd that wakes the loop. So either may be first, and the
 *     descriptor is never closed under the other.
 * (2) Only the thread writes `found` and `status`, before it writes the eventfd; only the loop's
 *     side reads them, after it has read the eventfd.
 * (3) The thread takes no signals: they belong to the thread that runs the loop (and the rules'
 *     profiler). */
#include "redis/resolve.h"

#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { THREAD_STACK_BYTES = 512 * 1024 };

struct work {
    atomic_int holders; /* (1) */
    int wake_fd;
    char host[256];
    char port[16];
    struct addresses found;
    int status; /* of getaddrinfo */
};

struct resolve {
    struct work *work;
    struct loop_io *io;
    resolve_call *call;
    void *context;
};

static void work_let_go(struct work *w)
{
    if (atomic_fetch_sub(&w->holders, 1) != 1)
        return;
    close(w->wake_fd);
    free(w);
}

static int look_up(const char *host, const char *port, int flags, struct addresses *found)
{
    struct addrinfo *list, hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV};
    int status = getaddrinfo(host, port, &hints, &list);
    if (status != 0)
        return status;
    found->count = 0;
    for (struct addrinfo *a = list; a != NULL && found->count < RESOLVE_MOST; a = a->ai_next) {
        struct address *next = &found->list[found->count++];
        memcpy(&next->at, a->ai_addr, a->ai_addrlen);
        next->len = a->ai_addrlen;
    }
    freeaddrinfo(list);
    return 0;
}

static void *thread_main(void *argument)
{
    struct work *w = argument;
    w->status = look_up(w->host, w->port, AI_ADDRCONFIG, &w->found);
    (void)eventfd_write(w->wake_fd, 1);
    work_let_go(w);
    return NULL;
}

static int start_thread(struct work *w)
{
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, THREAD_STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* (3) */
    int code = pthread_create(&thread, &attributes, thread_main, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return code;
}

static void on_wake(void *context, bool readable, bool writable)
{
    (void)readable;
    (void)writable;
    struct resolve *r = context;
    struct work *w = r->work;
    eventfd_t ignored;
    if (eventfd_read(w->wake_fd, &ignored) != 0)
        return;
    loop_io_want(r->io, false, false);
    /* The call may close r; w may go with it, so the answer is copied. */
    struct addresses found = w->found;
    int status = w->status;
    bool is_good = status == 0 && found.count > 0;
    r->call(r->context, is_good ? &found : NULL, is_good ? NULL : gai_strerror(status));
}

bool resolve_numeric(const char *host, int port, struct addresses *found)
{
    char text[16];
    snprintf(text, sizeof text, "%d", port);
    return look_up(host, text, AI_NUMERICHOST, found) == 0;
}

struct resolve *resolve_start(struct loop *loop, const char *host, int port, resolve_call *call,
                              void *context)
{
    struct work *w = calloc(1, sizeof *w);
    struct resolve *r = calloc(1, sizeof *r);
    if (w == NULL || r == NULL)
        abort();
    atomic_init(&w->holders, 2);
    snprintf(w->host, sizeof w->host, "%s", host);
    snprintf(w->port, sizeof w->port, "%d", port);
    w->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (w->wake_fd < 0 || start_thread(w) != 0) {
        if (w->wake_fd >= 0)
            close(w->wake_fd);
        free(w);
        free(r);
        return NULL;
    }
    *r = (struct resolve){.work = w, .call = call, .context = context};
    r->io = loop_io_open(loop, w->wake_fd, on_wake, r);
    loop_io_want(r->io, true, false);
    return r;
}

void resolve_close(struct resolve *r)
{
    if (r == NULL)
        return;
    loop_io_close(r->io);
    work_let_go(r->work);
    free(r);
}
