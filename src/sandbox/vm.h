/* vm.h: one LuaJIT state for trusted code (the kernel) and, inside environments that the kernel
 * makes, for rules. The only home of LuaJIT besides the settings file. It knows nothing of streams.
 * Limits on time and memory belong here. */
#ifndef TIDEMILL_SANDBOX_VM_H
#define TIDEMILL_SANDBOX_VM_H

#include "base/error.h"

#include <lua.h>
#include <stddef.h>

struct vm;

/* With the runtime's modules behind `require` and nothing read from disk. Aborts when there is no
 * memory for a state. */
struct vm *vm_create(void);
void vm_destroy(struct vm *vm);

lua_State *vm_lua(struct vm *vm);

/* Calls the function below its `arguments` values on the stack, as lua_call does, but an error
 * (with the kernel's own traceback: it is a fault of ours) comes back as ERROR_RULE and leaves the
 * stack as it was below the function. */
int vm_call(struct vm *vm, int arguments, int results, struct error *error);

/* Pushes what `require(name)` gives. */
int vm_require(struct vm *vm, const char *name, struct error *error);

/* Bytes that Lua holds now. */
size_t vm_memory_bytes(struct vm *vm);

#endif
