/* commands.h: what `ctx.redis.<command>` may send. Default deny: Redis itself says what a command
 * does (its reply to COMMAND), and a short table here takes away what would break the engine or its
 * neighbours (design 3.3). */
#ifndef TIDEMILL_REDIS_COMMANDS_H
#define TIDEMILL_REDIS_COMMANDS_H

#include "base/error.h"
#include "redis/keyspec.h"
#include "redis/reply.h"

struct commands;

/* From the reply to COMMAND (Redis 6.2 or newer). Failure: ERROR_FORMAT, it is no such reply. The
 * reply is not kept. */
int commands_load(const struct reply *reply, struct commands **out, struct error *error);
void commands_destroy(struct commands *c);

/* How many commands and subcommands are known. */
size_t commands_count(const struct commands *c);

/* A check's answer. Zero it once, give it to any number of checks, then fini. */
struct commands_verdict {
    const char *name;   /* as Redis calls it: "hget", "xinfo|stream"; lives as long as the table */
    bool is_write;      /* an effect; else a lookup */
    bool reads_any_key; /* a lookup that may depend on keys that `keys` does not list: none listed,
                           or by a pattern */
    struct key_places keys; /* places in argv; whether they may change: never, in a lookup */
};

/* May a rule send this? argv[0] is the command in any case; `lens` may be NULL for C strings.
 * Failure: ERROR_RULE with a sentence that names the command and says what to do. A write to a
 * stream that rules read is not refused here: the caller knows the streams, and the verdict the
 * keys. */
int commands_check(const struct commands *c, int argc, const char *const *argv, const size_t *lens,
                   struct commands_verdict *verdict, struct error *error);

void commands_verdict_fini(struct commands_verdict *verdict);

#endif
