/* talk.c: see talk.h. The replies of a step are collected in an arena of its own. */
#include "stream/talk.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct step {
    struct arena arena;
    const struct reply **replies;
    char **words;
    size_t expected, received, cap;
};

struct talk {
    struct step *now;
    struct link *link;
    talk_done_call *done;
    void *context;
};

static void *must(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

static void step_destroy(struct step *step)
{
    if (step == NULL)
        return;
    for (size_t i = 0; i < step->expected; i++)
        free(step->words[i]);
    free(step->words);
    free(step->replies);
    arena_fini(&step->arena);
    free(step);
}

struct talk *talk_create(void)
{
    return must(calloc(1, sizeof(struct talk)));
}

void talk_destroy(struct talk *t)
{
    if (t == NULL)
        return;
    step_destroy(t->now);
    free(t);
}

struct buf *talk_begin(struct talk *t, struct link *link)
{
    assert(!talk_is_open(t));
    step_destroy(t->now);
    t->now = must(calloc(1, sizeof *t->now));
    t->link = link;
    t->done = NULL;
    return link_out(link);
}

static void on_reply(void *context, const struct reply *reply)
{
    struct talk *t = context;
    struct step *step = t->now;
    step->replies[step->received++] = reply;
    if (step->received < step->expected || t->done == NULL)
        return;
    talk_done_call *done = t->done;
    t->done = NULL;
    done(t->context, step->replies, step->received);
}

void talk_expect(struct talk *t, const char *what)
{
    struct step *step = t->now;
    if (step->expected == step->cap) {
        step->cap = step->cap > 0 ? step->cap * 2 : 16;
        step->replies = must(realloc(step->replies, step->cap * sizeof *step->replies));
        step->words = must(realloc(step->words, step->cap * sizeof *step->words));
    }
    step->words[step->expected++] = must(strdup(what));
    link_expect(t->link, on_reply, t, &step->arena, 0);
}

void talk_send(struct talk *t, talk_done_call *done, void *context)
{
    t->done = done;
    t->context = context;
    link_flush(t->link);
}

const char *talk_what(const struct talk *t, size_t number)
{
    assert(t->now != NULL && number < t->now->expected);
    return t->now->words[number];
}

void talk_cancel(struct talk *t)
{
    step_destroy(t->now);
    t->now = NULL;
    t->done = NULL;
}

bool talk_is_open(const struct talk *t)
{
    return t->done != NULL;
}
