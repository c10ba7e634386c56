/* talk.h: one step of a conversation: some commands, and one callback when all their replies are
 * there. */
#ifndef TIDEMILL_STREAM_TALK_H
#define TIDEMILL_STREAM_TALK_H

#include "redis/link.h"

#include <stdbool.h>

struct talk;

/* `replies[i]` answers the i-th command; they live until the next talk_begin. */
typedef void talk_done_call(void *context, const struct reply *const *replies, size_t count);

struct talk *talk_create(void);
void talk_destroy(struct talk *t);

/* A new step on `link`, which is up. Commands are appended to the buffer that this returns, each
 * followed by talk_expect with a word for people ("XINFO STREAM orders"; copied), then talk_send.
 */
struct buf *talk_begin(struct talk *t, struct link *link);
void talk_expect(struct talk *t, const char *what);
void talk_send(struct talk *t, talk_done_call *done, void *context);

/* The words of talk_expect for a reply. */
const char *talk_what(const struct talk *t, size_t number);

/* The link broke or was closed: no reply will come. */
void talk_cancel(struct talk *t);
bool talk_is_open(const struct talk *t);

#endif
