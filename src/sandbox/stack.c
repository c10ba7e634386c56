/* stack.c: see stack.h. */
#include "sandbox/stack.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

static const size_t STACK_BYTES = 256u << 20;

struct run {
    int (*call)(void *context);
    void *context;
    int result;
};

static void *start(void *context)
{
    struct run *run = context;
    run->result = run->call(run->context);
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

int stack_run(int (*call)(void *context), void *context, int *result, struct error *error)
{
    struct run run = {.call = call, .context = context};
    pthread_attr_t attributes;
    pthread_t thread;
    void *memory = map_stack();
    if (memory == MAP_FAILED)
        return error_set(error, ERROR_SYSTEM, "no room for a stack of %zu MiB below 4 GB: %s",
                         STACK_BYTES >> 20, strerror(errno));
    pthread_attr_init(&attributes);
    pthread_attr_setstack(&attributes, memory, STACK_BYTES);
    int cause = pthread_create(&thread, &attributes, start, &run);
    if (cause == 0) {
        pthread_join(thread, NULL);
        *result = run.result;
    }
    pthread_attr_destroy(&attributes);
    munmap(memory, STACK_BYTES);
    if (cause != 0)
        return error_set(error, ERROR_SYSTEM, "cannot start a thread: %s", strerror(cause));
    return 0;
}
