/* tail.c: entries of a stream to JSON lines. Reads in pages while there are some, then waits for
 * the next; a page is written whole before the next is asked for, so nothing is held back when the
 * stream is idle. */
#include "base/escape.h"
#include "cli/cli.h"
#include "cli/entry.h"
#include "cli/output.h"
#include "redis/client.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { PAGE_ENTRIES = 500, WAIT_MS = 5000, ID_LEN = 48 };

struct tail {
    const struct config *config;
    const char *stream;
    int codec;
    struct client *client;
    char position[ID_LEN]; /* the entry read last */
    int64_t left;          /* entries still to print; INT64_MAX: no end */
    struct buf out;
};

static int refused(const struct tail *t, const struct reply *reply, struct error *error)
{
    return error_set(error, ERROR_REPLY, "cannot read %s: Redis says %s", t->stream,
                     reply->type == REPLY_ERROR ? reply->text : "something unexpected");
}

/* The end is looked up once: `$` again and again would lose what arrives between two reads. */
static int find_end(struct tail *t, struct error *error)
{
    const struct reply *reply;
    int code =
        client_call(t->client, &reply, error, "XREVRANGE", t->stream, "+", "-", "COUNT", "1", NULL);
    if (code != 0)
        return code;
    if (reply->type != REPLY_ARRAY)
        return refused(t, reply, error);
    const char *id = reply->count > 0 ? reply->elements[0]->elements[0]->text : "0-0";
    snprintf(t->position, sizeof t->position, "%s", id);
    return 0;
}

static int find_start(struct tail *t, struct error *error)
{
    const char *from = t->config->tail.from;
    bool is_asked = config_origin_of(t->config, "tail_from") != ORIGIN_DEFAULT;
    if (strcmp(from, "end") == 0 && (is_asked || !t->config->tail.no_follow))
        return find_end(t, error);
    bool is_id = strcmp(from, "start") != 0 && strcmp(from, "end") != 0;
    snprintf(t->position, sizeof t->position, "%s", is_id ? from : "0-0");
    return 0;
}

static void append_entry(struct tail *t, const struct reply *entry)
{
    const struct reply *id = entry->elements[0], *fields = entry->elements[1];
    struct entry_text few[32], *texts = few;
    struct arena more = {0};
    if (fields->count > sizeof few / sizeof few[0])
        texts = arena_alloc(&more, fields->count * sizeof *texts);
    for (uint32_t i = 0; i < fields->count; i++)
        texts[i] = (struct entry_text){fields->elements[i]->text, fields->elements[i]->len};
    buf_printf(&t->out, "{\"id\":\"%s\",\"stream\":", id->text);
    escape_json(&t->out, t->stream, strlen(t->stream));
    buf_append(&t->out, ",", 1);
    entry_append_json(&t->out, t->codec, texts, fields->count);
    buf_append(&t->out, "}\n", 2);
    arena_fini(&more);
    snprintf(t->position, sizeof t->position, "%s", id->text);
}

/* One XREAD; waits a while when there is nothing, unless the tail is the end. */
static int read_page(struct tail *t, const struct reply **entries, struct error *error)
{
    char count[24], wait[24];
    const struct reply *reply;
    snprintf(count, sizeof count, "%" PRId64, t->left < PAGE_ENTRIES ? t->left : PAGE_ENTRIES);
    snprintf(wait, sizeof wait, "%d", WAIT_MS);
    int code = t->config->tail.no_follow
                   ? client_call(t->client, &reply, error, "XREAD", "COUNT", count, "STREAMS",
                                 t->stream, t->position, NULL)
                   : client_call(t->client, &reply, error, "XREAD", "COUNT", count, "BLOCK", wait,
                                 "STREAMS", t->stream, t->position, NULL);
    if (code != 0)
        return code;
    if (reply->type == REPLY_NIL)
        *entries = NULL;
    else if (reply->type == REPLY_ARRAY)
        *entries = reply->elements[0]->elements[1];
    else
        return refused(t, reply, error);
    return 0;
}

static int print_entries(struct tail *t, struct error *error)
{
    while (t->left > 0) {
        const struct reply *entries = NULL;
        int code = read_page(t, &entries, error);
        if (code != 0)
            return code;
        if (entries == NULL && t->config->tail.no_follow)
            return 0;
        for (uint32_t i = 0; entries != NULL && i < entries->count; i++, t->left--)
            append_entry(t, entries->elements[i]);
        code = output_write(&t->out, error);
        if (code != 0)
            return code;
    }
    return 0;
}

int cli_tail(const struct config *config, int argc, char **argv)
{
    struct error error;
    struct tail t = {.config = config, .stream = argv[0]};
    assert(argc == 1);
    t.codec = config_stream_codec(config, t.stream, strlen(t.stream));
    t.left = config->count > 0 ? config->count : INT64_MAX;
    int code = client_open(config->redis, &t.client, &error);
    if (code != 0)
        return cli_fail(&error);
    client_set_patience(t.client, 2 * WAIT_MS);
    code = find_start(&t, &error);
    if (code == 0)
        code = print_entries(&t, &error);
    client_close(t.client);
    buf_fini(&t.out);
    return code == 0 ? EXIT_FINE : cli_fail(&error);
}
