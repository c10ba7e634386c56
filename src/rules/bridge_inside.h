/* bridge_inside.h: what the files of the bridge share, and nobody else knows:
 *
 *     bridge.c            a batch from its begin to its end; states and effects
 *     bridge_letters.c    dead letters, and effects that Redis refused
 *     bridge_shadow.c     records of shadow rules
 *     bridge_decisions.c  records of decisions
 *     decision_pack.c     what most of these are made of
 *     bridge_time.c       timers and windows, what fired of them, and the clocks of rules
 *
 * The functions that the kernel calls (kernel_calls.h) stand where their subject is. */
#ifndef TIDEMILL_RULES_BRIDGE_INSIDE_H
#define TIDEMILL_RULES_BRIDGE_INSIDE_H

#include "rules/bridge.h"

#include <assert.h>
#include <lua.h>
#include <stdlib.h>

struct want {
    uint32_t rule;  /* as states number it (registry.h) */
    size_t at, len; /* of the key, in want_keys */
};

/* An effect that Redis refused when it was queued (design 4.5). */
struct refusal {
    double ms;
    uint64_t seq;
    uint32_t stream;
    uint16_t rule, ordinal;
    char *message, *command;
    size_t command_len;
};

/* A list in which the next that is looked for mostly stands behind the last that was found. */
struct seen_list {
    struct seen *list;
    uint32_t count, cap, at;
};

struct bridge {
    struct bridge_view view; /* first: the kernel holds a pointer to it */
    struct rulebook *book;
    struct vm *vm;
    struct shapes *shapes;
    int32_t last_event_shape, last_state_shape; /* see shapes_number */
    struct states *states;
    struct timers *timers;
    const struct commands *commands;
    bridge_commands_call *find_commands;
    void *find_context;
    struct bridge_options options;
    char *dlq_key, *decisions_key, *prefix; /* as long as the names of streams make them */
    char partition[128];
    struct note *note; /* of the worker */
    lua_Integer id;    /* of the kernel's record of this partition */
    double first_clock_ms, redis_ms;
    bool is_new;     /* the batch has been put, and not run yet */
    bool is_alone;   /* the kernel knows what is special about the only entry (engine.alone) */
    struct buf json; /* msgpack of an event that came as JSON */
    struct want *wants;
    uint32_t want_cap;
    struct buf want_keys;
    struct buf shadow_records; /* of shadow rules: commands */
    uint32_t shadow_count;
    struct buf would, did, shadow_key; /* of the shadow rule's record that is being made */
    struct buf event;                  /* of the record of decisions that is being made */
    struct buf effect_keys;            /* of the batch's effects, of rules whose keys are noted */
    struct letter_of {
        uint32_t entry, rule;
    } * letters_of; /* what the letters are about */
    uint32_t letter_cap;
    struct {
        uint32_t rule, first, count;
    } * groups; /* of wants: one HMGET each */
    size_t group_count, group_cap;
    const struct reply **answers;
    uint32_t answer_count, answer_cap;
    struct refusal *refusals;
    size_t refusal_count;
    struct buf decisions; /* records, as commands */
    uint32_t decision_count;
    uint32_t fired_cap;
    uint32_t put_fired;   /* of view.fired: those that were put with the batch (a retry): 0 or 1 */
    struct blame *blames; /* of what may fire in this batch */
    size_t blame_count, blame_cap;
    struct seen_list seen;  /* by this batch */
    struct seen_list known; /* as ctl has it, or will once what is sent has landed */
    bool has_queues;        /* a rule attends a queue of timers */
};

static inline void *must(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

/* Entry number i of the batch, which may be one that fired. */
static inline struct batch_entry *bridge_entry(const struct bridge *b, uint32_t i)
{
    return i >= FIRED_FIRST ? &b->view.fired[i - FIRED_FIRST].entry : &b->view.entries[i];
}

/* The parts of bridge_create, bridge_attach … that bridge_time.c does. */
void bridge_time_open(struct bridge *b);
void bridge_time_attend(struct bridge *b); /* the queues that the rules of the book attend */
void bridge_time_close(struct bridge *b);
void bridge_time_put(struct bridge *b);     /* a batch begins … */
void bridge_time_discard(struct bridge *b); /* … and once more */
void bridge_time_seal(struct bridge *b, struct sealed_batch *into);
void bridge_time_drop(struct bridge *b);

#endif
