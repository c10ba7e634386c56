/* load_limit.h: runs the main chunks of rule files for so long and no longer.
 *
 * While files are loaded the JIT is off (vm_set_jit), so a count hook sees every loop. Once time is
 * up it raises an error at every instruction, so that no pcall of the file swallows it. */
#ifndef TIDEMILL_SANDBOX_LOAD_LIMIT_H
#define TIDEMILL_SANDBOX_LOAD_LIMIT_H

#include <lua.h>
#include <stdbool.h>
#include <stdint.h>

/* Lives as long as what is loaded with it. Time is CPU time of the thread: a loader of low priority
 * beside a busy engine is not slow by its own fault. */
struct load_limit {
    uint64_t ms; /* for all calls together; after one that was stopped the next has it all again */
    uint64_t used;                     /* so far; begins at 0 */
    const volatile bool *is_cancelled; /* true: every call ends at once; may be NULL */
};

/* Pushes limited_call(f) -> true, result; or false, error: a pcall of f without arguments that ends
 * with the error "FILE:LINE: loading took longer than N ms (limits.load_ms)". */
void load_limit_push(lua_State *L, struct load_limit *limit);

#endif
