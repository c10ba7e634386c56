/* vm.c: see vm.h. */
#include "sandbox/vm.h"

#include "sandbox/modules.h"

#include <assert.h>
#include <lauxlib.h>
#include <lualib.h>
#include <stdlib.h>
#include <string.h>

struct vm {
    lua_State *lua;
};

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

struct vm *vm_create(void)
{
    struct vm *vm = calloc(1, sizeof *vm);
    if (vm == NULL)
        abort();
    vm->lua = luaL_newstate();
    if (vm->lua == NULL)
        abort();
    luaL_openlibs(vm->lua);
    install_searcher(vm->lua);
    return vm;
}

void vm_destroy(struct vm *vm)
{
    if (vm == NULL)
        return;
    lua_close(vm->lua);
    free(vm);
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
    int status = lua_pcall(L, arguments, results, handler);
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

size_t vm_memory_bytes(struct vm *vm)
{
    return (size_t)lua_gc(vm->lua, LUA_GCCOUNT, 0) * 1024 +
           (size_t)lua_gc(vm->lua, LUA_GCCOUNTB, 0);
}
