/* pending_walk.c: all pending timers in the order of their due times: each queue is read by rank, a
 * page at a time, and the pages are merged.
 *
 *   queue  a b c d e f g …
 *              └─────┘      a page begins at the timer that was told last: so it is noticed when
 *              told, next   timers came or went before it, and their ranks moved
 *
 * (1) Then the page is read once more, by due time: it begins with all that are due with the last
 *     one, and it is twice as long until it has one that was not told. The rank that comes with it
 *     is only a guess: the next page checks it. By due time alone, a million timers due at
 *     midnight would be read again with each page.
 * (2) Pages begin small and double, so that the earliest hundred of a thousand queues need not be
 *     read as a hundred of each. */
#include "cli/pending.h"

#include "redis/command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_PAGE = 16, LARGEST_PAGE = 1000 };

/* A place in one queue. */
struct place {
    const struct pending_rule *rule;
    enum timer_kind clock;
    struct pending_list page;
    size_t next;      /* in the page */
    long long rank;   /* of the next page */
    size_t page_size; /* of the next page */
    double last_ms;   /* the last timer that was read; */
    struct buf last;  /* ... its member */
    bool is_begun, is_over;
    bool is_lost; /* (1) */
    bool is_asked;
};

struct pending_walk {
    struct client *client;
    struct place *places;
    size_t count;
    size_t heard; /* the place whose reply comes next, or one before it */
    struct error error;
};

struct pending_walk *pending_walk_open(struct client *client, const struct pending *pending)
{
    struct pending_walk *w = calloc(1, sizeof *w);
    if (w == NULL)
        abort();
    w->client = client;
    w->count = pending->count * PENDING_CLOCKS;
    w->places = calloc(w->count + 1, sizeof *w->places);
    if (w->places == NULL)
        abort();
    for (size_t i = 0; i < w->count; i++) {
        struct place *place = &w->places[i];
        place->rule = &pending->list[i / PENDING_CLOCKS];
        place->clock = (enum timer_kind)(i % PENDING_CLOCKS);
        place->page_size = FIRST_PAGE;
    }
    return w;
}

/* -- Pages -- */

/* Appends one command, or two when the place is lost. */
static size_t ask(const struct place *place, struct buf *out)
{
    const struct buf *queue = &place->rule->queues[place->clock];
    char last[40];
    if (!place->is_lost) {
        command_begin(out, 5);
        command_argument(out, "ZRANGE", 6);
        command_argument(out, queue->data, queue->len);
        command_argument_number(out, place->rank - place->is_begun);
        command_argument_number(out, place->rank + (long long)place->page_size - 1);
        command_argument(out, "WITHSCORES", 10);
        return 1;
    }
    snprintf(last, sizeof last, "(%.17g", place->last_ms);
    command_append(out, "ZCOUNT", queue->data, "-inf", last, NULL);
    command_begin(out, 8);
    command_argument(out, "ZRANGEBYSCORE", 13);
    command_argument(out, queue->data, queue->len);
    command_argument_text(out, last + 1);
    command_argument(out, "+inf", 4);
    command_argument(out, "WITHSCORES", 10);
    command_argument(out, "LIMIT", 5);
    command_argument(out, "0", 1);
    command_argument_number(out, (long long)place->page_size);
    return 2;
}

static int compare_last(const struct place *place, double due_ms, const struct reply *member)
{
    if (due_ms != place->last_ms)
        return due_ms < place->last_ms ? -1 : 1;
    size_t common = member->len < place->last.len ? member->len : place->last.len;
    int order = memcmp(member->text, place->last.data, common);
    return order != 0 ? order : (member->len > place->last.len) - (member->len < place->last.len);
}

static void hear_timer(struct place *place, const struct reply *member, double due_ms)
{
    struct pending_timer timer = {
        .due_ms = due_ms, .rule = place->rule, .clock = place->clock, .len = (uint32_t)member->len};
    pending_list_add(&place->page, &timer, member->text);
    place->last.len = 0;
    buf_append(&place->last, member->text, member->len);
    place->last_ms = due_ms;
}

