/* reload.c: see reload.h. */
#include "worker/reload.h"

#include "base/clock.h"
#include "worker/loader.h"

#include <assert.h>
#include <stdlib.h>

enum reload_state { RELOAD_RESTING, RELOAD_LOADING, RELOAD_PARTING };

/* An edition on its way, and who waits for it. */
struct request {
    struct edition *edition; /* NULL: none, or the loader has it */
    uint64_t number;
    reload_done_call *done;
    void *context;
};

struct reload {
    struct reload_callbacks callbacks;
    void *context;
    struct loader *loader;
    struct loop_timer
        *look_timer; /* from the loop's top: partitions tell in the middle of things */
    enum reload_state state;
    struct request now, next;
    struct rulebook *book; /* parting: the one that comes */
    uint64_t began_ms, parting_ms;
    bool is_stopped;
    struct edition *renewal; /* a copy of what runs, wanted in a fresh VM; or NULL */
};

static void begin(struct reload *r);

static void on_renewed(void *context, const struct reload_outcome *outcome)
{
    struct reload *r = context;
    if (outcome->why != NULL)
        r->callbacks.go_on(r->context);
}

static void tell(struct request *request, const struct error *why, uint64_t load_ms,
                 uint64_t part_ms)
{
    struct request told = *request;
    *request = (struct request){0};
    struct reload_outcome outcome = {
        .number = told.number, .why = why, .load_ms = load_ms, .part_ms = part_ms};
    told.done(told.context, &outcome);
}

/* The one that waits begins. */
static void rest(struct reload *r)
{
    r->state = RELOAD_RESTING;
    if (r->is_stopped)
        return;
    if (r->next.edition == NULL && r->renewal != NULL) {
        struct edition *edition = r->renewal;
        r->renewal = NULL;
        reload_take(r, edition, on_renewed, r);
        return;
    }
    if (r->next.edition == NULL)
        return;
    r->now = r->next;
    r->next = (struct request){0};
    begin(r);
}

static void begin(struct reload *r)
{
    struct error why;
    struct edition *edition = r->now.edition;
    r->now.edition = NULL;
    r->state = RELOAD_LOADING;
    r->began_ms = clock_now_ms();
    if (loader_load(r->loader, edition, &why) == 0)
        return;
    tell(&r->now, &why, 0, 0);
    rest(r);
}

static void on_loaded(void *context, struct rulebook *book, const struct error *why)
{
    struct reload *r = context;
    assert(r->state == RELOAD_LOADING);
    if (r->is_stopped) {
        rulebook_release(book);
        return;
    }
    uint64_t now = clock_now_ms();
    if (book == NULL) {
        tell(&r->now, why, now - r->began_ms, 0);
        rest(r);
        return;
    }
    reload_adopt(r, book);
    r->book = book;
    r->parting_ms = now;
    r->state = RELOAD_PARTING;
    r->callbacks.part(r->context);
}

static void look(void *context)
{
    struct reload *r = context;
    if (r->state != RELOAD_PARTING || r->is_stopped || !r->callbacks.is_parted(r->context))
        return;
    struct rulebook *book = r->book;
    r->book = NULL;
    uint64_t now = clock_now_ms();
    edition_destroy(r->renewal); /* these are fresh */
    r->renewal = NULL;
    r->callbacks.swap(r->context, book);
    tell(&r->now, NULL, r->parting_ms - r->began_ms, now - r->parting_ms);
    rest(r);
}

void reload_look(struct reload *r)
{
    if (r->state == RELOAD_PARTING && !loop_timer_is_started(r->look_timer))
        loop_timer_start(r->look_timer, 0);
}

struct reload *reload_create(struct loop *loop, const struct rulebook_options *options,
                             struct note *note, const struct reload_callbacks *callbacks,
                             void *context)
{
    struct reload *r = calloc(1, sizeof *r);
    if (r == NULL)
        abort();
    r->callbacks = *callbacks;
    r->context = context;
    r->loader = loader_create(loop, options, note, on_loaded, r);
    r->look_timer = loop_timer_open(loop, look, r);
    return r;
}

void reload_destroy(struct reload *r)
{
    if (r == NULL)
        return;
    reload_stop(r);
    rulebook_release(r->book);
    edition_destroy(r->renewal);
    loader_destroy(r->loader);
    loop_timer_close(r->look_timer);
    free(r);
}

void reload_take(struct reload *r, struct edition *edition, reload_done_call *done, void *context)
{
    static const struct error newer = {.code = ERROR_RULE,
                                       .text = "a newer edition came before it was loaded"};
    struct request request = {
        .edition = edition, .number = edition->number, .done = done, .context = context};
    if (r->is_stopped) {
        edition_destroy(edition);
        return;
    }
    if (r->state == RELOAD_RESTING) {
        r->now = request;
        begin(r);
        return;
    }
    if (r->next.edition != NULL) {
        edition_destroy(r->next.edition);
        r->next.edition = NULL;
        tell(&r->next, &newer, 0, 0);
    }
    r->next = request;
}

void reload_renew(struct reload *r, const struct edition *edition)
{
    edition_destroy(r->renewal);
    r->renewal = edition_copy(edition);
    if (r->state == RELOAD_RESTING)
        rest(r);
}

void reload_stop(struct reload *r)
{
    r->is_stopped = true;
    loop_timer_stop(r->look_timer);
    edition_destroy(r->next.edition);
    r->next = (struct request){0};
}

static void close_book(void *context, struct rulebook *book)
{
    struct reload *r = context;
    loader_close(r->loader, book);
}

void reload_adopt(struct reload *r, struct rulebook *book)
{
    rulebook_on_unused(book, close_book, r);
}
