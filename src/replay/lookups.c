/* lookups.c: see lookups.h. */
#include "replay/lookups.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>

enum { KEEP_BYTES = 1 << 20, PATIENCE_MS = 60000 };

void lookups_init(struct lookups *l, const char *url)
{
    *l = (struct lookups){.url = url};
}

void lookups_fini(struct lookups *l)
{
    client_close(l->client);
    commands_destroy(l->commands);
    arena_fini(&l->answers);
    words_fini(&l->words);
    buf_fini(&l->asked);
}

static int ask_commands(struct lookups *l, struct error *error)
{
    const struct reply *reply;
    int code = client_open(l->url, &l->client, error);
    if (code != 0)
        return code;
    client_set_patience(l->client, PATIENCE_MS);
    code = client_call(l->client, &reply, error, "COMMAND", NULL);
    if (code == 0 && reply->type == REPLY_ERROR)
        return error_set(error, ERROR_REPLY, "cannot ask Redis for its commands: %s", reply->text);
    return code == 0 ? commands_load(reply, &l->commands, error) : code;
}

/* Called while a rule runs; what goes wrong ends the replay when the rule is out. */
static const struct commands *find_commands(void *context)
{
    struct lookups *l = context;
    struct error error;
    if (l->commands != NULL || l->fault.code != 0)
        return l->commands;
    if (ask_commands(l, &error) != 0)
        error_set(&l->fault, error.code, "a rule uses ctx.redis, and %s", error.text);
    return l->commands;
}

void lookups_attach(struct lookups *l, struct bridge *bridge)
{
    l->bridge = bridge;
    bridge_set_commands(bridge, l->commands);
    bridge_on_commands(bridge, find_commands, l);
}

static void count_one(struct lookups *l, struct span name)
{
    char text[sizeof l->counts[0].name] = "";
    size_t i;
    for (i = 0; i < name.len && i + 1 < sizeof text; i++)
        text[i] = (char)toupper((unsigned char)name.bytes[i]);
    for (i = 0; i < l->count_used && strcmp(l->counts[i].name, text) != 0;)
        i++;
    if (i == LOOKUP_COMMANDS_MOST)
        i--;
    if (i == l->count_used)
        memcpy(l->counts[l->count_used++].name, text, sizeof text);
    l->counts[i].count++;
    l->total++;
}

static void on_answer(void *context, const struct reply *reply)
{
    struct lookups *l = context;
    bridge_take_answer(l->bridge, reply);
}

int lookups_answer(struct lookups *l, struct error *error)
{
    struct bridge_wants wants;
    l->asked.len = 0;
    bridge_wants(l->bridge, &l->asked, &wants);
    assert(wants.state_replies == 0 && wants.lookup_replies > 0 && l->client != NULL);
    for (size_t at = 0; at < l->asked.len; at += l->words.len) {
        words_read(&l->words, l->asked.data + at, l->asked.len - at);
        count_one(l, l->words.list[0]);
    }
    buf_append(client_out(l->client), l->asked.data, l->asked.len);
    client_keep_replies(l->client, &l->answers);
    return client_run(l->client, wants.lookup_replies, on_answer, l, error);
}

void lookups_forget(struct lookups *l)
{
    arena_reset(&l->answers, KEEP_BYTES);
}

int lookups_fault(const struct lookups *l, struct error *error)
{
    return l->fault.code != 0 ? error_set(error, l->fault.code, "%s", l->fault.text) : 0;
}
