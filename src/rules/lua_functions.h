/* lua_functions.h: the parts of the bridge that take or give Lua values: lookups, their answers,
 * JSON outputs. */
#ifndef TIDEMILL_RULES_LUA_FUNCTIONS_H
#define TIDEMILL_RULES_LUA_FUNCTIONS_H

#include "redis/reply.h"
#include "rules/bridge.h"

#include <lua.h>

/* Pushes the table of C functions that engine.lua calls. */
void lua_functions_push(lua_State *L);

/* What they need of a bridge (bridge.c). */
const struct commands *bridge_commands(struct bridge *b);
struct rulebook *bridge_rulebook(const struct bridge *b);
struct buf *bridge_requests(struct bridge *b);
const struct reply *bridge_answer(const struct bridge *b, uint32_t number);

#endif
