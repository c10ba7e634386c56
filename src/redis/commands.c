/* commands.c: a hash table of commands by lower-case name ("get", "xinfo|stream"), and the policy
 * over it.
 *
 * A check goes down a list of questions, each a function that refuses with a sentence: is it known,
 * is it refused by name, do its flags allow it, is the number of arguments right, are its keys ours
 * to touch. */
#include "redis/commands.h"

#include <assert.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { NAME_MOST = 96 };

enum flags {
    FLAG_READONLY = 1 << 0,
    FLAG_WRITE = 1 << 1,
    FLAG_ADMIN = 1 << 2,
    FLAG_BLOCKING = 1 << 3,
    FLAG_NOSCRIPT = 1 << 4,
    FLAG_PUBSUB = 1 << 5,
};

struct entry {
    const char *name; /* lower case; NULL: this slot is free */
    int arity;        /* Redis' way: n exactly, -n at least, the name counted */
    unsigned flags;
    bool is_container; /* its second word names the command */
    struct keyspecs specs;
};

struct commands {
    struct arena arena; /* names and specs */
    struct entry *slots;
    size_t slot_count; /* a power of two, at most half full */
    size_t used;
};

/* ---- the words of the policy ---- */

static const struct {
    const char *name;
    unsigned flag;
} flag_words[] = {
    {"readonly", FLAG_READONLY}, {"write", FLAG_WRITE},       {"admin", FLAG_ADMIN},
    {"blocking", FLAG_BLOCKING}, {"noscript", FLAG_NOSCRIPT}, {"pubsub", FLAG_PUBSUB},
};

/* Commands that Redis flags as harmless and that are not, to an engine and its neighbours. */
static const struct {
    const char *name, *why;
} refused_words[] = {
    {"flushall", "it would delete the data of everyone on this Redis; delete the keys you mean "
                 "with DEL or UNLINK"},
    {"flushdb", "it would delete the data of everyone in this database; delete the keys you mean "
                "with DEL or UNLINK"},
    {"swapdb", "it would pull the database away from under everyone; write the keys you mean"},
    {"migrate", "it takes keys away to another server; write the keys you mean"},
    {"move", "it takes keys away to another database; write the keys you mean"},
    {"keys",
     "it walks all keys while everyone waits; keep a set of the names you need, or use SCAN"},
    {"xread", "reading streams is the engine's part: name the stream in the rule's 'stream', or "
              "look back with XRANGE"},
    {"xreadgroup", "reading streams is the engine's part: name the stream in the rule's 'stream'"},
    {"xack", "the engine keeps the position itself; there is nothing to acknowledge"},
    {"xgroup",
     "the engine keeps consumer groups itself; change them with redis-cli while it is stopped"},
    {"xsetid",
     "it changes a stream's last ID, and so the engine's position; write entries with XADD"},
};

/* Containers that Redis 6.2 describes as one command: what is known of them by hand. */
static const struct {
    const char *name;
    int arity;
} subcommands_of_6[] = {
    {"xinfo|stream", -3}, {"xinfo|groups", 3},    {"xinfo|consumers", 4}, {"object|encoding", 3},
    {"object|freq", 3},   {"object|idletime", 3}, {"object|refcount", 3},
};
static const char *const containers_of_6[] = {"xinfo", "object", "memory", "stralgo"};

static const struct keyspec second_argument = {
    .begin = KEYSPEC_INDEX, .index = 2, .find = KEYSPEC_RANGE, .step = 1};

/* ---- the table ---- */

static size_t slot_of(const struct commands *c, const char *name)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (; *name != '\0'; name++)
        hash = (hash ^ (unsigned char)*name) * 16777619u;
    return hash & (c->slot_count - 1);
}

static struct entry *find_entry(const struct commands *c, const char *name)
{
    size_t at = slot_of(c, name);
    while (c->slots[at].name != NULL && strcmp(c->slots[at].name, name) != 0)
        at = (at + 1) & (c->slot_count - 1);
    return &c->slots[at];
}

