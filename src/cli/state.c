/* state.c: what a rule remembers for a key, for people. Reading is plain HSCAN and HGET; a change
 * goes through edit.c, so that a running owner drops its cache and reads it anew. */
#include "base/escape.h"
#include "base/nearest.h"
#include "base/utc.h"
#include "cli/cli.h"
#include "cli/edit.h"
#include "cli/output.h"
#include "cli/partitions.h"
#include "cli/state_value.h"
#include "codec/json.h"
#include "redis/command.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MOST = 200, PAGE_KEYS = 100, FIRST_VERSION = 1 };

struct state {
    const struct config *config;
    struct client *client;
    struct partitions partitions;
    const char *rule, *key, *json;
    struct buf hash;          /* the name of the hash that is looked at */
    struct buf out;           /* what is to be printed */
    struct buf packed;        /* set: the new state */
    struct buf value;         /* set: the whole new value */
    const struct keys *place; /* of the change */
    bool is_delete, is_broken, has_changed;
};

/* -- Showing -- */

static void append_partition(struct buf *out, const struct keys *keys)
{
    buf_append_text(out, ",\"partition\":");
    if (keys->tag.len == 0)
        buf_append_text(out, "null");
    else
        escape_json(out, keys->tag.data, keys->tag.len);
}

static int append_state_json(const struct state_value *value, struct buf *out, struct error *error)
{
    return json_from_msgpack(value->packed, value->len, DEPTH_MOST, out, error);
}

/* One line of --json. */
static int append_object(const struct keys *keys, const char *key, size_t key_len,
                         const struct state_value *value, struct buf *out, struct error *error)
{
    buf_append_text(out, "{\"key\":");
    escape_json(out, key, key_len);
    append_partition(out, keys);
    buf_printf(out,
               ",\"expires\":%" PRIu64 ",\"version\":%" PRIu64 ",\"state\":", value->expires_ms,
               value->version);
    int code = append_state_json(value, out, error);
    buf_append_text(out, "}\n");
    return code;
}

/* One line of `state list`; a value that is no state is said so on standard error and does not stop
 * the rest. */
static void append_listed(struct state *s, const struct keys *keys, const struct reply *key,
                          const struct reply *value)
{
    struct state_value read;
    struct error error;
    size_t before = s->out.len;
    int code = state_value_read(value->text, value->len, &read, &error);
    if (code == 0 && s->config->is_json) {
        code = append_object(keys, key->text, key->len, &read, &s->out, &error);
    } else if (code == 0) {
        escape_text(&s->out, key->text, key->len);
        buf_append(&s->out, "\t", 1);
        code = append_state_json(&read, &s->out, &error);
        buf_append(&s->out, "\n", 1);
    }
    if (code == 0)
        return;
    struct error whole;
    error_set(&whole, code, "the state of key %s %s", key->text, error.text);
    s->out.len = before;
    s->is_broken = true;
    cli_fail(&whole);
}

/* -- List -- */

static int unexpected(const struct state *s, const struct reply *reply, struct error *error)
{
    return error_set(error, ERROR_REPLY, "cannot read %s: Redis says %s", s->hash.data,
                     reply->type == REPLY_ERROR ? reply->text : "something unexpected");
}

static int list_partition(struct state *s, const struct keys *keys, int64_t *left,
                          struct error *error)
{
    char cursor[32] = "0", count[16];
    const char *match = s->config->match == NULL ? "*" : s->config->match;
    snprintf(count, sizeof count, "%d", PAGE_KEYS);
    keys_state(keys, s->rule, &s->hash);
    do {
        const char *argv[] = {"HSCAN", s->hash.data, cursor, "MATCH", match, "COUNT", count};
        size_t lens[] = {5, s->hash.len, strlen(cursor), 5, strlen(match), 5, strlen(count)};
        const struct reply *reply;
        int code = client_call_argv(s->client, 7, argv, lens, &reply, error);
        if (code == 0 && reply->type != REPLY_ARRAY)
            code = unexpected(s, reply, error);
        if (code != 0)
            return code;
        const struct reply *pairs = reply->elements[1];
        for (uint32_t i = 0; i + 1 < pairs->count && *left > 0; i += 2, --*left)
            append_listed(s, keys, pairs->elements[i], pairs->elements[i + 1]);
        code = output_write(&s->out, error);
        if (code != 0)
            return code;
        snprintf(cursor, sizeof cursor, "%s", reply->elements[0]->text);
    } while (strcmp(cursor, "0") != 0 && *left > 0);
    return 0;
}

