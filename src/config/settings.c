/* settings.c: see settings.h.
 *
 * The file is a program only as far as that helps to write data: locals, concatenation, a loop. It
 * gets no library and no globals, so there is nothing it could read, write or call; its memory,
 * instructions and time are bounded, so it cannot hang either. What it returns is a tree that is
 * walked once, each leaf looked up in the table of options.
 *
 * (1) Outside of evaluate() nothing is called that could raise a Lua error: walking reads, and
 * converts no value in place. */
#include "config/settings.h"

#include "base/escape.h"
#include "base/nearest.h"
#include "config/locate.h"
#include "config/options.h"

#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <luajit.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    SOURCE_MOST = 1024 * 1024,
    MEMORY_MOST = 16 * 1024 * 1024,
    HOOK_EVERY = 1000,
    INSTRUCTIONS_MOST = 1000 * 1000,
    CPU_SECONDS_MOST = 2,
    DEPTH_MOST = 3, /* streams.NAME.codec */
    PATH_LEN = 256,
    PLACES_MOST = 32, /* of a word on a line that are tried */
};

/* Where the walk stands: the keys from the outside in. */
struct place {
    const char *keys[DEPTH_MOST + 1];
    size_t depth;
};

struct reading {
    const char *file, *source;
    size_t len;
    struct config *config;
    size_t memory_bytes, memory_most;
    unsigned long instructions;
    clock_t started;
    struct error first; /* of all mistakes the one on the smallest line */
    struct located first_place;
    char word[64]; /* that an error of evaluation means, "" when it is not known */
};

/* -- Evaluation within limits -- */

static void *limited_alloc(void *context, void *old, size_t old_size, size_t new_size)
{
    struct reading *r = context;
    if (new_size == 0) {
        r->memory_bytes -= old_size;
        free(old);
        return NULL;
    }
    if (new_size > old_size && r->memory_bytes - old_size + new_size > r->memory_most)
        return NULL;
    void *grown = realloc(old, new_size);
    if (grown != NULL)
        r->memory_bytes += new_size - old_size;
    return grown;
}

static struct reading *reading_of(lua_State *L)
{
    void *context;
    lua_getallocf(L, &context);
    return context;
}

/* Instructions bound loops; CPU time bounds what one instruction can do, such as joining two long
 * strings. */
static void limit_hook(lua_State *L, lua_Debug *activation)
{
    (void)activation;
    struct reading *r = reading_of(L);
    r->instructions += HOOK_EVERY;
    if (r->instructions < INSTRUCTIONS_MOST &&
        clock() - r->started < CPU_SECONDS_MOST * CLOCKS_PER_SEC)
        return;
    luaL_where(L, 0); /* a hook is no frame of its own: 0 is the file */
    lua_pushliteral(L, "takes too long: settings are data, not a program");
    lua_concat(L, 2);
    lua_error(L);
}

/* The global that an __index or __newindex is about; the reading remembers it. */
static const char *global_name(lua_State *L)
{
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tolstring(L, 2, NULL) : "?";
    struct reading *r = reading_of(L);
    snprintf(r->word, sizeof r->word, "%s", name);
    return name;
}

static int refuse_global_read(lua_State *L)
{
    const char *name = global_name(L);
    return luaL_error(
        L, "there is no variable %s: settings are data, no library and no globals are at hand",
        name);
}

static int refuse_global_write(lua_State *L)
{
    const char *name = global_name(L);
    return luaL_error(
        L, "%s is assigned to a global: settings stand in return { %s = ... }; helpers are local",
        name, name);
}

static void guard_globals(lua_State *L)
{
    lua_createtable(L, 0, 2);
    lua_pushcfunction(L, refuse_global_read);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, refuse_global_write);
    lua_setfield(L, -2, "__newindex");
    lua_setmetatable(L, LUA_GLOBALSINDEX);
}

