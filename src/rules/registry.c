/* registry.c: see registry.h. */
#include "rules/registry.h"

#include <stdlib.h>

struct registry *registry_create(void)
{
    struct registry *registry = calloc(1, sizeof *registry);
    if (registry == NULL)
        abort();
    registry->streams = names_create();
    registry->rules = names_create();
    registry->globs = names_create();
    return registry;
}

void registry_destroy(struct registry *registry)
{
    if (registry == NULL)
        return;
    names_destroy(registry->streams);
    names_destroy(registry->rules);
    names_destroy(registry->globs);
    free(registry);
}
