/* state.h: the states of a partition's keys, packed, outside of the Lua heap: a bounded cache of
 * what Redis holds.
 *
 * A slot is loaded (Redis was asked, or we wrote it) or is not there. Within a batch, every change
 * keeps the bytes of before the batch, so that the batch can be taken back (design 3.3, cuts);
 * sealing the batch forgets them. What a commit in flight has written counts as loaded: when that
 * commit fails, the owner forgets everything (design 4.4).
 *
 * A rule whose hash was empty when the partition was taken has all its states here until one of
 * them is dropped for want of room: so a new key costs no question (states_know_all). Slots without
 * a state say nothing then, and may go.
 *
 * Memory: slots that the current batch has not touched are dropped, least recently used first as a
 * clock hand sees it, whenever a batch begins above `most_bytes`. */
#ifndef TIDEMILL_RULES_STATE_H
#define TIDEMILL_RULES_STATE_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct states;

/* Numbers of rules from here on are of the windows of rule (number - STATE_WINDOWS), which are kept
 * as states are, in a hash of their own. */
enum { STATE_WINDOWS = 1 << 15 };

/* What the kernel sees of one key's state (cdef.lua: struct state_slot). */
struct state_slot {
    const char
        *bytes; /* [expiry ms or 0, version, state] in msgpack; not to be looked at when len is 0 */
    uint32_t len;     /* 0 when there is no state */
    uint32_t head;    /* of these, what stands before the state itself */
    double expiry_ms; /* 0: never */
    uint32_t version; /* that these bytes say; 0 when there is no state */
};

struct states *states_create(size_t most_bytes);
void states_destroy(struct states *s);

/* Forgets everything: the next use of a key asks Redis again. */
void states_drop(struct states *s);

/* The slot of a key of rule number `rule` (of the registry), or NULL when it must be loaded first.
 * Valid until states_begin or states_drop. */
struct state_slot *states_find(struct states *s, uint32_t rule, const char *key, size_t key_len);

/* Redis holds no state of this rule but what is, or will be put, here: from now on a key without a
 * slot has no state, and states_find makes its slot at once. True until the first slot of the rule
 * that has a state is dropped. */
void states_know_all(struct states *s, uint32_t rule);

/* What Redis answered for a key (len 0: nothing). Bytes that are no packed state count as nothing
 * and return false. Does not touch a slot that is there already. */
bool states_load(struct states *s, uint32_t rule, const char *key, size_t key_len,
                 const char *bytes, size_t len);

/* The new bytes of a slot (len 0: no state any more, and no version). Does nothing when version and
 * the part behind `head` are the same, unless what the slot holds had expired at `now_ms`. */
void states_put(struct states *s, struct state_slot *slot, const char *bytes, uint32_t len,
                uint32_t head, double expiry_ms, uint32_t version, double now_ms);

/* A batch: begin (evicts), then either discard (all puts are undone; the batch goes on, or begins
 * again) or seal. */
void states_begin(struct states *s);
void states_discard(struct states *s);
void states_seal(struct states *s);

/* The slots that this batch has changed, for writing them: each call gives the next one, in the
 * order of first change; false at the end. `*cursor` starts at 0. */
struct state_change {
    uint32_t rule;
    const char *key;
    size_t key_len;
    const char *bytes; /* len 0: delete the field */
    size_t len;
};
bool states_next_change(const struct states *s, size_t *cursor, struct state_change *change);

/* Reads the head of packed bytes: false when they are no [expiry, version, state]. */
bool state_head(const char *bytes, size_t len, double *expiry_ms, uint32_t *version,
                uint32_t *head);

size_t states_bytes(const struct states *s);
size_t states_count(const struct states *s);

#endif