static int list(struct state *s, struct error *error)
{
    int64_t left = s->config->count > 0 ? s->config->count : INT64_MAX;
    int code = 0;
    for (size_t i = 0; code == 0 && i < s->partitions.count; i++)
        code = list_partition(s, &s->partitions.list[i], &left, error);
    return code;
}

/* -- The one partition of a key -- */

/* HGET; `*value` NULL when the partition has no such key. Valid until the next call. */
static int read_value(struct state *s, const struct keys *keys, const struct reply **value,
                      struct error *error)
{
    const struct reply *reply;
    keys_state(keys, s->rule, &s->hash);
    const char *argv[] = {"HGET", s->hash.data, s->key};
    size_t lens[] = {4, s->hash.len, strlen(s->key)};
    int code = client_call_argv(s->client, 3, argv, lens, &reply, error);
    if (code == 0 && reply->type != REPLY_NIL && reply->type != REPLY_STRING)
        code = unexpected(s, reply, error);
    if (code == 0)
        *value = reply->type == REPLY_NIL ? NULL : reply;
    return code;
}

/* The partition that has the key; `*place` NULL when none has it. */
static int find_place(struct state *s, const struct keys **place, struct error *error)
{
    const struct keys *found = NULL;
    for (size_t i = 0; i < s->partitions.count; i++) {
        const struct reply *value = NULL;
        int code = read_value(s, &s->partitions.list[i], &value, error);
        if (code != 0)
            return code;
        if (value != NULL && found != NULL)
            return error_set(error, ERROR_USAGE,
                             "several partitions keep a state for key %s; choose one with --tag",
                             s->key);
        if (value != NULL)
            found = &s->partitions.list[i];
    }
    *place = found;
    return 0;
}

static int no_state(const struct state *s, struct error *error)
{
    return error_set(error, ERROR_REPLY, "rule %s keeps no state for key %s", s->rule, s->key);
}

/* -- Get -- */

static void tell_expiry(const struct state_value *value)
{
    char moment[UTC_LEN];
    if (value->expires_ms == 0)
        return;
    utc_format(value->expires_ms, moment);
    fprintf(stderr, "expires %s\n", moment);
}

static int get(struct state *s, struct error *error)
{
    const struct keys *place = NULL;
    const struct reply *reply = NULL;
    struct state_value value;
    struct error why;
    int code = find_place(s, &place, error);
    if (code == 0 && place == NULL)
        code = no_state(s, error);
    if (code == 0)
        code = read_value(s, place, &reply, error);
    if (code != 0)
        return code;
    if (reply == NULL) /* gone since it was found */
        return no_state(s, error);
    code = state_value_read(reply->text, reply->len, &value, &why);
    if (code == 0 && s->config->is_json) {
        code = append_object(place, s->key, strlen(s->key), &value, &s->out, &why);
    } else if (code == 0) {
        code = append_state_json(&value, &s->out, &why);
        buf_append(&s->out, "\n", 1);
    }
    if (code != 0)
        return error_set(error, code, "the state of key %s %s", s->key, why.text);
    if (!s->config->is_json)
        tell_expiry(&value);
    return output_write(&s->out, error);
}

/* -- Set and delete -- */

static size_t ask_for_value(void *context, struct buf *out)
{
    struct state *s = context;
    command_begin(out, 3);
    command_argument(out, "HGET", 4);
    command_argument(out, s->hash.data, s->hash.len);
    command_argument_text(out, s->key);
    return 1;
}

/* Expiry and version stay, unless another version is asked for; a value that nobody can read is
 * replaced by a fresh one. */
static void hear_value(void *context, size_t index, const struct reply *reply)
{
    struct state *s = context;
    struct state_value value = {.version = FIRST_VERSION};
    (void)index;
    if (reply->type == REPLY_STRING && state_value_read(reply->text, reply->len, &value, NULL) != 0)
        value = (struct state_value){.version = FIRST_VERSION};
    if (s->config->state_version > 0)
        value.version = (uint64_t)s->config->state_version;
    value.packed = s->packed.data;
    value.len = s->packed.len;
    s->value.len = 0;
    state_value_append(&value, &s->value);
}

static size_t change_value(void *context, struct buf *out)
{
    struct state *s = context;
    command_begin(out, s->is_delete ? 3 : 4);
    command_argument(out, s->is_delete ? "HDEL" : "HSET", 4);
    command_argument(out, s->hash.data, s->hash.len);
    command_argument_text(out, s->key);
    if (!s->is_delete)
        command_argument(out, s->value.data, s->value.len);
    return 1;
}

