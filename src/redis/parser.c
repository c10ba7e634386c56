/* parser.c: hiredis' reader with our own makers of nodes.
 *
 * The reader calls one maker a node, parents before children; a maker takes a node from the
 * arena, with the text behind it, and hooks it into its parent. Nothing is freed by hand: a
 * reply that breaks off half way goes with its arena. */
#include "redis/parser.h"

#include <assert.h>
#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* An array of more elements is no reply that Redis makes for us; a made-up length must not
     * eat the memory. */
    ELEMENTS_MOST = 8 * 1024 * 1024,
    /* The reader's buffer is kept between replies unless one huge reply blew it up. */
    KEEP_BYTES = 1024 * 1024,
};

struct parser {
    redisReader *reader;
    struct arena *arena; /* of the reply being built */
};

static struct reply *make_node(const redisReadTask *task, enum reply_type type, size_t extra_bytes)
{
    struct parser *p = task->privdata;
    struct reply *node = arena_alloc(p->arena, sizeof *node + extra_bytes);
    *node = (struct reply){.type = type};
    if (task->parent != NULL) {
        struct reply *parent = task->parent->obj;
        parent->elements[task->idx] = node;
    }
    return node;
}

static void *make_text(const redisReadTask *task, char *text, size_t len)
{
    enum reply_type type = task->type == REDIS_REPLY_ERROR    ? REPLY_ERROR
                           : task->type == REDIS_REPLY_STATUS ? REPLY_STATUS
                                                              : REPLY_STRING;
    struct reply *node = make_node(task, type, len + 1);
    char *copy = (char *)(node + 1);
    memcpy(copy, text, len);
    copy[len] = '\0';
    node->text = copy;
    node->len = len;
    return node;
}

static void *make_array(const redisReadTask *task, int count)
{
    if (count > ELEMENTS_MOST)
        return NULL; /* the reader reports that it is out of memory */
    struct reply *node = make_node(task, REPLY_ARRAY, (size_t)count * sizeof(struct reply *));
    node->count = (uint32_t)count;
    node->elements = (struct reply **)(node + 1);
    return node;
}

static void *make_integer(const redisReadTask *task, long long integer)
{
    struct reply *node = make_node(task, REPLY_INTEGER, 0);
    node->integer = integer;
    return node;
}

static void *make_nil(const redisReadTask *task)
{
    return make_node(task, REPLY_NIL, 0);
}

static void free_nothing(void *node)
{
    (void)node;
}

struct parser *parser_create(void)
{
    static redisReplyObjectFunctions makers = {make_text, make_array, make_integer, make_nil,
                                               free_nothing};
    struct parser *p = calloc(1, sizeof *p);
    if (p == NULL)
        abort();
    p->reader = redisReaderCreateWithFunctions(&makers);
    if (p->reader == NULL)
        abort();
    p->reader->privdata = p;
    p->reader->maxbuf = KEEP_BYTES;
    return p;
}

void parser_destroy(struct parser *p)
{
    if (p == NULL)
        return;
    redisReaderFree(p->reader);
    free(p);
}

void parser_feed(struct parser *p, const void *bytes, size_t len)
{
    if (redisReaderFeed(p->reader, bytes, len) != REDIS_OK && p->reader->err == REDIS_ERR_OOM)
        abort();
}

int parser_next(struct parser *p, struct arena *arena, const struct reply **reply,
                struct error *error)
{
    void *made = NULL;
    p->arena = arena;
    int status = redisReaderGetReply(p->reader, &made);
    p->arena = NULL;
    if (status != REDIS_OK && p->reader->err == REDIS_ERR_OOM)
        return error_set(error, ERROR_FORMAT, "a reply has more than %d elements",
                         (int)ELEMENTS_MOST);
    if (status != REDIS_OK)
        return error_set(error, ERROR_FORMAT, "what answers does not speak the Redis protocol (%s)",
                         p->reader->errstr);
    *reply = made;
    return 0;
}

bool parser_has_more(const struct parser *p)
{
    const redisReader *r = p->reader;
    bool is_inside = r->ridx > 0 || (r->ridx == 0 && r->rstack[0].type >= 0);
    return is_inside || r->pos < r->len;
}
