/* rulebook.c: hands the texts to the runtime (rulebook.lua, engine.lua), and asks it for all that
 * concerns Lua. */
#include "rules/rulebook.h"

#include "base/arena.h"
#include "rules/lua_functions.h"
#include "sandbox/limit.h"
#include "sandbox/load_limit.h"

#include <assert.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct rulebook_unused {
    void (*call)(void *context, struct rulebook *book);
    void *context;
};

struct known_stream {
    const char *name; /* the registry's */
    int codec;
    bool is_read;
};

struct rulebook {
    unsigned references;
    const struct config *config;
    struct registry *registry, *own_registry; /* own: when none was given */
    struct load_limit load_limit;
    struct rulebook_unused unused;
    struct edition *edition; /* a copy */
    bool is_backtest;
    struct vm *vm;
    struct shapes *shapes;
    char *dir;
    struct arena memory; /* problems and rules */
    struct rule_problem *problems;
    size_t problem_count;
    bool is_sound;
    struct note own_note, *note;
    struct rule_info *rules;
    size_t rule_count;
    uint32_t *rule_ids;           /* by rule, in the registry */
    uint32_t *rule_ms;            /* running time of each */
    struct known_stream *streams; /* by number, from 1: those that the kernel was told */
    uint32_t stream_count;
};

/* ── the texts, for Lua
 * ───────────────────────────────────────────────────────────────────────────────────────────────
 */

static void push_file(lua_State *L, const struct edition_file *file)
{
    lua_createtable(L, 0, 3);
    lua_pushstring(L, file->name);
    lua_setfield(L, -2, "name");
    lua_pushlstring(L, file->text, file->len);
    lua_setfield(L, -2, "text");
}

/* Libraries by name; one table for all units that share them. */
static void push_libraries(lua_State *L, const struct edition *e, size_t unit, int list)
{
    for (size_t i = 0; i < unit; i++) {
        if (e->units[i].libraries != e->units[unit].libraries)
            continue;
        lua_rawgeti(L, list, (int)i + 1);
        lua_getfield(L, -1, "libraries");
        lua_remove(L, -2);
        return;
    }
    const struct edition_libraries *libraries = e->units[unit].libraries;
    lua_newtable(L);
    for (size_t i = 0; i < libraries->count; i++) {
        push_file(L, &libraries->list[i]);
        lua_setfield(L, -2, libraries->list[i].name);
    }
}

/* The list that engine.load takes. */
static void push_edition(lua_State *L, const struct edition *e)
{
    lua_createtable(L, (int)e->count, 0);
    int list = lua_gettop(L);
    for (size_t i = 0; i < e->count; i++) {
        push_file(L, &e->units[i].file);
        push_libraries(L, e, i, list);
        lua_setfield(L, -2, "libraries");
        lua_rawseti(L, list, (int)i + 1);
    }
}

/* ── what Lua found, as C
 * ───────────────────────────────────────────────────────────────────────────────────────────── */

static const char *keep(struct rulebook *book, const char *text)
{
    size_t len = strlen(text) + 1;
    return memcpy(arena_alloc(&book->memory, len), text, len);
}

static const char *keep_field(struct rulebook *book, lua_State *L, const char *field)
{
    lua_getfield(L, -1, field);
    const char *text = keep(book, lua_tostring(L, -1) != NULL ? lua_tostring(L, -1) : "");
    lua_pop(L, 1);
    return text;
}

static int int_field(lua_State *L, const char *field)
{
    lua_getfield(L, -1, field);
    int number = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    return number;
}

/* The list `field` of the book on top of the stack, behind the problems that are there already. */
static void keep_problems(struct rulebook *book, lua_State *L, const char *field, bool is_warning)
{
    lua_getfield(L, -1, field);
    size_t count = lua_objlen(L, -1), before = book->problem_count;
    struct rule_problem *all = arena_alloc(&book->memory, (before + count + 1) * sizeof *all);
    if (before > 0)
        memcpy(all, book->problems, before * sizeof *all);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        const char *file = keep_field(book, L, "file");
        char path[4096];
        snprintf(path, sizeof path, "%s%s%s", book->dir, *file != '\0' ? "/" : "", file);
        all[before + i] = (struct rule_problem){
            .file = keep(book, path),
            .unit = keep_field(book, L, "unit"),
            .other = keep_field(book, L, "other"),
            .line = int_field(L, "line"),
            .column = int_field(L, "column"),
            .width = int_field(L, "width"),
            .text = keep_field(book, L, "text"),
            .message = keep_field(book, L, "message"),
            .is_warning = is_warning,
        };
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    book->problems = all;
    book->problem_count = before + count;
}

