/* lua_functions.c: see lua_functions.h. Not hot: once a lookup. */
#include "rules/lua_functions.h"

#include "codec/json.h"
#include "redis/command.h"

#include <lauxlib.h>
#include <string.h>

enum { ARGUMENTS_MOST = 4096 };

static struct bridge *bridge_at(lua_State *L, int index)
{
    return (struct bridge *)(uintptr_t)luaL_checknumber(L, index);
}

/* to_json(bytes) -> JSON text of msgpack bytes */
static int to_json(lua_State *L)
{
    size_t len;
    const char *bytes = luaL_checklstring(L, 1, &len);
    struct buf text = {0};
    struct error error;
    if (json_from_msgpack(bytes, len, 64, &text, &error) != 0) {
        buf_fini(&text);
        return luaL_error(L, "%s", error.text);
    }
    lua_pushlstring(L, text.data, text.len);
    buf_fini(&text);
    return 1;
}

/* The strings of the list at `index`; 0 when there are too many. */
static int read_argv(lua_State *L, int index, const char **argv, size_t *lens)
{
    int argc = (int)lua_objlen(L, index);
    if (argc < 1 || argc > ARGUMENTS_MOST)
        return 0;
    for (int i = 0; i < argc; i++) {
        lua_rawgeti(L, index, i + 1);
        argv[i] = lua_tolstring(L, -1, &lens[i]); /* stays alive in the list */
        lua_pop(L, 1);
    }
    return argc;
}

/* A write to a stream that rules read must be an XADD: anything else would pull the ground from
 * under the position. */
static const char *written_input(struct bridge *b, int argc, const char *const *argv,
                                 const size_t *lens, const struct commands_verdict *verdict)
{
    (void)argc;
    if (!verdict->is_write || (lens[0] == 4 && strncasecmp(argv[0], "XADD", 4) == 0))
        return NULL;
    for (int i = 0; i < verdict->keys.count; i++) {
        const struct key_place *place = &verdict->keys.list[i];
        if (place->is_written &&
            rulebook_reads(bridge_rulebook(b), argv[place->at], lens[place->at]))
            return argv[place->at];
    }
    return NULL;
}

/* check_command(bridge, argv) -> "read"|"write", keys; or nil, reason. keys: nil for a lookup that
 * may depend on any key. */
static int check_command(lua_State *L)
{
    struct bridge *b = bridge_at(L, 1);
    const char *argv[ARGUMENTS_MOST];
    size_t lens[ARGUMENTS_MOST];
    int argc = read_argv(L, 2, argv, lens);
    struct error error;
    lua_pushnil(L);
    if (argc == 0) {
        lua_pushfstring(L, "more than %d arguments", ARGUMENTS_MOST);
        return 2;
    }
    if (bridge_commands(b) == NULL) {
        lua_pushliteral(L, "the commands of this Redis are not known (COMMAND failed)");
        return 2;
    }
    struct commands_verdict verdict = {0};
    if (commands_check(bridge_commands(b), argc, argv, lens, &verdict, &error) != 0) {
        lua_pushstring(L, error.text);
        commands_verdict_fini(&verdict);
        return 2;
    }
    const char *input = written_input(b, argc, argv, lens, &verdict);
    if (input != NULL) {
        lua_pushfstring(L, "'%s' is a stream that rules read; only XADD may write to it", input);
        commands_verdict_fini(&verdict);
        return 2;
    }
    lua_pop(L, 1);
    lua_pushstring(L, verdict.is_write ? "write" : "read");
    lua_newtable(L);
    if (!verdict.reads_any_key) {
        for (int i = 0; i < verdict.keys.count; i++) {
            lua_pushlstring(L, argv[verdict.keys.list[i].at], lens[verdict.keys.list[i].at]);
            lua_rawseti(L, -2, i + 1);
        }
    }
    commands_verdict_fini(&verdict);
    return 2;
}

/* request(bridge, argv): one more lookup for the host to send. */
static int request(lua_State *L)
{
    const char *argv[ARGUMENTS_MOST];
    size_t lens[ARGUMENTS_MOST];
    int argc = read_argv(L, 2, argv, lens);
    command_append_argv(bridge_requests(bridge_at(L, 1)), argc, argv, lens);
    return 0;
}

static void push_integer(lua_State *L, long long number)
{
    if (number >= -(1ll << 53) && number <= 1ll << 53) {
        lua_pushnumber(L, (lua_Number)number);
        return;
    }
    char text[32];
    snprintf(text, sizeof text, "%lld", number);
    lua_getfield(L, LUA_REGISTRYINDEX, "tidemill.value");
    lua_getfield(L, -1, "int64");
    lua_remove(L, -2);
    lua_pushstring(L, text);
    lua_call(L, 1, 1);
}

static void push_reply(lua_State *L, const struct reply *reply, int is_inside)
{
    luaL_checkstack(L, 8, "reply nested too deep");
    switch (reply->type) {
    case REPLY_STRING:
    case REPLY_STATUS:
    case REPLY_ERROR:
        lua_pushlstring(L, reply->text, reply->len);
        return;
    case REPLY_INTEGER:
        push_integer(L, reply->integer);
        return;
    case REPLY_NIL:
        if (!is_inside) {
            lua_pushnil(L);
            return;
        }
        lua_getfield(L, LUA_REGISTRYINDEX, "tidemill.value");
        lua_getfield(L, -1, "null");
        lua_remove(L, -2);
        return;
    case REPLY_ARRAY:
        lua_createtable(L, (int)reply->count, 0);
        for (uint32_t i = 0; i < reply->count; i++) {
            push_reply(L, reply->elements[i], 1);
            lua_rawseti(L, -2, (int)i + 1);
        }
        return;
    }
}

/* answer(bridge, n) -> value; or nil, refusal when Redis answered with an error */
static int answer(lua_State *L)
{
    const struct reply *reply = bridge_answer(bridge_at(L, 1), (uint32_t)luaL_checkinteger(L, 2));
    if (reply->type == REPLY_ERROR) {
        lua_pushnil(L);
        lua_pushlstring(L, reply->text, reply->len);
        return 2;
    }
    push_reply(L, reply, 0);
    return 1;
}

void lua_functions_push(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"to_json", to_json}, {"check_command", check_command},
        {"request", request}, {"answer", answer},
        {NULL, NULL},
    };
    lua_getglobal(L, "require");
    lua_pushliteral(L, "tidemill.value");
    lua_call(L, 1, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, "tidemill.value");
    lua_newtable(L);
    luaL_setfuncs(L, functions, 0);
}
