/* registry.h: the numbers of a process that outlive its rulebooks, so that a reload drops nothing:
 * the position of a stream, and the states that are cached, go by them. */
#ifndef TIDEMILL_RULES_REGISTRY_H
#define TIDEMILL_RULES_REGISTRY_H

#include "base/buf.h"
#include "base/names.h"

struct registry {
    struct names *streams; /* the kernel's numbers of streams: every kernel is told all, in order */
    struct names *rules;   /* the numbers that states of rules are kept under */
    struct names *globs;
};

struct registry *registry_create(void);
void registry_destroy(struct registry *registry);

/* Puts the key of the hash that states of this number stand in into `out`, whose earlier content
 * goes: of a rule's states, or, from STATE_WINDOWS on, of its windows. `prefix`: of the partition's
 * keys. */
void registry_state_key(const struct registry *registry, uint32_t number, const char *prefix,
                        struct buf *out);

#endif
