/* registry.h: the numbers of a process that outlive its rulebooks, so that a reload drops nothing:
 * the position of a stream, and the states that are cached, go by them. */
#ifndef TIDEMILL_RULES_REGISTRY_H
#define TIDEMILL_RULES_REGISTRY_H

#include "base/names.h"

struct registry {
    struct names *streams; /* the kernel's numbers of streams: every kernel is told all, in order */
    struct names *rules;   /* the numbers that states of rules are kept under */
    struct names *globs;
};

struct registry *registry_create(void);
void registry_destroy(struct registry *registry);

#endif
