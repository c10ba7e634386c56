/* parser.h: bytes of the Redis protocol in, trees of `struct reply` out. The one user of
 * hiredis' reader. */
#ifndef TIDEMILL_REDIS_PARSER_H
#define TIDEMILL_REDIS_PARSER_H

#include "base/arena.h"
#include "base/error.h"
#include "redis/reply.h"

struct parser;

struct parser *parser_create(void);
void parser_destroy(struct parser *p);

/* Takes in bytes from the socket; they are copied. */
void parser_feed(struct parser *p, const void *bytes, size_t len);

/* The next whole reply, built in `arena`; *reply is NULL when more bytes are needed. A reply
 * that has begun must go on in the same arena. Failure: ERROR_FORMAT, not the Redis protocol, or
 * nested deeper or longer than any reply of Redis: the parser is of no use any more. */
int parser_next(struct parser *p, struct arena *arena, const struct reply **reply,
                struct error *error);

/* Bytes were fed that belong to no reply that parser_next has handed out. */
bool parser_has_more(const struct parser *p);

#endif
