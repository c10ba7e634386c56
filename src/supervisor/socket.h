/* socket.h: the control socket: a unix socket on which `tidemill status` asks a running engine. A
 * question is one line; the answer is one line of JSON, and the end. */
#ifndef TIDEMILL_SUPERVISOR_SOCKET_H
#define TIDEMILL_SUPERVISOR_SOCKET_H

#include "base/buf.h"
#include "base/error.h"
#include "base/loop.h"

#include <stdbool.h>

struct control_socket;
struct asker; /* somebody who has asked and waits */

/* Every question is to be answered once, now or later, with control_answer: unless the socket is
 * closed before. */
typedef void control_question_call(void *context, struct asker *asker, const char *question);

/* A socket that is left over from a process that is gone is replaced. When another process answers
 * there already, or the path cannot be used: an error when it was asked for, else only a warning,
 * and *out is NULL. */
int control_socket_open(struct loop *loop, const char *path, bool is_asked_for,
                        control_question_call *on_question, void *context,
                        struct control_socket **out, struct error *error);
void control_socket_close(struct control_socket *s);

/* Closes what a forked child has of it: the parent's goes on. */
void control_socket_leave(struct control_socket *s);

/* One line of JSON, without its line feed. */
void control_answer(struct asker *asker, const char *text, size_t len);

/* Asks and waits for the answer, `patience_s` seconds at most. Errors: ERROR_CONNECTION (nobody
 * there), ERROR_TIMEOUT. */
int control_socket_ask(const char *path, const char *question, unsigned patience_s,
                       struct buf *answer, struct error *error);

#endif
