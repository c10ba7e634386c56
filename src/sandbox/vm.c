/* vm.c: see vm.h. */
#include "sandbox/vm.h"

#include "base/log.h"
#include "sandbox/limit.h"
#include "sandbox/modules.h"

#include <assert.h>
#include <lauxlib.h>
#include <luajit.h>
#include <lualib.h>
#include <stdlib.h>
#include <string.h>

struct vm {
    lua_State *lua;
    lua_Alloc allocate; /* LuaJIT's own allocator, and its context */
    void *arena;
    size_t used_bytes, most_bytes, hard_bytes; /* see allocate */
    struct mark *mark;
    bool is_calling; /* outside of vm_call nobody could catch an error: nothing is refused */
    int pause;       /* of the collector, percent */
};

enum { PAUSE_MOST = 400, PAUSE_LEAST = 130, FULL_PERCENT = 60, HARD_PART = 2 };

/* Counts what LuaJIT's own allocator gives.
 *
 * A rule that is over the limit is stopped as one that is over its time (limit.h), and until it is,
 * it gets what it asks for. Why not refuse: LuaJIT of Debian 12 may crash when memory is refused to
 * compiled code (lj_err_mem looks for a function below a base that a trace has not written). Only
 * what goes far beyond the limit is refused, a string of gigabytes for instance, and what is not
 * limited that way: a VM that is being loaded, which does not compile. */
static void *allocate(void *context, void *old, size_t old_size, size_t size)
{
    struct vm *vm = context;
    size_t used_bytes = vm->used_bytes - old_size + size;
    if (size > old_size && used_bytes > vm->most_bytes && vm->is_calling) {
        bool is_limited = limit_is_attached(vm);
        if (used_bytes > vm->hard_bytes || !is_limited) {
            vm->mark->is_full = 1;
            if (is_limited)
                limit_cancel(); /* refusing is an error already, and may leave the rule at once */
            return NULL;
        }
        if (vm->mark->rule != 0 && vm->mark->is_full == 0) {
            vm->mark->is_full = 1;
            limit_stop();
        }
    }
    void *memory = vm->allocate(vm->arena, old, old_size, size);
    if (memory != NULL || size == 0)
        vm->used_bytes = used_bytes;
    else if (vm->mark != NULL)
        vm->mark->is_full = 1;
    return memory;
}

/* An error that nothing catches is a fault of ours. Not exit, which would look like a decision. */
static int on_panic(lua_State *L)
{
    const char *message = lua_tostring(L, -1);
    log_line(LOG_ERROR, "panic", "an error of Lua that nothing catches", "cause",
             message != NULL ? message : "?", NULL);
    abort();
}

/* package.loaders gets this one searcher only: what is not in the binary does not exist. */
static int search_module(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    for (size_t i = 0; i < module_count; i++) {
        if (strcmp(modules[i].name, name) != 0)
            continue;
        if (luaL_loadbufferx(L, modules[i].text, modules[i].len, modules[i].chunk, "t") != 0)
            return lua_error(L);
        return 1;
    }
    lua_pushfstring(L, "\n\tno module '%s' in this binary", name);
    return 1;
}

static void install_searcher(lua_State *L)
{
    lua_getglobal(L, "package");
    lua_newtable(L);
    lua_getfield(L, -2, "loaders");
    lua_rawgeti(L, -1, 1); /* package.preload: bit, ffi, jit and the like */
    lua_remove(L, -2);
    lua_rawseti(L, -2, 1);
    lua_pushcfunction(L, search_module);
    lua_rawseti(L, -2, 2);
    lua_setfield(L, -2, "loaders");
    lua_pop(L, 1);
}

/* Behind package.preload, and in front of what reads files. */
static void insert_searcher(lua_State *L)
{
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "loaders");
    for (int i = (int)lua_objlen(L, -1); i >= 2; i--) {
        lua_rawgeti(L, -1, i);
        lua_rawseti(L, -2, i + 1);
    }
    lua_pushcfunction(L, search_module);
    lua_rawseti(L, -2, 2);
    lua_pop(L, 2);
}

static struct vm *create(void (*install)(lua_State *L))
{
    struct vm *vm = calloc(1, sizeof *vm);
    if (vm == NULL)
        abort();
    vm->lua = luaL_newstate();
    if (vm->lua == NULL)
        abort();
    lua_atpanic(vm->lua, on_panic);
    vm->allocate = lua_getallocf(vm->lua, &vm->arena);
    vm->used_bytes = vm_memory_bytes(vm);
    vm->most_bytes = SIZE_MAX;
    lua_setallocf(vm->lua, allocate, vm);
    luaL_openlibs(vm->lua);
    install(vm->lua);
    vm_pace(vm);
    return vm;
}

struct vm *vm_create(void)
{
    return create(install_searcher);
}

struct vm *vm_create_open(void)
{
    return create(insert_searcher);
}

void vm_destroy(struct vm *vm)
{
    if (vm == NULL)
        return;
    lua_setallocf(vm->lua, vm->allocate, vm->arena); /* then it gives all back at once */
    lua_close(vm->lua);
    free(vm);
}

void vm_limit_memory(struct vm *vm, size_t most_bytes, struct mark *mark)
{
    vm->mark = mark;
    vm->most_bytes = most_bytes;
    vm->hard_bytes = most_bytes * HARD_PART;
}

void vm_pace(struct vm *vm)
{
    size_t most = vm->most_bytes / 100 * FULL_PERCENT, used = vm->used_bytes / 100 + 1;
    int pause = most / used > PAUSE_MOST    ? PAUSE_MOST
                : most / used < PAUSE_LEAST ? PAUSE_LEAST
                                            : (int)(most / used);
    if (pause != vm->pause)
        lua_gc(vm->lua, LUA_GCSETPAUSE, pause);
    vm->pause = pause;
}

lua_State *vm_lua(struct vm *vm)
{
    return vm->lua;
}

static int with_traceback(lua_State *L)
{
    const char *message = lua_tostring(L, 1);
    luaL_traceback(L, L, message != NULL ? message : "(error object is no string)", 1);
    return 1;
}

int vm_call(struct vm *vm, int arguments, int results, struct error *error)
{
    lua_State *L = vm->lua;
    int handler = lua_gettop(L) - arguments;
    assert(handler >= 1);
    lua_pushcfunction(L, with_traceback);
    lua_insert(L, handler);
    bool was_calling = vm->is_calling;
    vm->is_calling = true;
    int status = lua_pcall(L, arguments, results, handler);
    vm->is_calling = was_calling;
    lua_remove(L, handler);
    if (status == 0)
        return 0;
    const char *message = lua_tostring(L, -1);
    error_set(error, ERROR_RULE, "%s", message != NULL ? message : "out of memory");
    lua_pop(L, 1);
    return ERROR_RULE;
}

int vm_require(struct vm *vm, const char *name, struct error *error)
{
    lua_getglobal(vm->lua, "require");
    lua_pushstring(vm->lua, name);
    return vm_call(vm, 1, 1, error);
}

void vm_set_jit(struct vm *vm, bool is_on)
{
    luaJIT_setmode(vm->lua, 0, LUAJIT_MODE_ENGINE | (is_on ? LUAJIT_MODE_ON : LUAJIT_MODE_OFF));
}

size_t vm_memory_bytes(struct vm *vm)
{
    return (size_t)lua_gc(vm->lua, LUA_GCCOUNT, 0) * 1024 +
           (size_t)lua_gc(vm->lua, LUA_GCCOUNTB, 0);
}