static void hear_page(struct place *place, const struct reply *page)
{
    uint32_t first = place->is_begun && !place->is_lost ? 1 : 0, count = page->count / 2;
    pending_list_clear(&place->page);
    place->next = 0;
    if (first == 1 && (count == 0 || compare_last(place, strtod(page->elements[1]->text, NULL),
                                                  page->elements[0]) != 0)) {
        place->is_lost = true;
        return;
    }
    for (uint32_t i = first; i < count; i++) {
        const struct reply *member = page->elements[2 * i];
        double due_ms = strtod(page->elements[2 * i + 1]->text, NULL);
        if (!place->is_begun || compare_last(place, due_ms, member) > 0)
            hear_timer(place, member, due_ms);
    }
    place->rank += count - first;
    place->is_begun = place->is_begun || count > 0;
    place->is_over = count - first < place->page_size;
    if (place->page_size < LARGEST_PAGE || place->page.count == 0)
        place->page_size *= 2;
    place->is_lost = place->is_lost && place->page.count == 0;
    if (!place->is_lost && place->page_size > LARGEST_PAGE)
        place->page_size = LARGEST_PAGE;
}

static void on_reply(void *context, const struct reply *reply)
{
    struct pending_walk *w = context;
    if (w->error.code != 0)
        return;
    while (!w->places[w->heard].is_asked)
        w->heard++;
    struct place *place = &w->places[w->heard];
    if (place->is_lost && reply->type == REPLY_INTEGER) {
        place->rank = reply->integer;
        return; /* its page is next */
    }
    place->is_asked = false;
    if (reply->type == REPLY_ARRAY)
        hear_page(place, reply);
    else if (w->error.code == 0)
        pending_refuse(&place->rule->queues[place->clock], reply, &w->error);
}

/* Every queue that has more gets a page. */
static int fill(struct pending_walk *w, struct error *error)
{
    for (;;) {
        struct buf *out = client_out(w->client);
        size_t asked = 0;
        for (size_t i = 0; i < w->count; i++) {
            struct place *place = &w->places[i];
            if (place->is_over || place->next < place->page.count)
                continue;
            asked += ask(place, out);
            place->is_asked = true;
        }
        if (asked == 0)
            return 0;
        w->heard = 0;
        int code = client_run(w->client, asked, on_reply, w, error);
        if (code != 0)
            return code;
        if (w->error.code != 0) {
            *error = w->error;
            return error->code;
        }
    }
}

/* -- The merge -- */

/* The earliest; of several, that of the first queue. */
static struct place *earliest(struct pending_walk *w)
{
    struct place *first = NULL;
    for (size_t i = 0; i < w->count; i++) {
        struct place *place = &w->places[i];
        if (place->next < place->page.count &&
            (first == NULL ||
             place->page.list[place->next].due_ms < first->page.list[first->next].due_ms))
            first = place;
    }
    return first;
}

int pending_walk_next(struct pending_walk *w, size_t most, struct pending_list *out,
                      struct error *error)
{
    struct place *place = NULL;
    while (most > 0) {
        bool is_used_up = place == NULL || place->next == place->page.count;
        int code = is_used_up ? fill(w, error) : 0;
        if (code != 0)
            return code;
        place = earliest(w);
        if (place == NULL)
            return 0;
        const struct pending_timer *timer = &place->page.list[place->next++];
        pending_list_add(out, timer, place->page.members.data + timer->at);
        most--;
    }
    return 0;
}

void pending_walk_close(struct pending_walk *w)
{
    if (w == NULL)
        return;
    for (size_t i = 0; i < w->count; i++) {
        pending_list_fini(&w->places[i].page);
        buf_fini(&w->places[i].last);
    }
    free(w->places);
    free(w);
}