static void keep_rules(struct rulebook *book, lua_State *L)
{
    lua_getfield(L, -1, "rules");
    book->rule_count = lua_objlen(L, -1);
    book->rules = arena_alloc(&book->memory, (book->rule_count + 1) * sizeof *book->rules);
    for (size_t i = 0; i < book->rule_count; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        struct rule_info *rule = &book->rules[i];
        *rule = (struct rule_info){
            .name = keep_field(book, L, "name"),
            .version = keep_field(book, L, "version"),
            .file = keep_field(book, L, "file"),
            .state_version = int_field(L, "state_version"),
        };
        lua_getfield(L, -1, "is_shadow");
        bool is_shadow = lua_toboolean(L, -1);
        lua_pop(L, 1);
        rule->shadow_of = is_shadow ? keep_field(book, L, "shadow_of") : NULL;
        lua_getfield(L, -1, "streams");
        rule->stream_count = lua_objlen(L, -1);
        const char **streams =
            arena_alloc(&book->memory, (rule->stream_count + 1) * sizeof *streams);
        for (size_t k = 0; k < rule->stream_count; k++) {
            lua_rawgeti(L, -1, (int)k + 1);
            streams[k] = keep(book, lua_tostring(L, -1));
            lua_pop(L, 1);
        }
        rule->streams = streams;
        lua_pop(L, 1);
        lua_getfield(L, -1, "ttl");
        rule->has_ttl = lua_isnumber(L, -1);
        lua_pop(L, 2);
    }
    lua_pop(L, 1);
}

/* ── streams
 * ──────────────────────────────────────────────────────────────────────────────────────────────────────────
 */

/* Tells the kernel of the streams that the registry knows and it does not yet: in the registry's
 * order, so that its numbers are the registry's. */
static void learn_streams(struct rulebook *book)
{
    uint32_t count = names_count(book->registry->streams);
    if (count == book->stream_count)
        return;
    lua_State *L = vm_lua(book->vm);
    book->streams = realloc(book->streams, (count + 1) * sizeof *book->streams);
    if (book->streams == NULL)
        abort();
    while (book->stream_count < count) {
        size_t len;
        uint32_t number = book->stream_count + 1;
        const char *name = names_text(book->registry->streams, number, &len);
        struct error error;
        rulebook_push(book, "stream");
        lua_pushlstring(L, name, len);
        int failed = vm_call(book->vm, 1, 2, &error);
        assert(failed == 0 && (uint32_t)lua_tointeger(L, -2) == number);
        book->streams[number] =
            (struct known_stream){.name = name,
                                  .codec = config_stream_codec(book->config, name, len),
                                  .is_read = lua_tointeger(L, -1) > 0};
        lua_pop(L, 2);
        book->stream_count = number;
    }
}

/* ── life
 * ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
 */

/* note_progress(name): a file is begun. */
static int note_progress(lua_State *L)
{
    struct rulebook_progress *progress = lua_touserdata(L, lua_upvalueindex(1));
    if (progress != NULL) {
        snprintf(progress->file, sizeof progress->file, "%s", luaL_checkstring(L, 1));
        progress->files++;
    }
    return 0;
}

static void set_number(lua_State *L, const char *field, int64_t number)
{
    lua_pushnumber(L, (lua_Number)number);
    lua_setfield(L, -2, field);
}

static void push_limits(lua_State *L, const struct config_limits *limits)
{
    lua_createtable(L, 0, 5);
    set_number(L, "rule_ms", limits->rule_ms);
    set_number(L, "vm_bytes", limits->vm_mb << 20);
    set_number(L, "effects", limits->effects);
    set_number(L, "effect_bytes", limits->effect_kb * 1024);
    set_number(L, "state_bytes", limits->state_kb * 1024);
}

int rulebook_load(const struct rulebook_options *options, const struct edition *edition,
                  struct rulebook **out, struct error *error)
{
    const struct config *config = options->config;
    struct rulebook *book = calloc(1, sizeof *book);
    if (book == NULL)
        abort();
    book->references = 1;
    book->config = config;
    book->own_registry = options->registry == NULL ? registry_create() : NULL;
    book->registry = options->registry != NULL ? options->registry : book->own_registry;
    book->load_limit = (struct load_limit){
        .ms = options->load_ms > 0 ? options->load_ms : (uint64_t)config->limits.load_ms,
        .is_cancelled = options->is_cancelled};
    book->edition = edition_copy(edition);
    book->is_backtest = options->is_backtest;
    book->vm = vm_create();
    vm_limit_memory(book->vm, (size_t)config->limits.vm_mb << 20, &book->own_note.mark);
    book->shapes = shapes_create();
    book->dir = strdup(options->dir);
    size_t len = strlen(book->dir);
    while (len > 1 && book->dir[len - 1] == '/')
        book->dir[--len] = '\0';
    lua_State *L = vm_lua(book->vm);
    vm_set_jit(book->vm, false);

