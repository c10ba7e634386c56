/* config.c: see config.h. The order of the layers is the order of load(): defaults, file,
 * environment, flags; each overwrites what is below it. Flags are read first all the same, since
 * one of them names the file. */
#include "config/config.h"

#include "base/nearest.h"
#include "config/options.h"
#include "config/runtime_dir.h"
#include "config/settings.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What stands on the command line, by row of the table of options; NULL: not there. */
struct flags {
    const char *values[CONFIG_OPTIONS_MOST];
};

/* -- Flags -- */

static int unknown_flag(const struct command *command, const char *flag, size_t len,
                        struct error *error)
{
    char word[64];
    struct nearest known;
    enum command_id id = command_id_of(command);
    snprintf(word, sizeof word, "%.*s", (int)len, flag);
    nearest_init(&known, word);
    for (size_t i = 0; i < option_count; i++) {
        if (option_table[i].flag != NULL && (option_table[i].commands & COMMAND_BIT(id)) != 0)
            nearest_offer(&known, option_table[i].flag);
    }
    if (known.name != NULL)
        return error_set(error, ERROR_USAGE, "%s has no flag %s; did you mean %s?", command->name,
                         word, known.name);
    for (size_t i = 0; i < option_count; i++) {
        if (option_table[i].flag == NULL && option_table[i].path != NULL &&
            strcmp(option_table[i].name, word + strspn(word, "-")) == 0)
            return error_set(error, ERROR_USAGE,
                             "%s is no flag but a setting: %s = ... in tidemill.lua", word,
                             option_table[i].path);
    }
    return error_set(error, ERROR_USAGE, "%s has no flag %s; see tidemill %s --help", command->name,
                     word, command->name);
}

/* A word that begins with `-` is a flag; "-" alone (standard input) and what looks like a number
 * are not. */
static bool is_flag(const char *word)
{
    return word[0] == '-' && word[1] != '\0' && strspn(word + 1, "0123456789.") == 0;
}

/* Moves the positional arguments to the front of argv. */
static int read_flags(const struct command *command, int *argc, char **argv, struct flags *flags,
                      struct error *error)
{
    int kept = 0;
    bool is_over = false; /* behind `--` nothing is a flag */
    for (int i = 0; i < *argc; i++) {
        const char *word = argv[i];
        if (!is_over && strcmp(word, "--") == 0) {
            is_over = true;
            continue;
        }
        if (is_over || !is_flag(word)) {
            argv[kept++] = argv[i];
            continue;
        }
        if (strcmp(word, "-h") == 0)
            word = "--help";
        size_t len = strcspn(word, "=");
        const struct option *o = option_by_flag(command_id_of(command), word, len);
        if (o == NULL)
            return unknown_flag(command, word, len, error);
        const char *value = word[len] == '=' ? word + len + 1 : NULL;
        if (value == NULL && o->type == OPTION_SWITCH)
            value = "true";
        if (value == NULL && i + 1 >= *argc)
            return error_set(error, ERROR_USAGE, "%s needs a value: %s %s", o->flag, o->flag,
                             o->placeholder);
        flags->values[o - option_table] = value != NULL ? value : argv[++i];
    }
    *argc = kept;
    return 0;
}

static int check_count(const struct command *command, int argc, char **argv, struct error *error)
{
    if (argc > command->arguments_most)
        return error_set(error, ERROR_USAGE,
                         "%s does not know what to do with \"%s\"; see tidemill %s --help",
                         command->name, argv[command->arguments_most], command->name);
    if (argc < command->arguments_least)
        return error_set(error, ERROR_USAGE, "%s needs more: tidemill %s %.*s", command->name,
                         command->name, (int)strcspn(command->usage, "\n"), command->usage);
    return 0;
}

/* -- Layers -- */

/* `where` begins the sentence of an error: "--count", "the environment's TIDEMILL_GROUP". */
static int store_from(const struct option *o, const char *text, enum config_origin origin,
                      const char *where, struct config *config, struct error *error)
{
    struct error why;
    if (option_store(o, config, text, &config->memory, &why) != 0)
        return error_set(error, why.code, "%s %s", where, why.text);
    config->origins[o - option_table] = (uint8_t)origin;
    return 0;
}

/* An empty variable is as good as none: that is how one is switched off for a single command. */
static const char *environment_of(const struct option *o)
{
    const char *text = o->environment == NULL ? NULL : getenv(o->environment);
    return text == NULL || text[0] == '\0' ? NULL : text;
}

static int apply_environment(enum command_id id, struct config *config, struct error *error)
{
    for (size_t i = 0; i < option_count; i++) {
        char where[96];
        const char *text = environment_of(&option_table[i]);
        if (text == NULL || (option_table[i].commands & COMMAND_BIT(id)) == 0)
            continue;
        snprintf(where, sizeof where, "the environment's %s", option_table[i].environment);
        int code = store_from(&option_table[i], text, ORIGIN_ENVIRONMENT, where, config, error);
        if (code != 0)
            return code;
    }
    return 0;
}

static int apply_flags(const struct flags *flags, struct config *config, struct error *error)
{
    for (size_t i = 0; i < option_count; i++) {
        if (flags->values[i] == NULL)
            continue;
        int code = store_from(&option_table[i], flags->values[i], ORIGIN_FLAG, option_table[i].flag,
                              config, error);
        if (code != 0)
            return code;
    }
    return 0;
}