static void note_change(void *context, size_t index, const struct reply *reply)
{
    struct state *s = context;
    (void)index;
    s->has_changed = !s->is_delete || reply_number(reply, 0) > 0;
}

static const struct edit_calls value_calls = {
    .ask = ask_for_value, .hear = hear_value, .change = change_value, .settle = note_change};

static int change(struct state *s, struct error *error)
{
    struct edit edit = {.client = s->client};
    keys_state(s->place, s->rule, &s->hash);
    int code = edit_apply(&edit, s->place, &value_calls, s, error);
    return code == 0 && !s->has_changed ? no_state(s, error) : code;
}

static int pack_state(struct state *s, struct error *error)
{
    struct error why;
    size_t most_bytes = (size_t)s->config->limits.state_kb * 1024;
    int code = json_to_msgpack(s->json, strlen(s->json), DEPTH_MOST, &s->packed, &why);
    if (code != 0)
        return error_set(error, ERROR_USAGE, "the state is no JSON: %s", why.text);
    uint8_t head = (uint8_t)s->packed.data[0];
    if (head < 0x80 || (head > 0x9f && head < 0xdc) || head > 0xdf)
        return error_set(error, ERROR_USAGE, "a state is a table: {...} in JSON");
    if (s->packed.len > most_bytes)
        return error_set(error, ERROR_LIMIT, "the state has %zu bytes, limits.state_kb allows %zu",
                         s->packed.len, most_bytes);
    return 0;
}

static int set(struct state *s, struct error *error)
{
    int code = pack_state(s, error);
    if (code == 0)
        code = find_place(s, &s->place, error);
    if (code == 0 && s->place == NULL && s->partitions.count > 1)
        code =
            error_set(error, ERROR_USAGE,
                      "no partition keeps a state for key %s yet; choose one with --tag", s->key);
    if (code != 0)
        return code;
    if (s->place == NULL)
        s->place = &s->partitions.list[0];
    return change(s, error);
}

static int delete (struct state *s, struct error *error)
{
    int code = find_place(s, &s->place, error);
    if (code == 0 && s->place == NULL)
        code = no_state(s, error);
    s->is_delete = true;
    return code == 0 ? change(s, error) : code;
}

/* -- The command -- */

static const struct {
    const char *name, *words;
    int arguments; /* behind the verb */
    int (*call)(struct state *s, struct error *error);
} verbs[] = {
    {"list", "RULE", 1, list},
    {"get", "RULE KEY", 2, get},
    {"set", "RULE KEY JSON", 3, set},
    {"delete", "RULE KEY", 2, delete},
};

enum { VERB_COUNT = sizeof verbs / sizeof verbs[0] };

static int refuse_verb(const char *word)
{
    struct nearest known;
    nearest_init(&known, word);
    for (size_t i = 0; i < VERB_COUNT; i++)
        nearest_offer(&known, verbs[i].name);
    if (known.name != NULL)
        return cli_misuse("state", "state has no %s; did you mean %s?", word, known.name);
    return cli_misuse("state", "state has no %s; it knows list, get, set and delete", word);
}

static void state_fini(struct state *s)
{
    partitions_fini(&s->partitions);
    client_close(s->client);
    buf_fini(&s->hash);
    buf_fini(&s->out);
    buf_fini(&s->packed);
    buf_fini(&s->value);
}

int cli_state(const struct config *config, int argc, char **argv)
{
    struct error error;
    size_t verb = 0;
    while (verb < VERB_COUNT && strcmp(argv[0], verbs[verb].name) != 0)
        verb++;
    if (verb == VERB_COUNT)
        return refuse_verb(argv[0]);
    if (argc - 1 != verbs[verb].arguments)
        return cli_misuse("state", "it is: tidemill state %s %s", verbs[verb].name,
                          verbs[verb].words);
    if (!cli_is_rule_name(argv[1]))
        return cli_misuse("state", "%s is no name of a rule: 1 to 64 of A-Z a-z 0-9 _ -", argv[1]);
    struct state s = {.config = config,
                      .rule = argv[1],
                      .key = argc > 2 ? argv[2] : NULL,
                      .json = argc > 3 ? argv[3] : NULL};
    int code = client_open(config->redis, &s.client, &error);
    if (code == 0)
        code = partitions_find(s.client, config, &s.partitions, &error);
    if (code == 0)
        code = verbs[verb].call(&s, &error);
    int status = code != 0 ? cli_fail(&error) : s.is_broken ? EXIT_FAILED : EXIT_FINE;
    state_fini(&s);
    return status;
}