    int failed = vm_require(book->vm, "tidemill.engine", error);
    if (failed != 0)
        goto out;
    lua_setfield(L, LUA_REGISTRYINDEX, "tidemill.engine");
    rulebook_push(book, "load");
    push_edition(L, edition);
    lua_pushboolean(L, config->partition != 0);
    load_limit_push(L, &book->load_limit);
    lua_pushlightuserdata(L, options->progress);
    lua_pushcclosure(L, note_progress, 1);
    push_limits(L, &config->limits);
    failed = vm_call(book->vm, 5, 1, error);
    if (failed != 0)
        goto out;
    keep_problems(book, L, "problems", false);
    book->is_sound = book->problem_count == 0;
    keep_problems(book, L, "warnings", true);
    keep_rules(book, L);
    lua_pop(L, 1);
out:
    if (failed != 0)
        rulebook_release(book);
    else
        *out = book;
    return failed;
}

void rulebook_keep(struct rulebook *book)
{
    book->references++;
}

void rulebook_release(struct rulebook *book)
{
    if (book == NULL || --book->references > 0)
        return;
    struct rulebook_unused unused = book->unused;
    if (unused.call != NULL) {
        book->unused = (struct rulebook_unused){0};
        book->references = 1;
        unused.call(unused.context, book);
        return;
    }
    free(book->streams);
    limit_detach(book->vm);
    vm_destroy(book->vm);
    shapes_destroy(book->shapes);
    arena_fini(&book->memory);
    registry_destroy(book->own_registry);
    edition_destroy(book->edition);
    free(book->dir);
    free(book);
}

void rulebook_on_unused(struct rulebook *book, void (*call)(void *context, struct rulebook *book),
                        void *context)
{
    book->unused = (struct rulebook_unused){.call = call, .context = context};
}

uint64_t rulebook_number(const struct rulebook *book)
{
    return book->edition->number;
}

const struct edition *rulebook_edition(const struct rulebook *book)
{
    return book->edition;
}

int rulebook_wake(struct rulebook *book, struct error *error)
{
    learn_streams(book);
    vm_set_jit(book->vm, true);
    vm_limit_memory(book->vm, (size_t)book->config->limits.vm_mb << 20, &book->note->mark);
    rulebook_push(book, "interrupt");
    return limit_attach(book->vm, &book->note->mark, book->rule_ms, (uint32_t)book->rule_count,
                        error);
}

const struct rule_problem *rulebook_problems(const struct rulebook *book, size_t *count)
{
    *count = book->problem_count;
    return book->problems;
}

bool rulebook_is_sound(const struct rulebook *book)
{
    return book->is_sound;
}

void rulebook_push_outputs(lua_State *L, const struct config *config)
{
    lua_newtable(L);
    for (size_t i = 0; i < config->output_count; i++) {
        lua_createtable(L, 0, 2);
        if (config->outputs[i].maxlen > 0)
            set_number(L, "maxlen", config->outputs[i].maxlen);
        lua_pushstring(L, config->outputs[i].codec == CODEC_JSON ? "json" : "msgpack");
        lua_setfield(L, -2, "codec");
        lua_setfield(L, -2, config->outputs[i].name);
    }
}

/* The numbers that the kernel keeps states under. */
static void push_rule_ids(struct rulebook *book, lua_State *L)
{
    book->rule_ids = arena_alloc(&book->memory, (book->rule_count + 1) * sizeof *book->rule_ids);
    lua_createtable(L, (int)book->rule_count, 0);
    for (size_t i = 0; i < book->rule_count; i++) {
        const char *name = book->rules[i].name;
        book->rule_ids[i] = names_number(book->registry->rules, name, strlen(name));
        lua_pushinteger(L, (lua_Integer)book->rule_ids[i]);
        lua_rawseti(L, -2, (int)i + 1);
    }
}

