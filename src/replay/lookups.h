/* lookups.h: what rules ask Redis during a replay: today's Redis, whatever the time that is
 * replayed. Only questions leave; writes are effects, and those stay here. The connection is made
 * when a rule first uses ctx.redis: which command asks and which one writes only Redis knows. */
#ifndef TIDEMILL_REPLAY_LOOKUPS_H
#define TIDEMILL_REPLAY_LOOKUPS_H

#include "redis/client.h"
#include "replay/words.h"
#include "rules/bridge.h"

/* Of one command. */
struct lookup_count {
    char name[32]; /* in capitals */
    uint64_t count;
};

enum { LOOKUP_COMMANDS_MOST = 32 };

struct lookups {
    const char *url;
    struct client *client;
    struct commands *commands;
    struct arena answers; /* of the batch */
    struct bridge *bridge;
    struct words words;
    struct buf asked; /* the commands that are on their way */
    size_t states;    /* replies in front of them that nobody should have asked for */
    struct lookup_count counts[LOOKUP_COMMANDS_MOST];
    size_t count_used;
    uint64_t total;
    struct error fault; /* code 0: none yet */
};

void lookups_init(struct lookups *l, const char *url);
void lookups_fini(struct lookups *l);

/* Its rules ask here. */
void lookups_attach(struct lookups *l, struct bridge *bridge);

/* After BRIDGE_WAIT: asks all that the batch waits for, in one round trip, and hands the answers
 * over. Errors: those of the client. */
int lookups_answer(struct lookups *l, struct error *error);

/* The batch is over: its answers go. */
void lookups_forget(struct lookups *l);

/* A rule needed Redis and it could not be had: the code of `error`, else 0. */
int lookups_fault(const struct lookups *l, struct error *error);

#endif
