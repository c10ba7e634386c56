/* modules.h: the Lua of src/runtime, inside the binary. The table is written by scripts/embed.lua
 * at build time. */
#ifndef TIDEMILL_SANDBOX_MODULES_H
#define TIDEMILL_SANDBOX_MODULES_H

#include <stddef.h>

struct module {
    const char *name;  /* "tidemill.kernel" */
    const char *chunk; /* "@src/runtime/tidemill/kernel.lua" */
    const char *text;
    size_t len;
};

extern const struct module modules[];
extern const size_t module_count;

#endif