/* Runs protected. Leaves what the file returned on the stack of the one who called. */
static int evaluate(lua_State *L)
{
    struct reading *r = lua_touserdata(L, 1);
    char name[PATH_LEN];
    snprintf(name, sizeof name, "@%s", r->file);
    if (luaL_loadbufferx(L, r->source, r->len, name, "t") != 0)
        return lua_error(L);
    guard_globals(L);
    lua_sethook(L, limit_hook, LUA_MASKCOUNT, HOOK_EVERY);
    lua_call(L, 0, 1);
    lua_sethook(L, NULL, 0, 0);
    return 1;
}

/* -- Mistakes -- */

static const char *keep_text(struct arena *memory, const char *text)
{
    size_t size = strlen(text) + 1;
    return memcpy(arena_alloc(memory, size), text, size);
}

static void describe_path(const struct place *p, char *text, size_t size)
{
    struct buf path = {0};
    for (size_t i = 0; i < p->depth; i++) {
        if (i > 0)
            buf_append(&path, ".", 1);
        escape_text(&path, p->keys[i], strlen(p->keys[i]));
    }
    snprintf(text, size, "%s", buf_text(&path));
    buf_fini(&path);
}

/* Keeps the mistake that stands first in the file: Lua's tables have no order, messages should have
 * one. */
static void note_mistake(struct reading *r, const struct place *p, const char *sentence)
{
    struct located place = locate(r->source, r->len, p->keys, p->depth);
    char path[PATH_LEN];
    if (r->first_place.line != 0 && place.line >= r->first_place.line)
        return;
    describe_path(p, path, sizeof path);
    r->first_place = place;
    error_set(&r->first, ERROR_USAGE, "%s%s%s", path, p->depth > 0 ? " " : "", sentence);
}

/* Tells of a mistake at its place: as an error, and for config.h's `mistake`. */
static int refuse(struct reading *r, struct located place, const char *sentence,
                  struct error *error)
{
    size_t len;
    struct arena *memory = &r->config->memory;
    const char *line = locate_text(r->source, r->len, place.line, &len);
    char *text = arena_alloc(memory, len + 1);
    memcpy(text, line, len);
    text[len] = '\0';
    r->config->mistake = (struct config_mistake){
        .file = keep_text(memory, r->file),
        .sentence = keep_text(memory, sentence),
        .text = text,
        .line = (int)place.line,
        .column = (int)place.column,
        .width = (int)place.width,
    };
    return error_set(error, ERROR_USAGE, "%s:%u: %s", r->file, place.line, sentence);
}

/* Does `path` of the table, up to its `depth`th key, lead to the place? */
static bool path_matches(const char *path, const struct place *p, size_t depth)
{
    for (size_t i = 0; i < depth; i++) {
        size_t len = strcspn(path, ".");
        bool is_any = len == 1 && path[0] == '*';
        if (!is_any && (strlen(p->keys[i]) != len || memcmp(path, p->keys[i], len) != 0))
            return false;
        if (i + 1 < depth && path[len] == '\0')
            return false;
        path += len + (path[len] == '.');
    }
    return true;
}

/* The `index`th key of a path of the table, "" when it has fewer. */
static void path_key(const char *path, size_t index, char *key, size_t size)
{
    for (; index > 0 && *path != '\0'; index--) {
        size_t len = strcspn(path, ".");
        path += len + (path[len] == '.');
    }
    snprintf(key, size, "%.*s", (int)strcspn(path, "."), path);
}

static void note_unknown(struct reading *r, const struct place *p)
{
    static _Thread_local char names[CONFIG_OPTIONS_MOST][48];
    char sentence[256] = "is no setting";
    const char *word = p->keys[p->depth - 1];
    struct nearest sibling, elsewhere;
    nearest_init(&sibling, word);
    nearest_init(&elsewhere, word);
    for (size_t i = 0; i < option_count; i++) {
        const char *path = option_table[i].path;
        if (path == NULL)
            continue;
        const char *last = strrchr(path, '.');
        if (path_matches(path, p, p->depth - 1)) {
            path_key(path, p->depth - 1, names[i], sizeof names[i]);
            nearest_offer(&sibling, names[i]);
        }
        if (strcmp(last == NULL ? path : last + 1, word) == 0)
            elsewhere.name = path;
    }
    if (elsewhere.name != NULL)
        snprintf(sentence, sizeof sentence, "is no setting here; did you mean %s?", elsewhere.name);
    else if (sibling.name != NULL)
        snprintf(sentence, sizeof sentence, "is no setting; did you mean %s?", sibling.name);
    note_mistake(r, p, sentence);
}