/* The settings file of who names none. `test DIR` takes that of the project that is tested, if it
 * has one. */
static const char *standard_file(enum command_id id, int argc, char **argv, char *room, size_t size)
{
    if (id == COMMAND_TEST && argc > 0) {
        int len = snprintf(room, size, "%s/tidemill.lua", argv[0]);
        if (len > 0 && (size_t)len < size && access(room, F_OK) == 0)
            return room;
    }
    return "tidemill.lua";
}

/* `standard`: see standard_file. */
static int apply_file(const struct flags *flags, const char *standard, struct config *config,
                      struct error *error)
{
    const struct option *row = option_by_name("config");
    const char *name = flags->values[row - option_table];
    if (name == NULL)
        name = environment_of(row);
    if (name == NULL && access(standard, F_OK) != 0)
        return 0;
    if (name == NULL)
        name = standard;
    int code = settings_read_file(name, config, error);
    if (code == 0)
        code = option_store(row, config, name, &config->memory, error);
    return code;
}

/* -- What no row can say alone -- */

static int check_whole(enum command_id id, const struct config *c, struct error *error)
{
    int64_t lease_least = CONFIG_LEASE_PER_HARD * c->limits.hard_ms;
    if (c->lease_ms < lease_least)
        return error_set(error, ERROR_USAGE,
                         "%s%slease_ms is %" PRId64
                         ", but must be at least %d times limits.hard_ms (%" PRId64 "): %" PRId64
                         ", so that a rule that is stuck is stopped before the lease runs out",
                         c->file == NULL ? "" : c->file, c->file == NULL ? "" : ": ", c->lease_ms,
                         CONFIG_LEASE_PER_HARD, c->limits.hard_ms, lease_least);
    if (id == COMMAND_RUN && strcmp(c->http, "off") != 0)
        return error_set(
            error, ERROR_SYSTEM,
            "http is %s, but this version does not serve HTTP; leave it out or say off", c->http);
    return 0;
}

static void choose_control(enum command_id id, struct config *c)
{
    char path[4096];
    if (c->control != NULL)
        return;
    runtime_dir_choose(getenv("XDG_RUNTIME_DIR"), geteuid(), c->group, id != COMMAND_RUN, path,
                       sizeof path);
    size_t size = strlen(path) + 1;
    c->control = memcpy(arena_alloc(&c->memory, size), path, size);
}

/* Defaults of rows of other commands must not meet ours: tail's --count has none, dlq's is 100. */
static void set_defaults(enum command_id id, struct config *config)
{
    for (size_t i = 0; i < option_count; i++) {
        const struct option *o = &option_table[i];
        bool is_ours = o->path != NULL || (o->commands & COMMAND_BIT(id)) != 0;
        if (o->home != HOME_CONFIG || o->standard == NULL || !is_ours)
            continue;
        int code = option_store(o, config, o->standard, &config->memory, NULL);
        assert(code == 0);
    }
}

static bool is_set(const struct flags *flags, const char *name)
{
    const char *value = flags->values[option_by_name(name) - option_table];
    return value != NULL && strcmp(value, "true") == 0;
}

/* How a mistake of the layers below is shown must be known before one is found. */
static void choose_showing(const struct flags *flags, struct config *config)
{
    const char *format = flags->values[option_by_name("check_format") - option_table];
    config->check.format = format != NULL && strcmp(format, "json") == 0 ? CHECK_JSON : CHECK_TEXT;
}

int config_load(const struct command *command, int *argc, char **argv, struct config *config,
                struct error *error)
{
    struct flags flags = {{NULL}};
    enum command_id id = command_id_of(command);
    char room[4096];
    int code;
    *config = (struct config){0};
    set_defaults(id, config);
    if ((code = read_flags(command, argc, argv, &flags, error)) != 0)
        return code;
    choose_showing(&flags, config);
    config->wants_help = is_set(&flags, "help");
    config->wants_version = is_set(&flags, "version");
    if (config->wants_help || config->wants_version)
        return 0;
    if ((code = check_count(command, *argc, argv, error)) != 0 ||
        (code = apply_file(&flags, standard_file(id, *argc, argv, room, sizeof room), config,
                           error)) != 0 ||
        (code = apply_environment(id, config, error)) != 0 ||
        (code = apply_flags(&flags, config, error)) != 0 ||
        (code = check_whole(id, config, error)) != 0)
        return code;
    choose_control(id, config);
    return 0;
}

void config_fini(struct config *config)
{
    arena_fini(&config->memory);
    *config = (struct config){0};
}

enum config_origin config_origin_of(const struct config *config, const char *name)
{
    const struct option *o = option_by_name(name);
    assert(o != NULL);
    return (enum config_origin)config->origins[o - option_table];
}

static bool is_name(const char *known, const char *name, size_t len)
{
    return strlen(known) == len && memcmp(known, name, len) == 0;
}

int config_stream_codec(const struct config *config, const char *name, size_t len)
{
    for (size_t i = 0; i < config->stream_count; i++) {
        if (is_name(config->streams[i].name, name, len))
            return config->streams[i].codec;
    }
    return CODEC_AUTO;
}

const struct config_output *config_output_of(const struct config *config, const char *name,
                                             size_t len)
{
    for (size_t i = 0; i < config->output_count; i++) {
        if (is_name(config->outputs[i].name, name, len))
            return &config->outputs[i];
    }
    return NULL;
}