static int learn_limits(struct rulebook *book, struct error *error)
{
    lua_State *L = vm_lua(book->vm);
    book->rule_ms = arena_alloc(&book->memory, (book->rule_count + 1) * sizeof *book->rule_ms);
    for (size_t i = 0; i < book->rule_count; i++) {
        rulebook_push(book, "rule_ms");
        lua_pushinteger(L, (lua_Integer)i + 1);
        int failed = vm_call(book->vm, 1, 1, error);
        if (failed != 0)
            return failed;
        book->rule_ms[i] = (uint32_t)lua_tointeger(L, -1);
        lua_pop(L, 1);
    }
    return 0;
}

int rulebook_start(struct rulebook *book, struct note *note, struct error *error)
{
    book->note = note != NULL ? note : &book->own_note;
    assert(book->is_sound);
    lua_State *L = vm_lua(book->vm);
    rulebook_push(book, "start");
    push_limits(L, &book->config->limits);
    set_number(L, "future_ms", book->config->future_ms);
    set_number(L, "batch_events", book->config->batch_events);
    lua_pushnumber(L, book->is_backtest ? 0 : book->config->record);
    lua_setfield(L, -2, "record");
    set_number(L, "failing_in_a_row", book->config->failing.in_a_row);
    set_number(L, "failing_percent", book->config->failing.percent);
    lua_pushboolean(L, book->is_backtest);
    lua_setfield(L, -2, "is_backtest");
    rulebook_push_outputs(L, book->config);
    lua_functions_push(L);
    lua_pushnumber(L, (lua_Number)(uintptr_t)&book->note->mark);
    push_rule_ids(book, L);
    int failed = vm_call(book->vm, 5, 0, error);
    if (failed == 0)
        failed = learn_limits(book, error);
    if (failed == 0)
        learn_streams(book);
    return failed;
}

struct note *rulebook_note(struct rulebook *book)
{
    return book->note;
}

static void inherit_shadow(struct rulebook *book, uint32_t number, const struct rule_info *rule)
{
    lua_State *L = vm_lua(book->vm);
    rulebook_push(book, "inherit_shadow");
    lua_pushinteger(L, (lua_Integer)number);
    lua_pushnumber(L, (lua_Number)rule->shadow.effects);
    lua_pushnumber(L, (lua_Number)rule->shadow.same);
    lua_pushnumber(L, (lua_Number)rule->shadow.different);
    lua_pushnumber(L, (lua_Number)rule->shadow.only_would);
    lua_pushnumber(L, (lua_Number)rule->shadow.only_did);
    (void)vm_call(book->vm, 6, 0, NULL);
}

void rulebook_inherit(struct rulebook *book, struct rulebook *from)
{
    lua_State *L = vm_lua(book->vm);
    for (size_t i = 0; i < from->rule_count; i++) {
        struct rule_info rule;
        uint32_t number =
            rulebook_rule_number(book, from->rules[i].name, strlen(from->rules[i].name));
        if (number == 0)
            continue;
        rulebook_rule(from, i, &rule);
        rulebook_push(book, "inherit");
        lua_pushinteger(L, (lua_Integer)number);
        lua_pushnumber(L, (lua_Number)rule.failed);
        lua_pushnumber(L, (lua_Number)rule.skipped);
        lua_pushnumber(L, (lua_Number)rule.events);
        lua_pushnumber(L, (lua_Number)rule.fed_back);
        lua_pushnumber(L, (lua_Number)rule.late);
        (void)vm_call(book->vm, 6, 0, NULL);
        if (rule.shadow_of != NULL)
            inherit_shadow(book, number, &rule);
    }
}

struct registry *rulebook_registry(const struct rulebook *book)
{
    return book->registry;
}

/* ── asking
 * ───────────────────────────────────────────────────────────────────────────────────────────────────────────
 */

size_t rulebook_count(const struct rulebook *book)
{
    return book->rule_count;
}

const struct rule_info *rulebook_loaded_rule(const struct rulebook *book, size_t number)
{
    assert(number < book->rule_count);
    return &book->rules[number];
}

static void count_shadow(struct rulebook *book, size_t number, struct rule_info *info)
{
    lua_State *L = vm_lua(book->vm);
    rulebook_push(book, "shadow_counts");
    lua_pushinteger(L, (lua_Integer)number + 1);
    if (vm_call(book->vm, 1, 5, NULL) != 0)
        return;
    info->shadow.effects = (uint64_t)lua_tonumber(L, -5);
    info->shadow.same = (uint64_t)lua_tonumber(L, -4);
    info->shadow.different = (uint64_t)lua_tonumber(L, -3);
    info->shadow.only_would = (uint64_t)lua_tonumber(L, -2);
    info->shadow.only_did = (uint64_t)lua_tonumber(L, -1);
    lua_pop(L, 5);
}