/* -- The walk -- */

static const char *type_in_words(lua_State *L)
{
    switch (lua_type(L, -1)) {
    case LUA_TTABLE:
        return "a table";
    case LUA_TSTRING:
        return "a string";
    case LUA_TNUMBER:
        return "a number";
    case LUA_TBOOLEAN:
        return "true or false";
    case LUA_TFUNCTION:
        return "a function";
    default:
        return "something else";
    }
}

/* The value on the top of the stack as text for option_store; false when it is not of a type that
 * the option takes. */
static bool value_text(lua_State *L, const struct option *o, char *number, size_t size,
                       const char **text)
{
    int type = lua_type(L, -1);
    if (type == LUA_TSTRING && o->type != OPTION_INTEGER && o->type != OPTION_SHARE &&
        o->type != OPTION_SWITCH) {
        size_t len;
        *text = lua_tolstring(L, -1, &len);
        return strlen(*text) == len;
    }
    if (type == LUA_TBOOLEAN && o->type == OPTION_SWITCH) {
        *text = lua_toboolean(L, -1) ? "true" : "false";
        return true;
    }
    bool takes_number =
        o->type == OPTION_INTEGER || o->type == OPTION_DURATION || o->type == OPTION_SHARE;
    if (type == LUA_TNUMBER && takes_number) {
        double value = lua_tonumber(L, -1);
        snprintf(number, size, floor(value) == value && fabs(value) < 9e15 ? "%.0f" : "%.17g",
                 value);
        *text = number;
        return true;
    }
    return false;
}

static const char *wanted_in_words(const struct option *o)
{
    switch (o->type) {
    case OPTION_INTEGER:
        return "a number";
    case OPTION_SHARE:
        return "a number from 0 to 1";
    case OPTION_DURATION:
        return "a number of ms or a text such as \"10s\"";
    case OPTION_SWITCH:
        return "true or false";
    default:
        return "a string";
    }
}

/* A path in the file counts from the file's folder: a service starts wherever it likes. */
static const char *path_from_file(const char *file, const char *text, char *path, size_t size)
{
    const char *slash = strrchr(file, '/');
    if (text[0] == '/' || text[0] == '\0' || slash == NULL)
        return text;
    snprintf(path, size, "%.*s%s", (int)(slash + 1 - file), file, text);
    return path;
}

static void read_value(struct reading *r, lua_State *L, const struct option *o, void *home,
                       const struct place *p)
{
    char number[64], path[4096], sentence[1024];
    const char *text;
    struct error error;
    if (!value_text(L, o, number, sizeof number, &text)) {
        bool is_string =
            lua_type(L, -1) == LUA_TSTRING && (o->type == OPTION_TEXT || o->type == OPTION_PATH);
        snprintf(sentence, sizeof sentence, "must be %s, not %s", wanted_in_words(o),
                 is_string ? "one with a NUL byte" : type_in_words(L));
        note_mistake(r, p, sentence);
        return;
    }
    if (o->type == OPTION_PATH)
        text = path_from_file(r->file, text, path, sizeof path);
    if (option_store(o, home, text, &r->config->memory, &error) != 0)
        note_mistake(r, p, error.text);
    else
        r->config->origins[o - option_table] = ORIGIN_FILE;
}

/* Makes room for one more item of `size` bytes behind `count` others, in memory that is only given
 * back at the end. */
static void *grow_list(struct arena *memory, void *list, size_t count, size_t size)
{
    if (count == 0 || (count & (count - 1)) == 0) {
        void *grown = arena_alloc(memory, (count == 0 ? 1 : count * 2) * size);
        if (count > 0)
            memcpy(grown, list, count * size);
        list = grown;
    }
    memset((char *)list + count * size, 0, size);
    return list;
}

