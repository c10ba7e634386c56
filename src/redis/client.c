/* client.c: runs its loop until the answer is there. The link connects anew by itself; a client
 * wants to hear of it, so it closes the link at the first failure and opens it again with the
 * next call. */
#include "redis/client.h"

#include "redis/command.h"

#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>

struct client {
    struct loop *loop;
    struct link *link;
    struct buf out;     /* commands of the next run */
    struct arena arena; /* the reply of client_call */
    struct arena *kept; /* of client_post; not owned */
    uint64_t patience_ms;

    /* While the loop runs: */
    size_t missing; /* replies */
    link_reply_call *each;
    void *each_context;
    const struct reply *reply; /* the last one, of client_call */
    struct error error;        /* code 0 until it fails */
};

static void on_up(void *context)
{
    struct client *c = context;
    loop_stop(c->loop);
}

static void on_down(void *context, const struct error *why)
{
    struct client *c = context;
    c->error = *why;
    c->missing = 0;
    link_close(c->link);
    loop_stop(c->loop);
}

static void on_reply(void *context, const struct reply *reply)
{
    struct client *c = context;
    c->reply = reply;
    if (c->each != NULL)
        c->each(c->each_context, reply);
    if (--c->missing == 0)
        loop_stop(c->loop);
}

/* Copies what went wrong while the loop ran. */
static int result_of(const struct client *c, struct error *error)
{
    return c->error.code == 0 ? 0 : error_set(error, c->error.code, "%s", c->error.text);
}

static int connect_link(struct client *c, struct error *error)
{
    c->error.code = ERROR_NONE;
    if (!link_is_up(c->link)) {
        link_open(c->link);
        loop_run(c->loop);
    }
    return result_of(c, error);
}

int client_open(const char *url, struct client **out, struct error *error)
{
    struct redis_url parsed;
    int code = redis_url_parse(url, &parsed, error);
    if (code != 0)
        return code;
    struct client *c = calloc(1, sizeof *c);
    if (c == NULL)
        abort();
    c->loop = loop_create();
    struct link_options options = {.url = &parsed, .name = "tidemill-client"};
    struct link_callbacks callbacks = {on_up, on_down};
    c->link = link_create(c->loop, &options, &callbacks, c);
    code = connect_link(c, error);
    if (code != 0)
        client_close(c);
    else
        *out = c;
    if (code == ERROR_CONNECTION) {
        struct error why = *error;
        error_set(error, code, "%s; is it up? --redis URL or $REDIS_URL says which one is meant",
                  why.text);
    }
    return code;
}

void client_close(struct client *c)
{
    if (c == NULL)
        return;
    link_destroy(c->link);
    loop_destroy(c->loop);
    buf_fini(&c->out);
    arena_fini(&c->arena);
    free(c);
}

void client_set_patience(struct client *c, uint64_t patience_ms)
{
    c->patience_ms = patience_ms;
}

void client_keep_replies(struct client *c, struct arena *arena)
{
    c->kept = arena;
}

struct buf *client_out(struct client *c)
{
    return &c->out;
}

/* Sends client_out; its replies will be built in `arena`. */
static int post(struct client *c, size_t replies, struct arena *arena, struct error *error)
{
    assert(c->missing == 0); /* no client_wait was forgotten */
    int code = connect_link(c, error);
    if (code == 0 && replies > 0) {
        struct buf *out = link_out(c->link);
        buf_append(out, c->out.data, c->out.len);
        for (size_t i = 0; i < replies; i++)
            link_expect(c->link, on_reply, c, arena, c->patience_ms);
        c->missing = replies;
        link_flush(c->link);
    }
    buf_reset(&c->out, 1024 * 1024);
    return code;
}

static int await(struct client *c, struct error *error)
{
    if (c->missing > 0)
        loop_run(c->loop);
    c->each = NULL;
    return result_of(c, error);
}

int client_post(struct client *c, size_t replies, link_reply_call *each, void *context,
                struct error *error)
{
    c->each = each;
    c->each_context = context;
    int code = post(c, replies, c->kept, error);
    if (code != 0)
        c->each = NULL; /* nobody will wait */
    return code;
}

int client_wait(struct client *c, struct error *error)
{
    return await(c, error);
}

int client_run(struct client *c, size_t replies, link_reply_call *each, void *context,
               struct error *error)
{
    int code = client_post(c, replies, each, context, error);
    return code == 0 ? client_wait(c, error) : code;
}

/* The one command in client_out. */
static int call_one(struct client *c, const struct reply **reply, struct error *error)
{
    arena_reset(&c->arena, 1024 * 1024);
    int code = post(c, 1, &c->arena, error);
    if (code == 0)
        code = await(c, error);
    if (code == 0)
        *reply = c->reply;
    return code;
}

int client_call_argv(struct client *c, int argc, const char *const *argv, const size_t *lens,
                     const struct reply **reply, struct error *error)
{
    assert(c->out.len == 0); /* no client_run was forgotten */
    command_append_argv(&c->out, argc, argv, lens);
    return call_one(c, reply, error);
}

int client_call(struct client *c, const struct reply **reply, struct error *error, ...)
{
    const char *argv[64];
    int argc = 0;
    va_list arguments;
    va_start(arguments, error);
    for (const char *next; (next = va_arg(arguments, const char *)) != NULL;) {
        assert(argc < 64);
        argv[argc++] = next;
    }
    va_end(arguments);
    return client_call_argv(c, argc, argv, NULL, reply, error);
}

uint32_t client_redis_version(const struct client *c)
{
    return link_redis_version(c->link);
}
