/* control.c: see control.h. */
#include "worker/control.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct control {
    struct link *link;
    struct talk *talk;
    struct control_callbacks callbacks;
    void *context;
    struct control_job *jobs; /* the first is under way when is_busy */
    size_t count, cap;
    bool is_busy, is_starting;
};

static void start_next(struct control *c)
{
    if (c->is_starting)
        return; /* a job that ends inside its own beginning: the loop below goes on */
    c->is_starting = true;
    while (!c->is_busy && c->count > 0 && link_is_up(c->link)) {
        c->is_busy = true;
        c->jobs[0].begin(c->jobs[0].context);
    }
    c->is_starting = false;
}

static void on_up(void *context)
{
    struct control *c = context;
    c->callbacks.on_up(c->context);
    start_next(c);
}

static void on_down(void *context, const struct error *why)
{
    struct control *c = context;
    talk_cancel(c->talk);
    size_t count = c->count;
    struct control_job *jobs = c->jobs;
    c->jobs = NULL;
    c->count = c->cap = 0;
    c->is_busy = false;
    for (size_t i = 0; i < count; i++)
        if (jobs[i].lost != NULL)
            jobs[i].lost(jobs[i].context);
    free(jobs);
    c->callbacks.on_down(c->context, why);
}

struct control *control_create(struct loop *loop, const struct link_options *options,
                               const struct control_callbacks *callbacks, void *context)
{
    static const struct link_callbacks link_callbacks = {.on_up = on_up, .on_down = on_down};
    struct control *c = calloc(1, sizeof *c);
    if (c == NULL)
        abort();
    c->callbacks = *callbacks;
    c->context = context;
    c->talk = talk_create();
    c->link = link_create(loop, options, &link_callbacks, c);
    return c;
}

void control_destroy(struct control *c)
{
    if (c == NULL)
        return;
    talk_destroy(c->talk);
    link_destroy(c->link);
    free(c->jobs);
    free(c);
}

void control_open(struct control *c)
{
    link_open(c->link);
}

bool control_is_up(const struct control *c)
{
    return link_is_up(c->link);
}

void control_add(struct control *c, const struct control_job *job)
{
    if (!link_is_up(c->link)) {
        if (job->lost != NULL)
            job->lost(job->context);
        return;
    }
    if (c->count == c->cap) {
        c->cap = c->cap > 0 ? c->cap * 2 : 16;
        c->jobs = realloc(c->jobs, c->cap * sizeof *c->jobs);
        if (c->jobs == NULL)
            abort();
    }
    c->jobs[c->count++] = *job;
    start_next(c);
}

bool control_is_busy(const struct control *c)
{
    return c->is_busy;
}

struct talk *control_talk(struct control *c)
{
    return c->talk;
}

struct link *control_link(struct control *c)
{
    return c->link;
}

void control_end(struct control *c)
{
    assert(c->is_busy && c->count > 0);
    memmove(c->jobs, c->jobs + 1, (c->count - 1) * sizeof *c->jobs);
    c->count--;
    c->is_busy = false;
    start_next(c);
}
