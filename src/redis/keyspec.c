/* keyspec.c: reads specifications, and walks arguments by them.
 *
 * Where Redis' own parser takes the last of several keywords (SORT … STORE a STORE b) its
 * specification names the first one; we take the keys behind all of them, so that none slips
 * through. */
#include "redis/keyspec.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Of COMMAND's rows. */
enum {
    ROW_NAME,
    ROW_ARITY,
    ROW_FLAGS,
    ROW_FIRST,
    ROW_LAST,
    ROW_STEP,
    ROW_ACL,
    ROW_TIPS,
    ROW_SPECS
};

#define FIRST(written)                                                                             \
    {                                                                                              \
        .begin = KEYSPEC_INDEX, .index = 1, .find = KEYSPEC_RANGE, .step = 1,                      \
        .is_written = written                                                                      \
    }
#define BEHIND(word, from)                                                                         \
    {                                                                                              \
        .begin = KEYSPEC_KEYWORD, .keyword = word, .index = from, .find = KEYSPEC_RANGE,           \
        .step = 1, .is_written = true                                                              \
    }
#define COUNTED(at)                                                                                \
    {                                                                                              \
        .begin = KEYSPEC_INDEX, .index = at, .find = KEYSPEC_KEYNUM, .number_index = 0,            \
        .first = 1, .step = 1                                                                      \
    }

/* Commands whose keys move with their arguments and which Redis 6.2 (all) or 7 (SORT) does not
 * specify. A row here wins. */
static const struct {
    const char *name;
    int count;
    struct keyspec specs[3];
} by_hand[] = {
    {"sort", 2, {FIRST(false), BEHIND("STORE", 2)}},
    {"sort_ro", 1, {FIRST(false)}},
    {"georadius", 3, {FIRST(false), BEHIND("STORE", 6), BEHIND("STOREDIST", 6)}},
    {"georadiusbymember", 3, {FIRST(false), BEHIND("STORE", 5), BEHIND("STOREDIST", 5)}},
    {"zunionstore", 2, {FIRST(true), COUNTED(2)}},
    {"zinterstore", 2, {FIRST(true), COUNTED(2)}},
    {"zdiffstore", 2, {FIRST(true), COUNTED(2)}},
    {"zunion", 1, {COUNTED(1)}},
    {"zinter", 1, {COUNTED(1)}},
    {"zdiff", 1, {COUNTED(1)}},
};

static const struct keyspec unknown_spec = {
    .begin = KEYSPEC_BEGIN_UNKNOWN, .find = KEYSPEC_FIND_UNKNOWN, .is_written = true};

static bool has_text(const struct reply *array, const char *text)
{
    for (uint32_t i = 0; array->type == REPLY_ARRAY && i < array->count; i++)
        if (reply_is_text(array->elements[i], text))
            return true;
    return false;
}

static int number_field(const struct reply *map, const char *name)
{
    const struct reply *value = reply_field(map, name);
    return value != NULL ? (int)reply_number(value, 0) : 0;
}

static const char *copy_text(const struct reply *text, struct arena *arena)
{
    return memcpy(arena_alloc(arena, text->len + 1), text->text, text->len + 1);
}

/* begin_search: where to start. */
static void read_begin(const struct reply *begin, struct keyspec *spec, struct arena *arena)
{
    const struct reply *type = reply_field(begin, "type"), *how = reply_field(begin, "spec");
    if (type == NULL || how == NULL)
        return;
    if (reply_is_text(type, "index")) {
        spec->begin = KEYSPEC_INDEX;
        spec->index = number_field(how, "index");
    } else if (reply_is_text(type, "keyword")) {
        const struct reply *keyword = reply_field(how, "keyword");
        if (keyword == NULL || (keyword->type != REPLY_STRING && keyword->type != REPLY_STATUS))
            return;
        spec->begin = KEYSPEC_KEYWORD;
        spec->keyword = copy_text(keyword, arena);
        spec->index = number_field(how, "startfrom");
    }
}

/* find_keys: which arguments from there on. */
static void read_find(const struct reply *find, struct keyspec *spec)
{
    const struct reply *type = reply_field(find, "type"), *how = reply_field(find, "spec");
    if (type == NULL || how == NULL)
        return;
    spec->step = number_field(how, "keystep");
    if (reply_is_text(type, "range")) {
        spec->find = KEYSPEC_RANGE;
        spec->last = number_field(how, "lastkey");
        spec->limit = number_field(how, "limit");
    } else if (reply_is_text(type, "keynum")) {
        spec->find = KEYSPEC_KEYNUM;
        spec->number_index = number_field(how, "keynumidx");
        spec->first = number_field(how, "firstkey");
    }
}

/* Redis 7; false when the row says that these are no keys (a channel, for example). */
static bool read_spec(const struct reply *row, struct keyspec *spec, struct arena *arena)
{
    *spec = unknown_spec;
    const struct reply *flags = reply_field(row, "flags");
    const struct reply *begin = reply_field(row, "begin_search"),
                       *find = reply_field(row, "find_keys");
    if (flags == NULL || begin == NULL || find == NULL)
        return true;
    spec->is_written = !has_text(flags, "RO");
    read_begin(begin, spec, arena);
    read_find(find, spec);
    if (has_text(flags, "incomplete"))
        *spec = unknown_spec;
    return !has_text(flags, "not_key");
}

