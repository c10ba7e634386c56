/* rulebook.c: reads the folder, and asks the runtime (rulebook.lua, engine.lua) for all that
 * concerns Lua. */
#include "rules/rulebook.h"

#include "base/arena.h"
#include "base/buf.h"
#include "rules/lua_functions.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct known_stream {
    char *name;
    int codec;
};

struct rulebook {
    const struct config *config;
    struct vm *vm;
    struct shapes *shapes;
    char *dir;
    struct arena memory; /* problems and rules */
    struct rule_problem *problems;
    size_t problem_count;
    bool is_sound;
    struct rule_info *rules;
    size_t rule_count;
    struct known_stream *streams; /* by number, from 1 */
    uint32_t stream_count;
};

/* ── reading the folder
 * ───────────────────────────────────────────────────────────────────────────────────────────────
 */

static int read_file(const char *path, struct buf *out, struct error *error)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return error_set(error, ERROR_SYSTEM, "cannot read %s: %s", path, strerror(errno));
    char part[16384];
    size_t len;
    while ((len = fread(part, 1, sizeof part, file)) > 0)
        buf_append(out, part, len);
    int failed = ferror(file);
    fclose(file);
    if (failed)
        return error_set(error, ERROR_SYSTEM, "cannot read %s: %s", path, strerror(errno));
    return 0;
}

static int is_lua_file(const struct dirent *item)
{
    size_t len = strlen(item->d_name);
    return item->d_name[0] != '.' && len > 4 && strcmp(item->d_name + len - 4, ".lua") == 0;
}

/* Appends { name, text } for every .lua file of dir/below to the list on top of the stack; goes
 * into folders below lib. */
static int add_folder(lua_State *L, const char *dir, const char *below, struct error *error)
{
    char path[4096];
    snprintf(path, sizeof path, "%s%s%s", dir, *below != '\0' ? "/" : "", below);
    struct dirent **items = NULL;
    int count = scandir(path, &items, NULL, alphasort);
    if (count < 0)
        return error_set(error, ERROR_SYSTEM,
                         "cannot read the rules folder %s: %s; name another with --rules DIR", path,
                         strerror(errno));
    int failed = 0;
    for (int i = 0; i < count; i++) {
        const char *name = items[i]->d_name;
        char file[8192], shown[4096];
        snprintf(file, sizeof file, "%s/%s", path, name);
        snprintf(shown, sizeof shown, "%s%s%s", below, *below != '\0' ? "/" : "", name);
        struct stat about;
        if (failed != 0 || name[0] == '.' || stat(file, &about) != 0) {
            free(items[i]);
            continue;
        }
        if (S_ISDIR(about.st_mode) &&
            (strcmp(shown, "lib") == 0 || strncmp(shown, "lib/", 4) == 0)) {
            failed = add_folder(L, dir, shown, error);
        } else if (S_ISREG(about.st_mode) && is_lua_file(items[i])) {
            struct buf text = {0};
            failed = read_file(file, &text, error);
            if (failed == 0) {
                lua_createtable(L, 0, 2);
                lua_pushstring(L, shown);
                lua_setfield(L, -2, "name");
                lua_pushlstring(L, text.data != NULL ? text.data : "", text.len);
                lua_setfield(L, -2, "text");
                lua_rawseti(L, -2, (int)lua_objlen(L, -2) + 1);
            }
            buf_fini(&text);
        }
        free(items[i]);
    }
    free(items);
    return failed;
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
            .line = int_field(L, "line"),
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
        };
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

/* ── life
 * ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
 */

int rulebook_load(const struct config *config, const char *dir, struct rulebook **out,
                  struct error *error)
{
    struct rulebook *book = calloc(1, sizeof *book);
    if (book == NULL)
        abort();
    book->config = config;
    book->vm = vm_create();
    book->shapes = shapes_create();
    book->dir = strdup(dir);
    size_t len = strlen(book->dir);
    while (len > 1 && book->dir[len - 1] == '/')
        book->dir[--len] = '\0';
    lua_State *L = vm_lua(book->vm);

