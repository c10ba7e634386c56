/* greeting.h: what a new connection says first, and what to make of the answers. Pure: bytes
 * out, replies in. */
#ifndef TIDEMILL_REDIS_GREETING_H
#define TIDEMILL_REDIS_GREETING_H

#include "base/buf.h"
#include "base/error.h"
#include "redis/reply.h"
#include "redis/url.h"

enum greeting_step {
    GREETING_AUTH,
    GREETING_SETNAME,
    GREETING_SELECT,
    GREETING_INFO,
    GREETING_STEPS
};

/* Oldest Redis we run on: 6.2.5, as 0xMMmmpp. */
#define GREETING_OLDEST_REDIS 0x060205u

/* Appends the commands (AUTH and SELECT only where the URL asks for them) and writes which steps
 * they are, in order; returns how many. */
int greeting_append(const struct redis_url *url, const char *name, struct buf *out,
                    enum greeting_step steps[GREETING_STEPS]);

/* Judges the reply to one step; GREETING_INFO fills *version. Failure: ERROR_FATAL_REPLY when
 * waiting will not help, with cause and cure; ERROR_REPLY when it may (LOADING, BUSY, too many
 * clients …). */
int greeting_judge(const struct redis_url *url, enum greeting_step step, const struct reply *reply,
                   uint32_t *version, struct error *error);

#endif