/* The struct that leaves below this place are stored in: an item of `streams` or `outputs`, made
 * when it is first met. */
static void *home_of(struct reading *r, const struct place *p)
{
    struct config *c = r->config;
    if (p->depth == 2 && strcmp(p->keys[0], "streams") == 0) {
        c->streams = grow_list(&c->memory, c->streams, c->stream_count, sizeof *c->streams);
        struct config_stream *stream = &c->streams[c->stream_count++];
        options_set_standard(HOME_STREAM, stream, &c->memory);
        stream->name = keep_text(&c->memory, p->keys[1]);
        return stream;
    }
    if (p->depth == 2 && strcmp(p->keys[0], "outputs") == 0) {
        c->outputs = grow_list(&c->memory, c->outputs, c->output_count, sizeof *c->outputs);
        struct config_output *output = &c->outputs[c->output_count++];
        options_set_standard(HOME_OUTPUT, output, &c->memory);
        output->name = keep_text(&c->memory, p->keys[1]);
        return output;
    }
    return c;
}

/* The row whose path is this place, or one below it (`*is_leaf` tells which); NULL when there is
 * none. */
static const struct option *option_at(const struct place *p, bool *is_leaf)
{
    for (size_t i = 0; i < option_count; i++) {
        const char *path = option_table[i].path;
        if (path == NULL || !path_matches(path, p, p->depth))
            continue;
        size_t dots = 0;
        for (const char *c = path; *c != '\0'; c++)
            dots += *c == '.';
        if (dots + 1 < p->depth)
            continue;
        *is_leaf = dots + 1 == p->depth;
        return &option_table[i];
    }
    return NULL;
}

static void walk(struct reading *r, lua_State *L, void *home, struct place *p);

/* One key (at -2) and value (at -1) of a table. */
static void visit(struct reading *r, lua_State *L, void *home, struct place *p)
{
    bool is_leaf = false;
    char sentence[128];
    size_t len;
    if (lua_type(L, -2) != LUA_TSTRING) {
        note_mistake(r, p,
                     p->depth == 0 ? "settings are NAME = VALUE" : "must be { NAME = VALUE, ... }");
        return;
    }
    p->keys[p->depth++] = lua_tolstring(L, -2, &len); /* (1): a string already */
    const struct option *o = strlen(p->keys[p->depth - 1]) == len ? option_at(p, &is_leaf) : NULL;
    if (o == NULL) {
        note_unknown(r, p);
    } else if (is_leaf) {
        read_value(r, L, o, home, p);
    } else if (lua_type(L, -1) != LUA_TTABLE) {
        snprintf(sentence, sizeof sentence, "must be a table { ... }, not %s", type_in_words(L));
        note_mistake(r, p, sentence);
    } else {
        walk(r, L, home_of(r, p), p);
    }
    p->depth--;
}

/* The table on the top of the stack. Depth is bounded by the paths of the table of options, so this
 * recursion is too. */
static void walk(struct reading *r, lua_State *L, void *home, struct place *p)
{
    lua_pushnil(L);
    while (lua_next(L, -2) != 0) {
        visit(r, L, home, p);
        lua_settop(L, -2);
    }
}

/* -- Files -- */

/* "…:LINE: sentence": the sentence, and its line; line 0: it has none. The name before it may be
 * cut and may hold colons. */
static const char *split_message(const char *message, unsigned *line)
{
    for (const char *p = strchr(message, ':'); p != NULL; p = strchr(p + 1, ':')) {
        size_t digits = strspn(p + 1, "0123456789");
        if (digits == 0 || strncmp(p + 1 + digits, ": ", 2) != 0)
            continue;
        *line = (unsigned)strtoul(p + 1, NULL, 10);
        return p + 1 + digits + 2;
    }
    *line = 0;
    return message;
}

/* Is the source refused in the same words when it ends with this place? */
static bool gives_up_at(struct reading *r, lua_State *L, struct located place, const char *sentence)
{
    size_t line_len;
    unsigned line;
    const char *text = locate_text(r->source, r->len, place.line, &line_len);
    size_t len = (size_t)(text - r->source) + place.column - 1 + place.width;
    bool is_same = luaL_loadbufferx(L, r->source, len, "=cut", "t") != 0 &&
                   strcmp(split_message(lua_tolstring(L, -1, NULL), &line), sentence) == 0;
    lua_settop(L, -2);
    return is_same;
}