    int failed = vm_require(book->vm, "tidemill.engine", error);
    if (failed != 0)
        goto out;
    lua_setfield(L, LUA_REGISTRYINDEX, "tidemill.engine");
    rulebook_push(book, "load");
    lua_newtable(L);
    failed = add_folder(L, book->dir, "", error);
    if (failed != 0)
        goto out;
    lua_pushboolean(L, config->partition != 0);
    failed = vm_call(book->vm, 2, 1, error);
    if (failed != 0)
        goto out;
    keep_problems(book, L, "problems", false);
    book->is_sound = book->problem_count == 0;
    keep_problems(book, L, "warnings", true);
    keep_rules(book, L);
    lua_pop(L, 1);
out:
    if (failed != 0)
        rulebook_destroy(book);
    else
        *out = book;
    return failed;
}

void rulebook_destroy(struct rulebook *book)
{
    if (book == NULL)
        return;
    for (uint32_t i = 1; i <= book->stream_count; i++)
        free(book->streams[i].name);
    free(book->streams);
    vm_destroy(book->vm);
    shapes_destroy(book->shapes);
    arena_fini(&book->memory);
    free(book->dir);
    free(book);
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

static void set_number(lua_State *L, const char *field, int64_t number)
{
    lua_pushnumber(L, (lua_Number)number);
    lua_setfield(L, -2, field);
}

static void push_outputs(lua_State *L, const struct config *config)
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

int rulebook_start(struct rulebook *book, struct error *error)
{
    assert(book->is_sound);
    lua_State *L = vm_lua(book->vm);
    rulebook_push(book, "start");
    lua_newtable(L);
    set_number(L, "effects", book->config->limits.effects);
    set_number(L, "effect_bytes", book->config->limits.effect_kb * 1024);
    set_number(L, "state_bytes", book->config->limits.state_kb * 1024);
    push_outputs(L, book->config);
    lua_functions_push(L);
    return vm_call(book->vm, 3, 0, error);
}

/* ── asking
 * ───────────────────────────────────────────────────────────────────────────────────────────────────────────
 */

size_t rulebook_count(const struct rulebook *book)
{
    return book->rule_count;
}

void rulebook_rule(struct rulebook *book, size_t number, struct rule_info *info)
{
    lua_State *L = vm_lua(book->vm);
    *info = book->rules[number];
    rulebook_push(book, "counts");
    lua_pushinteger(L, (lua_Integer)number + 1);
    if (vm_call(book->vm, 1, 4, NULL) != 0)
        return;
    info->failed = (uint64_t)lua_tonumber(L, -4);
    info->skipped = (uint64_t)lua_tonumber(L, -3);
    info->asks = lua_toboolean(L, -2);
    info->uses_state = lua_toboolean(L, -1);
    lua_pop(L, 4);
}

uint32_t rulebook_stream(struct rulebook *book, const char *name, size_t len)
{
    lua_State *L = vm_lua(book->vm);
    struct error error;
    rulebook_push(book, "stream");
    lua_pushlstring(L, name, len);
    int failed = vm_call(book->vm, 1, 1, &error);
    assert(failed == 0);
    uint32_t number = (uint32_t)lua_tointeger(L, -1);
    lua_pop(L, 1);
    if (number > book->stream_count) {
        assert(number == book->stream_count + 1);
        book->streams = realloc(book->streams, (number + 1) * sizeof *book->streams);
        if (book->streams == NULL)
            abort();
        book->streams[number] = (struct known_stream){
            .name = strndup(name, len),
            .codec = config_stream_codec(book->config, name, len),
        };
        book->stream_count = number;
    }
    return number;
}

int rulebook_stream_codec(const struct rulebook *book, uint32_t stream)
{
    assert(stream >= 1 && stream <= book->stream_count);
    return book->streams[stream].codec;
}

const char *rulebook_stream_name(const struct rulebook *book, uint32_t stream)
{
    assert(stream >= 1 && stream <= book->stream_count);
    return book->streams[stream].name;
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
