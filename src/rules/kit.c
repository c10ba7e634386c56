/* kit.c: see kit.h. Everything is in testing_runner.lua; here it gets a VM, in which busted and
 * what specs require are found on the disk, and the settings. */
#include "rules/kit.h"

#include "rules/rulebook.h"

#include <lauxlib.h>

static void set_number(lua_State *L, const char *field, int64_t number)
{
    lua_pushnumber(L, (lua_Number)number);
    lua_setfield(L, -2, field);
}

static void set_flag(lua_State *L, const char *field, bool is_set)
{
    lua_pushboolean(L, is_set);
    lua_setfield(L, -2, field);
}

/* By their names in the settings file. */
static void push_limits(lua_State *L, const struct config_limits *limits)
{
    lua_newtable(L);
    set_number(L, "rule_ms", limits->rule_ms);
    set_number(L, "hard_ms", limits->hard_ms);
    set_number(L, "load_ms", limits->load_ms);
    set_number(L, "vm_mb", limits->vm_mb);
    set_number(L, "effects", limits->effects);
    set_number(L, "effect_kb", limits->effect_kb);
    set_number(L, "event_kb", limits->event_kb);
    set_number(L, "event_depth", limits->event_depth);
    set_number(L, "event_elements", limits->event_elements);
    set_number(L, "state_kb", limits->state_kb);
}

/* What testing.load takes as options. */
static void push_settings(lua_State *L, const struct config *config)
{
    lua_newtable(L);
    push_limits(L, &config->limits);
    lua_setfield(L, -2, "limits");
    rulebook_push_outputs(L, config);
    lua_setfield(L, -2, "outputs");
    set_number(L, "future", config->future_ms);
    if (config->partition == 1) {
        lua_pushliteral(L, "stream");
        lua_setfield(L, -2, "partition");
    }
}

static void push_options(lua_State *L, const struct kit_options *options)
{
    lua_newtable(L);
    lua_pushstring(L, options->dir);
    lua_setfield(L, -2, "path");
    if (config_origin_of(options->config, "rules") != ORIGIN_DEFAULT) {
        lua_pushstring(L, options->config->rules);
        lua_setfield(L, -2, "rules");
    }
    push_settings(L, options->config);
    lua_setfield(L, -2, "settings");
    set_flag(L, "wants_coverage", options->config->test.wants_coverage);
    set_flag(L, "is_watched", options->is_watched);
    set_flag(L, "is_coloured", options->is_coloured);
}

int kit_run(const struct kit_options *options, int *status, struct error *error)
{
    struct vm *vm = vm_create_open();
    lua_State *L = vm_lua(vm);
    int failed = vm_require(vm, "tidemill.testing_runner", error);
    if (failed == 0) {
        lua_getfield(L, -1, "run");
        push_options(L, options);
        failed = vm_call(vm, 1, 1, error);
    }
    if (failed == 0)
        *status = (int)lua_tointeger(L, -1);
    vm_destroy(vm);
    return failed;
}
