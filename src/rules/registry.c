/* registry.c: see registry.h. */
#include "rules/registry.h"

#include "rules/state.h"

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

void registry_state_key(const struct registry *registry, uint32_t number, const char *prefix,
                        struct buf *out)
{
    bool is_window = number >= STATE_WINDOWS;
    uint32_t rule = is_window ? number - STATE_WINDOWS : number;
    out->len = 0;
    buf_append_text(out, prefix);
    buf_append_text(out, is_window ? "windows:" : "state:");
    buf_append_text(out, names_text(registry->rules, rule, NULL));
    buf_text(out);
}