/* Room for one more, by doubling when half full. */
static void grow(struct commands *c)
{
    if (c->used * 2 < c->slot_count)
        return;
    struct commands old = *c;
    c->slot_count = old.slot_count > 0 ? old.slot_count * 2 : 1024;
    c->slots = calloc(c->slot_count, sizeof *c->slots);
    if (c->slots == NULL)
        abort();
    for (size_t i = 0; i < old.slot_count; i++)
        if (old.slots[i].name != NULL)
            *find_entry(c, old.slots[i].name) = old.slots[i];
    free(old.slots);
}

static void add_entry(struct commands *c, struct entry entry)
{
    grow(c);
    struct entry *slot = find_entry(c, entry.name);
    if (slot->name == NULL)
        c->used++;
    *slot = entry;
}

static const char *lower_name(const struct reply *name, struct arena *arena)
{
    char *copy = arena_alloc(arena, name->len + 1);
    for (size_t i = 0; i <= name->len; i++)
        copy[i] = (char)tolower((unsigned char)name->text[i]);
    return copy;
}

static unsigned read_flags(const struct reply *words)
{
    unsigned flags = 0;
    for (uint32_t i = 0; i < words->count; i++)
        for (size_t k = 0; k < sizeof flag_words / sizeof *flag_words; k++)
            if (reply_is_text(words->elements[i], flag_words[k].name))
                flags |= flag_words[k].flag;
    return flags;
}

/* name, arity, flags, first key, last key, step, ACL categories [, tips, key specifications,
 * subcommands] */
static bool is_row(const struct reply *row)
{
    return row->type == REPLY_ARRAY && row->count >= 6 && row->elements[0]->type == REPLY_STRING &&
           row->elements[1]->type == REPLY_INTEGER && row->elements[2]->type == REPLY_ARRAY;
}

static void add_subcommands_of_6(struct commands *c, struct entry *container)
{
    size_t len = strlen(container->name);
    bool is_container = false;
    for (size_t i = 0; i < sizeof containers_of_6 / sizeof *containers_of_6; i++)
        is_container = is_container || strcmp(container->name, containers_of_6[i]) == 0;
    if (!is_container)
        return;
    container->is_container = true;
    for (size_t i = 0; i < sizeof subcommands_of_6 / sizeof *subcommands_of_6; i++)
        if (strncmp(subcommands_of_6[i].name, container->name, len) == 0 &&
            subcommands_of_6[i].name[len] == '|')
            add_entry(c, (struct entry){.name = subcommands_of_6[i].name,
                                        .arity = subcommands_of_6[i].arity,
                                        .flags = FLAG_READONLY,
                                        .specs = {&second_argument, 1}});
}

static bool add_row(struct commands *c, const struct reply *row)
{
    if (!is_row(row))
        return false;
    struct entry entry = {
        .name = lower_name(row->elements[0], &c->arena),
        .arity = (int)row->elements[1]->integer,
        .flags = read_flags(row->elements[2]),
        .specs = keyspecs_of_row(row, &c->arena),
    };
    const struct reply *subcommands = row->count > 9 ? row->elements[9] : NULL;
    if (subcommands == NULL)
        add_subcommands_of_6(c, &entry);
    else if (subcommands->type == REPLY_ARRAY && subcommands->count > 0) {
        entry.is_container = true;
        for (uint32_t i = 0; i < subcommands->count; i++)
            if (!add_row(c, subcommands->elements[i]))
                return false;
    }
    add_entry(c, entry);
    return true;
}

int commands_load(const struct reply *reply, struct commands **out, struct error *error)
{
    if (reply->type == REPLY_ERROR)
        return error_set(error, ERROR_FORMAT, "Redis answers COMMAND with an error: %.400s",
                         reply->text);
    struct commands *c = calloc(1, sizeof *c);
    if (c == NULL)
        abort();
    bool is_good = reply->type == REPLY_ARRAY && reply->count > 0;
    for (uint32_t i = 0; is_good && i < reply->count; i++)
        is_good = add_row(c, reply->elements[i]);
    if (!is_good) {
        commands_destroy(c);
        return error_set(
            error, ERROR_FORMAT,
            "the reply to COMMAND is not the list of commands that Redis 6.2 or newer gives");
    }
    *out = c;
    return 0;
}

void commands_destroy(struct commands *c)
{
    if (c == NULL)
        return;
    arena_fini(&c->arena);
    free(c->slots);
    free(c);
}

size_t commands_count(const struct commands *c)
{
    return c->used;
}

