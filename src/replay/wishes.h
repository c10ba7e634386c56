/* wishes.h: what the rules wanted in a batch: effects and dead letters in one order, that of
 * (entry, rule, call), each with whose it is. */
#ifndef TIDEMILL_REPLAY_WISHES_H
#define TIDEMILL_REPLAY_WISHES_H

#include "replay/words.h"
#include "rules/bridge.h"

struct wish {
    const struct batch_entry *entry; /* of a stream, or NULL: */
    const struct fired *fired;       /* … a timer or window */
    const struct batch_entry
        *before;   /* of what fired: the entry that it fired before; NULL: none */
    uint32_t rule; /* its number; 0: no rule had a part in it (decode, future) */
    bool is_letter;
    const struct words *words; /* of the command: an effect, or the XADD of the letter */
    struct span bytes;         /* the same as bytes */
    struct span key;           /* the rule's; empty: none, or not known */
};

typedef void wish_call(void *context, const struct wish *wish);

/* Where a letter's fields begin among its words (the bridge's dlq_maxlen is 0). */
enum { WISH_LETTER_FIELDS = 3 };

struct wishes {
    struct words words;
    struct item {
        const struct effect *effect; /* NULL: a letter */
        struct span bytes;
        uint64_t rank; /* of the entry */
        uint32_t entry, rule, number;
    } * items;
    size_t cap;
};

void wishes_fini(struct wishes *w);

/* After BRIDGE_DONE, before bridge_seal: `entries` are the `count` that were put. */
void wishes_each(struct wishes *w, struct bridge *bridge, const struct batch_entry *entries,
                 uint32_t count, wish_call *call, void *context);

/* How many effects and letters the batch has. */
void wishes_count(struct bridge *bridge, uint32_t *effects, uint32_t *letters);

/* "START-STOP" of a window that fired, in ms. */
void wish_window(const struct fired *fired, char *text, size_t size);

#endif
