/* load_limit.c: see load_limit.h. */
#include "sandbox/load_limit.h"

#include <lauxlib.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { LOOK_EVERY = 1000 }; /* instructions: some 10 µs of interpreted code */

/* One call under way, in the registry by the address of `key`: hooks get no argument. */
struct call {
    const struct load_limit *limit;
    uint64_t deadline_ms; /* on thread_ms */
    bool is_over;
    char where[128];
};

static char key;

static uint64_t thread_ms(void)
{
    struct timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * 1000 + (uint64_t)used.tv_nsec / 1000000;
}

static struct call *call_of(lua_State *L)
{
    lua_pushlightuserdata(L, &key);
    lua_rawget(L, LUA_REGISTRYINDEX);
    struct call *call = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return call;
}

static void set_call(lua_State *L, struct call *call)
{
    lua_pushlightuserdata(L, &key);
    if (call != NULL)
        lua_pushlightuserdata(L, call);
    else
        lua_pushnil(L);
    lua_rawset(L, LUA_REGISTRYINDEX);
}

/* The innermost line of a file that is no module of ours. */
static void find_line(lua_State *L, struct call *call)
{
    lua_Debug at;
    for (int level = 0; lua_getstack(L, level, &at) != 0; level++) {
        lua_getinfo(L, "Sl", &at);
        if (at.source[0] != '@' || strncmp(at.source, "@src/runtime/", 13) == 0)
            continue;
        snprintf(call->where, sizeof call->where, "%s:%d: ", at.short_src, at.currentline);
        return;
    }
}

static void look(lua_State *L, lua_Debug *activation)
{
    struct call *call = call_of(L);
    (void)activation;
    bool is_cancelled = call->limit->is_cancelled != NULL && *call->limit->is_cancelled;
    if (!call->is_over && !is_cancelled && thread_ms() < call->deadline_ms)
        return;
    if (!call->is_over)
        find_line(L, call);
    call->is_over = true;
    lua_sethook(L, look, LUA_MASKCOUNT, 1);
    luaL_error(L, "loading took too long");
}

static int limited_call(lua_State *L)
{
    struct load_limit *limit = lua_touserdata(L, lua_upvalueindex(1));
    uint64_t began_ms = thread_ms();
    struct call call = {.limit = limit, .deadline_ms = began_ms + limit->ms - limit->used};
    struct call *outer = call_of(L); /* a library that is required while its rule is loaded */
    lua_settop(L, 1);
    lua_pushboolean(L, 1);
    lua_insert(L, 1);
    if (outer == NULL) {
        set_call(L, &call);
        lua_sethook(L, look, LUA_MASKCOUNT, LOOK_EVERY);
    }
    int status = lua_pcall(L, 0, 1, 0);
    if (outer == NULL) {
        lua_sethook(L, NULL, 0, 0);
        set_call(L, NULL);
        limit->used += thread_ms() - began_ms;
        if (limit->used >= limit->ms)
            limit->used = 0;
    }
    lua_pushboolean(L, status == 0 && !call.is_over);
    lua_replace(L, 1);
    if (call.is_over) {
        lua_pushfstring(L, "%sloading took longer than %d ms (limits.load_ms)", call.where,
                        (int)limit->ms);
        lua_replace(L, 2);
    }
    return 2;
}

void load_limit_push(lua_State *L, struct load_limit *limit)
{
    lua_pushlightuserdata(L, limit);
    lua_pushcclosure(L, limited_call, 1);
}
