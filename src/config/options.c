/* options.c: see options.h. The rows are in option_table.c. */
#include "config/options.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct option *option_by_flag(enum command_id command, const char *flag, size_t len)
{
    for (size_t i = 0; i < option_count; i++) {
        const struct option *o = &option_table[i];
        if (o->flag != NULL && (o->commands & COMMAND_BIT(command)) != 0 &&
            strlen(o->flag) == len && memcmp(o->flag, flag, len) == 0)
            return o;
    }
    return NULL;
}

const struct option *option_by_name(const char *name)
{
    for (size_t i = 0; i < option_count; i++) {
        if (strcmp(option_table[i].name, name) == 0)
            return &option_table[i];
    }
    return NULL;
}

bool option_parse_duration(const char *text, int64_t *ms)
{
    static const struct {
        const char *name;
        int64_t ms;
    } units[] = {{"", 1},      {"ms", 1},      {"s", 1000},
                 {"m", 60000}, {"h", 3600000}, {"d", 24 * 3600000}};
    char *end;
    if (text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (errno != 0)
        return false;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(end, units[i].name) == 0)
            return !__builtin_mul_overflow((int64_t)number, units[i].ms, ms);
    }
    return false;
}

static bool parse_integer(const char *text, int64_t *number)
{
    char *end;
    if (text[strspn(text, "-0123456789")] != '\0' || text[0] == '\0')
        return false;
    errno = 0;
    *number = strtoll(text, &end, 10);
    return errno == 0 && *end == '\0';
}

static bool parse_share(const char *text, double *share)
{
    char *end;
    if (text[strspn(text, "0123456789.eE-")] != '\0' || text[0] == '\0')
        return false;
    *share = strtod(text, &end);
    return *end == '\0' && *share >= 0 && *share <= 1;
}

static bool parse_switch(const char *text, bool *is_on)
{
    bool is_true = strcmp(text, "true") == 0 || strcmp(text, "1") == 0;
    if (!is_true && strcmp(text, "false") != 0 && strcmp(text, "0") != 0)
        return false;
    *is_on = is_true;
    return true;
}

/* The place of `text` among the choices, or -1. */
static int choice_index(const char *choices, const char *text)
{
    size_t len = strlen(text);
    int index = 0;
    for (const char *p = choices; *p != '\0'; index++) {
        size_t one = strcspn(p, "|");
        if (one == len && memcmp(p, text, len) == 0)
            return index;
        p += one + (p[one] == '|');
    }
    return -1;
}

static void describe_choices(const char *choices, char *text, size_t size)
{
    size_t used = 0;
    for (const char *p = choices; *p != '\0' && used < size;) {
        size_t one = strcspn(p, "|");
        bool is_last = p[one] == '\0', is_first = p == choices;
        used += (size_t)snprintf(text + used, size - used, "%s%.*s",
                                 is_first  ? ""
                                 : is_last ? " or "
                                           : ", ",
                                 (int)one, p);
        p += one + !is_last;
    }
}

void option_describe_range(const struct option *option, char *text, size_t size)
{
    const char *unit = option->type == OPTION_DURATION ? " ms" : "";
    text[0] = '\0';
    if (option->choices != NULL)
        describe_choices(option->choices, text, size);
    else if (option->type == OPTION_SWITCH)
        snprintf(text, size, "true or false");
    else if (option->type == OPTION_SHARE)
        snprintf(text, size, "0 to 1");
    else if (option->type != OPTION_INTEGER && option->type != OPTION_DURATION)
        return;
    else if (option->most == INT64_MAX)
        snprintf(text, size, "%" PRId64 " or more%s", option->least, unit);
    else
        snprintf(text, size, "%" PRId64 " to %" PRId64 "%s", option->least, option->most, unit);
}

static const char *copy_text(const char *text, struct arena *memory)
{
    size_t size = strlen(text) + 1;
    return memcpy(arena_alloc(memory, size), text, size);
}

static int store_number(const struct option *option, void *place, const char *text,
                        struct error *error)
{
    int64_t number;
    char range[128];
    option_describe_range(option, range, sizeof range);
    if (option->type == OPTION_DURATION && !option_parse_duration(text, &number))
        return error_set(error, ERROR_USAGE,
                         "must be a time such as 250ms, 10s, 30m or 8d (%s), not \"%s\"", range,
                         text);
    if (option->type == OPTION_INTEGER && !parse_integer(text, &number))
        return error_set(error, ERROR_USAGE, "must be a whole number (%s), not \"%s\"", range,
                         text);
    if (number < option->least || number > option->most)
        return error_set(error, ERROR_USAGE, "must be %s, not %s", range, text);
    *(int64_t *)place = number;
    return 0;
}

int option_store(const struct option *option, void *home, const char *text, struct arena *memory,
                 struct error *error)
{
    void *place = (char *)home + option->at;
    char range[512];
    const char *complaint = option->complaint == NULL ? NULL : option->complaint(text);
    if (complaint != NULL)
        return error_set(error, ERROR_USAGE, "%s, not \"%s\"", complaint, text);
    int choice = option->choices == NULL ? 0 : choice_index(option->choices, text);
    option_describe_range(option, range, sizeof range);
    if (choice < 0)
        return error_set(error, ERROR_USAGE, "must be %s, not \"%s\"", range, text);
    switch (option->type) {
    case OPTION_TEXT:
    case OPTION_PATH:
        *(const char **)place = copy_text(text, memory);
        return 0;
    case OPTION_INTEGER:
    case OPTION_DURATION:
        return store_number(option, place, text, error);
    case OPTION_SHARE:
        if (!parse_share(text, place))
            return error_set(error, ERROR_USAGE,
                             "must be a number from 0 (none) to 1 (all) such as 0.05, not %s",
                             text);
        return 0;
    case OPTION_SWITCH:
        if (!parse_switch(text, place))
            return error_set(error, ERROR_USAGE, "must be true or false, not \"%s\"", text);
        return 0;
    case OPTION_CHOICE:
        *(int *)place = choice + (int)option->least;
        return 0;
    }
    return 0;
}

void options_set_standard(enum option_home home, void *place, struct arena *memory)
{
    for (size_t i = 0; i < option_count; i++) {
        if (option_table[i].home != home || option_table[i].standard == NULL)
            continue;
        int code = option_store(&option_table[i], place, option_table[i].standard, memory, NULL);
        assert(code == 0);
    }
}
