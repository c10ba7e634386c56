/* socket.h: the control socket: a unix socket on which `tidemill status` asks a running engine. A
 * question is one line; the answer is one line of JSON, and the end. */
#ifndef TIDEMILL_CLI_SOCKET_H
#define TIDEMILL_CLI_SOCKET_H

#include "base/buf.h"
#include "base/error.h"
#include "base/loop.h"

#include <stdbool.h>

struct control_socket;

/* Answers "status" with what `write_status` appends. A socket that is left over from a process that
 * is gone is replaced. When another process answers there already, or the path cannot be used: an
 * error when it was asked for, else only a warning, and *out is NULL. */
int control_socket_open(struct loop *loop, const char *path, bool is_asked_for,
                        void (*write_status)(void *context, struct buf *), void *context,
                        struct control_socket **out, struct error *error);
void control_socket_close(struct control_socket *s);

/* Asks and waits for the answer. Errors: ERROR_CONNECTION (nobody there), ERROR_TIMEOUT. */
int control_socket_ask(const char *path, const char *question, struct buf *answer,
                       struct error *error);

#endif
