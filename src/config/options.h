/* options.h: the one table of options. Flags, settings, environment, help and manual page grow from
 * its rows. */
#ifndef TIDEMILL_CONFIG_OPTIONS_H
#define TIDEMILL_CONFIG_OPTIONS_H

#include "base/arena.h"
#include "base/error.h"
#include "config/command.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The C type of the place at `at`: const char *, int64_t (integers, durations), double
 * (shares), bool, int (choices). */
enum option_type {
    OPTION_TEXT,
    OPTION_PATH, /* in a settings file: relative to the folder of that file */
    OPTION_INTEGER,
    OPTION_DURATION, /* ms, or a text such as 250ms 10s 30m 2h 8d; kept in ms */
    OPTION_SHARE,    /* a number from 0 to 1, such as 0.25 */
    OPTION_SWITCH,   /* a flag without a value; true or false in a file */
    OPTION_CHOICE,   /* one of `choices`; kept as its place among them plus `least` */
};

/* What struct `at` counts from. */
enum option_home { HOME_CONFIG, HOME_STREAM, HOME_OUTPUT };

enum option_section { SECTION_COMMAND, SECTION_COMMON, SECTION_SETTINGS, SECTION_LIMITS };

struct option {
    const char *name;        /* for config_origin_of; unique */
    const char *flag;        /* with its dashes, or NULL */
    const char *environment; /* or NULL */
    const char *path;        /* in the settings file, `*` for any name; or NULL */
    const char *placeholder; /* the value in help: URL, N */
    const char *standard;    /* the default, as text; NULL: none (NULL, 0 or false) */
    const char *choices;     /* "auto|msgpack"; a text may have some too */
    const char *help;        /* one sentence, without its full stop */
    /* Says what a text must look like, or NULL when it does. */
    const char *(*complaint)(const char *text);
    int64_t least, most;
    size_t at;
    uint32_t commands; /* COMMAND_BITs that know the flag */
    enum option_type type;
    enum option_home home;
    enum option_section section;
    bool is_hidden; /* a contract that does not do anything yet: accepted and checked, not shown */
};

extern const struct option option_table[];
extern const size_t option_count;

/* The row of a command's flag; NULL when it has no such flag. */
const struct option *option_by_flag(enum command_id command, const char *flag, size_t len);
const struct option *option_by_name(const char *name);

/* Reads `text` as the option's type into its place in `home`. Strings are copied into `memory`. The
 * error (ERROR_USAGE) is the end of a sentence whose beginning says where: "must be one of text,
 * json, not \"xml\"". */
int option_store(const struct option *option, void *home, const char *text, struct arena *memory,
                 struct error *error);

/* Puts the defaults of all rows of one home into it: of an item of `streams` or `outputs`. */
void options_set_standard(enum option_home home, void *place, struct arena *memory);

/* What a value may be, for people: "1 to 1000", "auto, msgpack or json"; "" when anything goes. */
void option_describe_range(const struct option *option, char *text, size_t size);

/* "250ms", "10s", "30m", "2h", "8d" or a plain number of ms. False when it is none of them or does
 * not fit. */
bool option_parse_duration(const char *text, int64_t *ms);

#endif