/* The word that a sentence of Lua means: a global, or what the compiler was at ("'=' expected near
 * 'x'"): of all its places on the line the one that it did not get past. */
static struct located place_of_failure(struct reading *r, lua_State *L, unsigned line,
                                       const char *sentence)
{
    const char *near = strstr(sentence, "near '");
    if (r->word[0] != '\0' || near == NULL)
        return locate_on_line(r->source, r->len, line, r->word, 0);
    snprintf(r->word, sizeof r->word, "%.*s", (int)strlen(near) - 7, near + 6);
    struct located first = locate_on_line(r->source, r->len, line, r->word, 0), place = first;
    for (int i = 0; i < PLACES_MOST && place.column > 0; i++) {
        if (gives_up_at(r, L, place, sentence))
            return place;
        place = locate_on_line(r->source, r->len, line, r->word, place.column);
    }
    return first;
}

static int explain_failure(struct reading *r, lua_State *L, int status, struct error *error)
{
    const char *message =
        lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, NULL) : "the error is no text";
    if (status == LUA_ERRMEM)
        return error_set(error, ERROR_USAGE,
                         "%s: needs more than %d MB: settings are data, not a program", r->file,
                         MEMORY_MOST / 1024 / 1024);
    if (r->len > 0 && r->source[0] == '\033')
        return error_set(error, ERROR_USAGE, "%s: is bytecode, but settings must be text", r->file);
    unsigned line;
    const char *sentence = split_message(message, &line);
    if (line == 0)
        return error_set(error, ERROR_USAGE, "%s", message);
    return refuse(r, place_of_failure(r, L, line, sentence), sentence, error);
}

int settings_read(const char *file, const char *source, size_t len, struct config *config,
                  struct error *error)
{
    struct reading r = {.file = file,
                        .source = source,
                        .len = len,
                        .config = config,
                        .memory_most = MEMORY_MOST,
                        .started = clock()};
    struct place root = {.depth = 0};
    if (len > SOURCE_MOST)
        return error_set(error, ERROR_USAGE, "%s: longer than %d KB: not a settings file", file,
                         SOURCE_MOST / 1024);
    lua_State *L = lua_newstate(limited_alloc, &r);
    if (L == NULL)
        return error_set(error, ERROR_MEMORY, "%s: no memory for Lua", file);
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
    lua_pushcfunction(L, evaluate);
    lua_pushlightuserdata(L, &r);
    int code = 0, status = lua_pcall(L, 1, 1, 0);
    r.memory_most = SIZE_MAX;
    if (status != 0)
        code = explain_failure(&r, L, status, error);
    else if (lua_type(L, -1) != LUA_TTABLE)
        code = refuse(&r, locate(source, len, NULL, 0),
                      "must return a table: return { group = \"shop\", ... }", error);
    else
        walk(&r, L, config, &root);
    lua_close(L);
    if (code == 0 && r.first_place.line != 0)
        code = refuse(&r, r.first_place, r.first.text, error);
    return code;
}

int settings_read_file(const char *file, struct config *config, struct error *error)
{
    int code = 0;
    struct buf source = {0};
    FILE *f = fopen(file, "rb");
    if (f == NULL)
        return error_set(error, ERROR_SYSTEM, "cannot read the settings file %s: %s", file,
                         strerror(errno));
    while (source.len <= SOURCE_MOST) {
        buf_reserve(&source, 65536);
        size_t got = fread(source.data + source.len, 1, 65536, f);
        if (got == 0)
            break;
        source.len += got;
    }
    if (ferror(f))
        code = error_set(error, ERROR_SYSTEM, "cannot read the settings file %s: %s", file,
                         strerror(errno));
    fclose(f);
    if (code == 0)
        code = settings_read(file, buf_text(&source), source.len, config, error);
    buf_fini(&source);
    return code;
}