void rulebook_rule(struct rulebook *book, size_t number, struct rule_info *info)
{
    lua_State *L = vm_lua(book->vm);
    *info = book->rules[number];
    rulebook_push(book, "counts");
    lua_pushinteger(L, (lua_Integer)number + 1);
    if (vm_call(book->vm, 1, 8, NULL) != 0)
        return;
    info->failed = (uint64_t)lua_tonumber(L, -8);
    info->skipped = (uint64_t)lua_tonumber(L, -7);
    info->events = (uint64_t)lua_tonumber(L, -6);
    info->fed_back = (uint64_t)lua_tonumber(L, -5);
    info->is_failing = lua_toboolean(L, -4);
    info->asks = lua_toboolean(L, -3);
    info->uses_state = lua_toboolean(L, -2);
    info->late = (uint64_t)lua_tonumber(L, -1);
    lua_pop(L, 8);
    if (info->shadow_of != NULL)
        count_shadow(book, number, info);
}

uint32_t rulebook_stream(struct rulebook *book, const char *name, size_t len)
{
    uint32_t number = names_number(book->registry->streams, name, len);
    learn_streams(book);
    return number;
}

int rulebook_stream_codec(const struct rulebook *book, uint32_t stream)
{
    assert(stream >= 1 && stream <= book->stream_count);
    return book->streams[stream].codec;
}

bool rulebook_is_read(const struct rulebook *book, uint32_t stream)
{
    assert(stream >= 1 && stream <= book->stream_count);
    return book->streams[stream].is_read;
}

const char *rulebook_stream_name(const struct rulebook *book, uint32_t stream)
{
    assert(stream >= 1 && stream <= book->stream_count);
    return book->streams[stream].name;
}

uint32_t rulebook_rules_of(struct rulebook *book, uint32_t stream, uint32_t *numbers, uint32_t cap)
{
    lua_State *L = vm_lua(book->vm);
    rulebook_push(book, "rules_of");
    lua_pushinteger(L, (lua_Integer)stream);
    if (vm_call(book->vm, 1, 1, NULL) != 0)
        return 0;
    uint32_t count = (uint32_t)lua_objlen(L, -1);
    if (count > cap)
        count = cap;
    for (uint32_t i = 0; i < count; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        numbers[i] = (uint32_t)lua_tointeger(L, -1);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return count;
}

uint32_t rulebook_rule_number(const struct rulebook *book, const char *name, size_t len)
{
    for (size_t i = 0; i < book->rule_count; i++)
        if (strlen(book->rules[i].name) == len && memcmp(book->rules[i].name, name, len) == 0)
            return (uint32_t)i + 1;
    return 0;
}

const char *rulebook_rule_name(const struct rulebook *book, uint32_t number)
{
    return number >= 1 && number <= book->rule_count ? book->rules[number - 1].name : "";
}

uint32_t rulebook_rule_id(const struct rulebook *book, uint32_t number)
{
    assert(number >= 1 && number <= book->rule_count);
    return book->rule_ids[number - 1];
}

const char *rulebook_state_name(const struct rulebook *book, uint32_t id)
{
    return names_text(book->registry->rules, id, NULL);
}

const char *rulebook_rule_version(const struct rulebook *book, uint32_t number)
{
    return number >= 1 && number <= book->rule_count ? book->rules[number - 1].version : "";
}

bool rulebook_has_ttl(const struct rulebook *book, uint32_t number)
{
    return number >= 1 && number <= book->rule_count && book->rules[number - 1].has_ttl;
}

bool rulebook_reads(struct rulebook *book, const char *name, size_t len)
{
    lua_State *L = vm_lua(book->vm);
    rulebook_push(book, "reads");
    lua_pushlstring(L, name, len);
    if (vm_call(book->vm, 1, 1, NULL) != 0)
        return true;
    bool reads = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return reads;
}

struct vm *rulebook_vm(struct rulebook *book)
{
    return book->vm;
}

struct shapes *rulebook_shapes(struct rulebook *book)
{
    return book->shapes;
}

const struct config *rulebook_config(const struct rulebook *book)
{
    return book->config;
}

void rulebook_push(struct rulebook *book, const char *name)
{
    lua_State *L = vm_lua(book->vm);
    lua_getfield(L, LUA_REGISTRYINDEX, "tidemill.engine");
    lua_getfield(L, -1, name);
    lua_remove(L, -2);
}
