/* vm.h: one LuaJIT state for trusted code (the kernel) and, inside environments that the kernel
 * makes, for rules. The only home of LuaJIT besides the settings file. It knows nothing of streams.
 * limit.h limits its time. */
#ifndef TIDEMILL_SANDBOX_VM_H
#define TIDEMILL_SANDBOX_VM_H

#include "base/error.h"
#include "sandbox/mark.h"

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

struct vm;

/* With the runtime's modules behind `require` and nothing read from disk. Aborts when there is no
 * memory for a state. */
struct vm *vm_create(void);

/* For trusted code of others, the specs of `tidemill test`: `require` finds the runtime's modules
 * first, and then what Lua finds on the disk, by LUA_PATH and the like. */
struct vm *vm_create_open(void);
void vm_destroy(struct vm *vm);

lua_State *vm_lua(struct vm *vm);

/* Calls the function below its `arguments` values on the stack, as lua_call does, but an error
 * (with the kernel's own traceback: it is a fault of ours) comes back as ERROR_RULE and leaves the
 * stack as it was below the function. */
int vm_call(struct vm *vm, int arguments, int results, struct error *error);

/* Pushes what `require(name)` gives. */
int vm_require(struct vm *vm, const char *name, struct error *error);

/* Inside of vm_call, an allocation beyond `most_bytes` fails with Lua's "not enough memory", and
 * mark->is_full is set. While mark->rule is 0, an eighth more is allowed: so that the kernel can
 * deal with what a rule did. `mark` must outlive the VM. Without this there is no limit. */
void vm_limit_memory(struct vm *vm, size_t most_bytes, struct mark *mark);

/* How long the collector waits between two rounds: until the heap is four times what was left, as
 * long as that stays well below the limit. To be called now and then. (The heap is a few MB and
 * turns over fast: collecting half as often as LuaJIT would saves a tenth of all time.) */
void vm_pace(struct vm *vm);

/* The JIT is on unless it is switched off, as for loading (load_limit.h). */
void vm_set_jit(struct vm *vm, bool is_on);

/* Bytes that Lua holds now. */
size_t vm_memory_bytes(struct vm *vm);

#endif
