/* stack.c: see stack.h. */
#include "sandbox/stack.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static const size_t STACK_BYTES = 256u << 20;

struct stack_thread {
    int (*call)(void *context);
    void *context;
    int result;
    pthread_t thread;
    void *memory;
};

static void *start(void *context)
{
    struct stack_thread *t = context;
    t->result = t->call(t->context);
    return NULL;
}

/* MAP_32BIT asks for the first 2 GB; elsewhere than on x86-64 there is no such flag, and no need of
 * it. */
static void *map_stack(void)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK;
#ifdef MAP_32BIT
    flags |= MAP_32BIT;
#endif
    void *memory = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (memory != MAP_FAILED)
        mprotect(memory, 4096, PROT_NONE); /* the guard below it */
    return memory;
}

int stack_start(int (*call)(void *context), void *context, struct stack_thread **out,
                struct error *error)
{
    struct stack_thread *t = calloc(1, sizeof *t);
    pthread_attr_t attributes;
    if (t == NULL)
        abort();
    *t = (struct stack_thread){.call = call, .context = context, .memory = map_stack()};
    if (t->memory == MAP_FAILED) {
        free(t);
        return error_set(error, ERROR_SYSTEM, "no room for a stack of %zu MiB below 4 GB: %s",
                         STACK_BYTES >> 20, strerror(errno));
    }
    pthread_attr_init(&attributes);
    pthread_attr_setstack(&attributes, t->memory, STACK_BYTES);
    int cause = pthread_create(&t->thread, &attributes, start, t);
    pthread_attr_destroy(&attributes);
    if (cause != 0) {
        munmap(t->memory, STACK_BYTES);
        free(t);
        return error_set(error, ERROR_SYSTEM, "cannot start a thread: %s", strerror(cause));
    }
    *out = t;
    return 0;
}

int stack_join(struct stack_thread *t)
{
    pthread_join(t->thread, NULL);
    int result = t->result;
    munmap(t->memory, STACK_BYTES);
    free(t);
    return result;
}

int stack_run(int (*call)(void *context), void *context, int *result, struct error *error)
{
    struct stack_thread *t;
    int failed = stack_start(call, context, &t, error);
    if (failed == 0)
        *result = stack_join(t);
    return failed;
}
