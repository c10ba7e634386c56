/* channel.h: typed messages between two processes over a socketpair, in order and whole.
 * Nothing waits: what cannot leave yet is kept, and leaves when it can.
 *
 * The end of one process closes its end; the other reads what was said before, and is then told. */
#ifndef TIDEMILL_WORKER_CHANNEL_H
#define TIDEMILL_WORKER_CHANNEL_H

#include "base/error.h"
#include "base/loop.h"

#include <stddef.h>

struct channel;

struct channel_callbacks {
    /* The body lives during the call and is not aligned. May close the channel. */
    void (*on_message)(void *context, int type, const char *body, size_t len);
    /* The other end is closed: nothing comes any more. Once. May close the channel. */
    void (*on_gone)(void *context);
};

/* The two ends of a new channel. Errors: ERROR_SYSTEM. */
int channel_pair(int ends[2], struct error *error);

/* Takes the descriptor. */
struct channel *channel_open(struct loop *loop, int fd, const struct channel_callbacks *callbacks,
                             void *context);
void channel_close(struct channel *c);

void channel_send(struct channel *c, int type, const void *body, size_t len);

/* The same in two parts, which arrive as one body. */
void channel_send_parts(struct channel *c, int type, const void *first, size_t first_len,
                        const void *second, size_t second_len);

/* Reads what is there now: all of it, when the other process has ended. */
void channel_read(struct channel *c);

#endif