/* ---- a check ---- */

/* Lower-cases "XINFO" or "XINFO", "STREAM" into name; what cannot be a command's name becomes one
 * that does not exist. */
static void put_name(char name[NAME_MOST], const char *const *argv, const size_t *lens, int words)
{
    size_t len = 0;
    for (int i = 0; i < words; i++) {
        if (i > 0 && len + 1 < NAME_MOST)
            name[len++] = '|';
        for (size_t k = 0; k < lens[i] && len + 1 < NAME_MOST; k++)
            name[len++] = isgraph((unsigned char)argv[i][k]) && argv[i][k] != '|'
                              ? (char)tolower((unsigned char)argv[i][k])
                              : '?';
    }
    name[len] = '\0';
}

/* "xinfo|stream" -> "XINFO STREAM": how people write it. */
static const char *shown(const char *name, char text[NAME_MOST])
{
    size_t i = 0;
    for (; name[i] != '\0' && i + 1 < NAME_MOST; i++)
        text[i] = name[i] == '|' ? ' ' : (char)toupper((unsigned char)name[i]);
    text[i] = '\0';
    return text;
}

static int refuse(struct error *error, const char *name, const char *why)
{
    char text[NAME_MOST];
    return error_set(error, ERROR_RULE, "%s is refused: %s", shown(name, text), why);
}

static int refuse_by_name(const char *name, struct error *error)
{
    for (size_t i = 0; i < sizeof refused_words / sizeof *refused_words; i++)
        if (strcmp(name, refused_words[i].name) == 0)
            return refuse(error, name, refused_words[i].why);
    return 0;
}

static int find_command(const struct commands *c, int argc, const char *const *argv,
                        const size_t *lens, const struct entry **found, struct error *error)
{
    char name[NAME_MOST], text[NAME_MOST];
    put_name(name, argv, lens, 1);
    int code = refuse_by_name(name, error);
    if (code != 0)
        return code;
    const struct entry *e = find_entry(c, name);
    if (e->name == NULL)
        return error_set(
            error, ERROR_RULE,
            "this Redis knows no command %s; see its spelling and the version of Redis",
            shown(name, text));
    if (e->is_container) {
        if (argc < 2)
            return error_set(error, ERROR_RULE, "%s needs a subcommand as its first argument",
                             shown(name, text));
        put_name(name, argv, lens, 2);
        e = find_entry(c, name);
        if (e->name == NULL)
            return error_set(error, ERROR_RULE,
                             "%s is not a subcommand that rules may use; see its spelling",
                             shown(name, text));
    }
    *found = e;
    return 0;
}

static int check_flags(const struct entry *e, struct error *error)
{
    if (strcmp(e->name, "publish") == 0)
        return 0;
    if (e->flags & FLAG_BLOCKING)
        return refuse(
            error, e->name,
            "it waits on the connection that all rules share; use the command without waiting");
    if (e->flags & FLAG_ADMIN)
        return refuse(
            error, e->name,
            "it administers the server, and rules only read and write data; use redis-cli");
    if (e->flags & FLAG_PUBSUB)
        return refuse(error, e->name, "of publish and subscribe, rules may only use PUBLISH");
    if (e->flags & FLAG_NOSCRIPT)
        return refuse(
            error, e->name,
            "Redis does not allow it in scripts, nor do we in rules; put the work into the rule");
    if (!(e->flags & (FLAG_READONLY | FLAG_WRITE)))
        return refuse(error, e->name,
                      "it neither reads nor writes keys; rules only read and write data");
    return 0;
}

static int check_arity(const struct entry *e, int argc, struct error *error)
{
    char text[NAME_MOST];
    int words =
        strchr(e->name, '|') != NULL ? 2 : 1; /* of the name, which nobody counts as arguments */
    int least = (e->arity < 0 ? -e->arity : e->arity) - words;
    if (e->arity >= 0 ? argc == e->arity : argc >= -e->arity)
        return 0;
    return error_set(error, ERROR_RULE, "%s takes %s %d argument%s, but got %d",
                     shown(e->name, text), e->arity < 0 ? "at least" : "exactly", least,
                     least == 1 ? "" : "s", argc - words);
}