static struct keyspecs specs_of_redis_7(const struct reply *rows, struct arena *arena)
{
    struct keyspec *list = arena_alloc(arena, (rows->count + 1) * sizeof *list);
    struct keyspecs specs = {.list = list};
    for (uint32_t i = 0; i < rows->count; i++)
        if (read_spec(rows->elements[i], &list[specs.count], arena))
            specs.count++;
    return specs;
}

/* Redis 6.2 does not say which keys a command writes, so all of them. */
static struct keyspecs specs_of_redis_6(const struct reply *row, struct arena *arena)
{
    int first = (int)reply_number(row->elements[ROW_FIRST], 0);
    int last = (int)reply_number(row->elements[ROW_LAST], 0);
    bool is_movable = has_text(row->elements[ROW_FLAGS], "movablekeys");
    if (first <= 0 && !is_movable)
        return (struct keyspecs){0};
    struct keyspec *spec = arena_alloc(arena, sizeof *spec);
    *spec = unknown_spec;
    if (!is_movable) {
        spec->begin = KEYSPEC_INDEX;
        spec->index = first;
        spec->find = KEYSPEC_RANGE;
        spec->last = last >= 0 ? last - first : last;
        spec->step = (int)reply_number(row->elements[ROW_STEP], 1);
    }
    return (struct keyspecs){spec, 1};
}

struct keyspecs keyspecs_of_row(const struct reply *row, struct arena *arena)
{
    for (size_t i = 0; i < sizeof by_hand / sizeof *by_hand; i++)
        if (strcasecmp(row->elements[ROW_NAME]->text, by_hand[i].name) == 0)
            return (struct keyspecs){by_hand[i].specs, by_hand[i].count};
    if (row->count > ROW_SPECS && row->elements[ROW_SPECS]->type == REPLY_ARRAY)
        return specs_of_redis_7(row->elements[ROW_SPECS], arena);
    return specs_of_redis_6(row, arena);
}

static void add_place(struct key_places *places, int at, bool is_written)
{
    if (places->count == places->room) {
        places->room = places->room > 0 ? places->room * 2 : 8;
        places->list = realloc(places->list, (size_t)places->room * sizeof *places->list);
        if (places->list == NULL)
            abort();
    }
    places->list[places->count++] = (struct key_place){at, is_written};
}

/* The number of keys that argument `at` tells, or -1. */
static int parse_key_count(const char *text, size_t len)
{
    int count = 0;
    if (len == 0 || len > 7)
        return -1;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -1;
        count = count * 10 + (text[i] - '0');
    }
    return count;
}

/* The keys from argument `begin` on. 64 bits: the numbers come from outside and may be anything. */
static int find_from(const struct keyspec *spec, int64_t begin, int argc, const char *const *argv,
                     const size_t *lens, struct key_places *places, struct error *error)
{
    int64_t first = begin, last, step = spec->step > 0 ? spec->step : 1;
    if (spec->find == KEYSPEC_RANGE) {
        int64_t end = spec->limit > 1 ? first + (argc - first) / spec->limit : argc;
        last = spec->last >= 0 ? first + spec->last : end + spec->last;
    } else {
        int64_t at = begin + spec->number_index;
        int count = at > 0 && at < argc ? parse_key_count(argv[at], lens[at]) : -1;
        if (count < 0)
            return error_set(error, ERROR_RULE,
                             "argument %lld is not the number of keys that it should be",
                             (long long)at);
        first = begin + spec->first;
        last = first + (count - 1) * step;
    }
    if (first < 1 || last >= argc)
        return error_set(error, ERROR_RULE, "it has fewer arguments than its keys need");
    for (int64_t at = first; at <= last; at += step)
        add_place(places, (int)at, spec->is_written);
    return 0;
}

static bool is_word(const char *text, size_t len, const char *word)
{
    return len == strlen(word) && strncasecmp(text, word, len) == 0;
}

int keyspec_find_keys(const struct keyspec *spec, int argc, const char *const *argv,
                      const size_t *lens, struct key_places *places, struct error *error)
{
    if (spec->begin == KEYSPEC_BEGIN_UNKNOWN || spec->find == KEYSPEC_FIND_UNKNOWN)
        return error_set(error, ERROR_RULE, "which of its arguments are keys cannot be told");
    if (spec->begin == KEYSPEC_INDEX)
        return find_from(spec, spec->index, argc, argv, lens, places, error);
    int from = spec->index >= 0 ? spec->index : 1;
    for (int i = from; i + 1 < argc; i++) {
        int code = is_word(argv[i], lens[i], spec->keyword)
                       ? find_from(spec, i + 1, argc, argv, lens, places, error)
                       : 0;
        if (code != 0)
            return code;
    }
    return 0;
}
