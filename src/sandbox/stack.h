/* stack.h: a C stack for the VM: large, and below 4 GB.
 *
 * Large (256 MiB, of which only what is used costs memory), because recursion through C, such as
 * string.gsub callbacks and nested coroutines, is bounded by LuaJIT at a depth that an ordinary
 * stack does not hold. Below 4 GB, because the LuaJIT of Debian 12 (2.1.0-beta3 of 2022-03-20) cuts
 * the address of a temporary on the C stack to 32 bits when it compiles `next` (LuaJIT issue 829):
 * with the stack where Linux puts it, `pairs` in compiled code crashes. */
#ifndef TIDEMILL_SANDBOX_STACK_H
#define TIDEMILL_SANDBOX_STACK_H

#include "base/error.h"

/* Runs call(context) in a thread on such a stack and waits for it; *result is what it returned.
 * Errors: ERROR_SYSTEM, it was not run. */
int stack_run(int (*call)(void *context), void *context, int *result, struct error *error);

/* The same without waiting: stack_join waits, and gives what `call` returned. */
struct stack_thread;
int stack_start(int (*call)(void *context), void *context, struct stack_thread **out,
                struct error *error);
int stack_join(struct stack_thread *thread);

#endif