static const char engine_prefix[] = "tidemill:";
enum { ENGINE_PREFIX_LEN = sizeof engine_prefix - 1 };

static bool is_engine_key(const char *key, size_t len)
{
    return len >= ENGINE_PREFIX_LEN && memcmp(key, engine_prefix, ENGINE_PREFIX_LEN) == 0;
}

/* May a pattern of SORT's BY or GET become an engine key when its first '*' is replaced? */
static bool is_engine_pattern(const char *pattern, size_t len)
{
    const char *star = memchr(pattern, '*', len);
    if (star == NULL)
        return false; /* then Redis looks at no key */
    size_t literal = (size_t)(star - pattern);
    return memcmp(pattern, engine_prefix,
                  literal < ENGINE_PREFIX_LEN ? literal : ENGINE_PREFIX_LEN) == 0;
}

static int check_sort_patterns(const struct entry *e, int argc, const char *const *argv,
                               const size_t *lens, struct commands_verdict *verdict,
                               struct error *error)
{
    if (strcmp(e->name, "sort") != 0 && strcmp(e->name, "sort_ro") != 0)
        return 0;
    for (int i = 2; i + 1 < argc; i++) {
        bool is_by = lens[i] == 2 && strncasecmp(argv[i], "BY", 2) == 0;
        bool is_get = lens[i] == 3 && strncasecmp(argv[i], "GET", 3) == 0;
        if (!is_by && !is_get)
            continue;
        if (is_engine_pattern(argv[i + 1], lens[i + 1]))
            return refuse(error, e->name,
                          "its pattern could reach the engine's own keys; begin it with the words "
                          "that your keys begin with");
        verdict->reads_any_key =
            verdict->reads_any_key || memchr(argv[i + 1], '*', lens[i + 1]) != NULL;
    }
    return 0;
}

static int check_keys(const struct entry *e, int argc, const char *const *argv, const size_t *lens,
                      struct commands_verdict *verdict, struct error *error)
{
    struct error why;
    char text[NAME_MOST];
    for (int i = 0; i < e->specs.count; i++)
        if (keyspec_find_keys(&e->specs.list[i], argc, argv, lens, &verdict->keys, &why) != 0)
            return refuse(error, e->name, why.text);
    for (int i = 0; i < verdict->keys.count; i++) {
        struct key_place *key = &verdict->keys.list[i];
        key->is_written = key->is_written && verdict->is_write;
        if (is_engine_key(argv[key->at], lens[key->at]))
            return error_set(error, ERROR_RULE,
                             "%s is refused on the key '%.200s': keys that begin with 'tidemill:' "
                             "are the engine's own; use ctx.state, or another key",
                             shown(e->name, text), argv[key->at]);
    }
    verdict->reads_any_key = !verdict->is_write && verdict->keys.count == 0;
    return check_sort_patterns(e, argc, argv, lens, verdict, error);
}

static int check_all(const struct commands *c, int argc, const char *const *argv,
                     const size_t *lens, struct commands_verdict *verdict, struct error *error)
{
    const struct entry *e = NULL;
    int code = find_command(c, argc, argv, lens, &e, error);
    if (code == 0)
        code = check_flags(e, error);
    if (code == 0)
        code = check_arity(e, argc, error);
    if (code != 0)
        return code;
    verdict->name = e->name;
    verdict->is_write = !(e->flags & FLAG_READONLY);
    verdict->reads_any_key = false;
    verdict->keys.count = 0;
    return check_keys(e, argc, argv, lens, verdict, error);
}

int commands_check(const struct commands *c, int argc, const char *const *argv, const size_t *lens,
                   struct commands_verdict *verdict, struct error *error)
{
    assert(argc > 0);
    if (lens != NULL)
        return check_all(c, argc, argv, lens, verdict, error);
    size_t few[16], *counted = argc <= 16 ? few : malloc((size_t)argc * sizeof *counted);
    if (counted == NULL)
        abort();
    for (int i = 0; i < argc; i++)
        counted[i] = strlen(argv[i]);
    int code = check_all(c, argc, argv, counted, verdict, error);
    if (counted != few)
        free(counted);
    return code;
}

void commands_verdict_fini(struct commands_verdict *verdict)
{
    free(verdict->keys.list);
    *verdict = (struct commands_verdict){0};
}
