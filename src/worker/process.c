/* process.c: see process.h. */
#include "worker/process.h"

#include "base/clock.h"
#include "base/log.h"
#include "rules/problems.h"
#include "rules/rulebook.h"
#include "sandbox/stack.h"
#include "worker/channel.h"
#include "worker/message.h"
#include "worker/worker.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { BEAT_LEAST_MS = 20, BEAT_MOST_MS = 200, PATIENCE_LEAST_MS = 100, LAST_SECONDS = 2 };

struct process {
    const struct process_options *options;
    struct slot *slot;
    struct loop *loop;
    struct worker *worker;
    struct channel *channel;
    struct loop_signal *term;
    struct loop_timer *beat_timer;
    uint64_t beat_ms;       /* between two turns */
    uint64_t beaten_ms;     /* our last turn */
    uint64_t seen, seen_ms; /* the supervisor's beat, and when it changed last */
    uint64_t scanned;       /* the last edition that the supervisor knows to be scanned */
    bool is_resting;
    int status;
};

/* ── what the worker says ───────────────────────────────────────────────────────────────────── */

static void fail(struct process *p, const struct error *why)
{
    if (p->status != EXIT_SUCCESS)
        return; /* replies that were on their way already repeat it */
    log_line(LOG_ERROR, "fatal", why->text, NULL);
    p->status = EXIT_FAILURE;
    p->slot->is_fatal = 1;
}

static void on_fatal(void *context, const struct error *why)
{
    struct process *p = context;
    fail(p, why);
    loop_stop(p->loop);
}

static void on_stopped(void *context)
{
    struct process *p = context;
    loop_stop(p->loop);
}

static void on_found(void *context, const char *tag, size_t len, enum message_later later)
{
    struct process *p = context;
    struct message_tag head = {.edition = p->slot->edition, .later = later};
    channel_send_parts(p->channel, MESSAGE_FOUND, &head, sizeof head, tag, len);
}

static void on_scanned(void *context)
{
    struct process *p = context;
    struct message_scanned all = {.edition = p->slot->edition};
    if (p->scanned == all.edition)
        return;
    p->scanned = all.edition;
    channel_send(p->channel, MESSAGE_SCANNED, &all, sizeof all);
}

static void on_blamed(void *context, const struct blame *blame)
{
    struct process *p = context;
    channel_send(p->channel, MESSAGE_BLAMED, blame, sizeof *blame);
}

/* What the numbers in the note mean from now on; said before any of them is used. */
static void on_rules(void *context, struct rulebook *book)
{
    struct process *p = context;
    struct message_loaded head = {.edition = rulebook_number(book), .count = rulebook_count(book)};
    struct buf rows = {0};
    for (uint32_t i = 1; i <= head.count; i++) {
        struct message_rule row = {0};
        snprintf(row.name, sizeof row.name, "%s", rulebook_rule_name(book, i));
        snprintf(row.version, sizeof row.version, "%s", rulebook_rule_version(book, i));
        buf_append(&rows, &row, sizeof row);
    }
    channel_send_parts(p->channel, MESSAGE_LOADED, &head, sizeof head, rows.data, rows.len);
    buf_fini(&rows);
    p->slot->edition = head.edition;
}

/* ── what the supervisor says ───────────────────────────────────────────────────────────────── */

static void stop(struct process *p)
{
    p->slot->is_told = 1;
    worker_stop(p->worker);
}

static void answer_status(struct process *p, const char *question, size_t len)
{
    struct buf json = {0};
    worker_status(p->worker, &json);
    channel_send_parts(p->channel, MESSAGE_STATUS, question, len, json.data, json.len);
    buf_fini(&json);
}

static void tell_refused(struct process *p, uint64_t number, const char *why)
{
    struct message_refused refused = {.edition = number};
    snprintf(refused.why, sizeof refused.why, "%s", why);
    log_line(LOG_ERROR, "reload_refused",
             "this worker cannot load rules that could be loaded; it goes on with those of before",
             "cause", why, NULL);
    channel_send(p->channel, MESSAGE_REFUSED, &refused, sizeof refused);
}

static void on_reloaded(void *context, const struct reload_outcome *outcome)
{
    struct process *p = context;
    if (outcome->why != NULL)
        tell_refused(p, outcome->number, outcome->why->text);
    else
        log_line(LOG_DEBUG, "swapped", "other rules run in this worker", "load_ms",
                 log_number((long long)outcome->load_ms), "part_ms",
                 log_number((long long)outcome->part_ms), NULL);
}

static void take_rules(struct process *p, const char *body, size_t len)
{
    struct edition *edition;
    struct error why;
    if (edition_parse(body, len, &edition, &why) != 0)
        tell_refused(p, UINT64_MAX, why.text);
    else
        worker_take_edition(p->worker, edition, on_reloaded, p);
}

static void on_message(void *context, int type, const char *body, size_t len)
{
    struct process *p = context;
    struct message_tag tag;
    struct blame blame;
    switch (type) {
    case MESSAGE_TAKE:
        memcpy(&tag, body, sizeof tag);
        worker_take(p->worker, body + sizeof tag, len - sizeof tag, (enum message_later)tag.later);
        break;
    case MESSAGE_BLAME:
        memcpy(&blame, body, sizeof blame);
        worker_blame(p->worker, &blame);
        break;
    case MESSAGE_RULES:
        take_rules(p, body, len);
        break;
    case MESSAGE_STATUS:
        answer_status(p, body, len);
        break;
    case MESSAGE_STOP:
        stop(p);
        break;
    default:
        assert(!"a message that the supervisor does not send");
    }
}

static void on_gone(void *context)
{
    struct process *p = context;
    log_line(LOG_WARN, "supervisor_gone",
             "the supervisor has ended; committing what is computed and giving the lease back",
             NULL);
    stop(p);
}

/* To this worker alone, from whom it may concern: the supervisor starts another one. */
static void on_term(void *context, int number)
{
    struct process *p = context;
    (void)number;
    log_line(LOG_INFO, "stopping", "committing what is computed and giving the lease back",
             "signal", "SIGTERM", NULL);
    stop(p);
}

/* ── the beat ───────────────────────────────────────────────────────────────────────────────── */

static uint64_t clamp(uint64_t value, uint64_t least, uint64_t most)
{
    return value < least ? least : value > most ? most : value;
}

/* When we have stood still ourselves, we cannot tell that the supervisor has. */
static void watch_supervisor(struct process *p, uint64_t now_ms)
{
    uint64_t patience_ms = (uint64_t)p->options->config->lease_ms / 3;
    if (patience_ms < PATIENCE_LEAST_MS)
        patience_ms = PATIENCE_LEAST_MS;
    if (p->seen != p->options->slots->beats || now_ms - p->beaten_ms > 3 * p->beat_ms) {
        p->seen = p->options->slots->beats;
        p->seen_ms = now_ms;
    }
    bool is_still = now_ms - p->seen_ms > patience_ms;
    if (is_still == p->is_resting)
        return;
    p->is_resting = is_still;
    if (is_still) {
        log_line(LOG_WARN, "supervisor_still",
                 "the supervisor stands still; giving the lease back until it goes on", NULL);
        worker_rest(p->worker);
    } else {
        log_line(LOG_INFO, "supervisor_back", "the supervisor goes on", NULL);
        worker_resume(p->worker);
    }
}

static void beat(void *context)
{
    struct process *p = context;
    uint64_t now_ms = clock_now_ms();
    loop_timer_start(p->beat_timer, p->beat_ms);
    p->slot->beats++;
    watch_supervisor(p, now_ms);
    p->beaten_ms = now_ms;
}

/* ── life ───────────────────────────────────────────────────────────────────────────────────── */

/* Takes the book. */
static void work(struct process *p, struct rulebook *book)
{
    static const struct worker_callbacks callbacks = {
        .on_fatal = on_fatal,
        .on_found = on_found,
        .on_scanned = on_scanned,
        .on_blamed = on_blamed,
        .on_rules = on_rules,
        .on_stopped = on_stopped,
    };
    static const struct channel_callbacks channel_callbacks = {.on_message = on_message,
                                                               .on_gone = on_gone};
    const struct config *config = p->options->config;
    struct worker_options options = {.loop = p->loop,
                                     .config = config,
                                     .book = book,
                                     .slot = p->slot,
                                     .token = p->options->token};
    struct error error;
    if (worker_create(&options, &callbacks, p, &p->worker, &error) != 0) {
        fail(p, &error);
        rulebook_release(book);
        return;
    }
    p->channel = channel_open(p->loop, p->options->fd, &channel_callbacks, p);
    p->term = loop_signal_open(p->loop, SIGTERM, on_term, p);
    p->scanned = UINT64_MAX;
    p->beat_timer = loop_timer_open(p->loop, beat, p);
    p->beat_ms = clamp((uint64_t)config->lease_ms / 15, BEAT_LEAST_MS, BEAT_MOST_MS);
    p->seen = p->options->slots->beats;
    p->seen_ms = p->beaten_ms = clock_now_ms();
    on_rules(p, book);
    rulebook_release(book); /* the worker keeps it, as long as it is used: others may follow */
    beat(p);
    worker_start(p->worker);
    loop_run(p->loop);
    log_flush_held(UINT64_MAX);
    loop_timer_close(p->beat_timer);
    loop_signal_close(p->term);
    worker_destroy(p->worker);
    channel_close(p->channel);
}

/* On the VM's stack: everything that touches rules. */
static int run_on_stack(void *context)
{
    struct process *p = context;
    const struct config *config = p->options->config;
    p->slot->thread = (uint32_t)gettid();
    struct registry *registry = registry_create();
    struct rulebook *book = NULL;
    struct rulebook_options options = {
        .config = config,
        .dir = config->rules,
        .registry = registry,
        .load_ms = 2 * (uint64_t)config->limits.load_ms, /* it was validated within one */
    };
    struct error error;
    int failed = rulebook_load(&options, p->options->edition, &book, &error);
    if (failed == 0 && !rulebook_is_sound(book)) {
        problems_show(book, stderr);
        failed = error_set(&error, ERROR_RULE, "the rules in %s have mistakes", config->rules);
    }
    if (failed == 0)
        failed = rulebook_start(book, &p->slot->note, &error);
    if (failed != 0) {
        fail(p, &error);
        rulebook_release(book);
    } else {
        p->loop = loop_create();
        work(p, book);
        loop_destroy(p->loop);
    }
    registry_destroy(registry);
    return p->status;
}

/* The kernel's word that the supervisor has died. The channel tells it as well, and the worker
 * stops; one that is stuck in a rule has nobody else to end it: SIGALRM does. */
static void on_orphaned(int number)
{
    (void)number;
    alarm(LAST_SECONDS);
}

static void name_process(unsigned number)
{
    char name[16], text[16];
    snprintf(name, sizeof name, "tidemill w%u", number);
    snprintf(text, sizeof text, "%u", number);
    prctl(PR_SET_NAME, name);
    log_name_process("worker", text);
}

int process_run(const struct process_options *options)
{
    struct process p = {
        .options = options, .slot = &options->slots->list[options->number], .status = EXIT_SUCCESS};
    struct error error;
    int status;
    name_process(options->number + 1);
    signal(SIGINT, SIG_IGN); /* a terminal's Ctrl-C comes to all: the supervisor tells us */
    signal(SIGHUP, SIG_IGN);
    signal(SIGUSR2, on_orphaned);
    prctl(PR_SET_PDEATHSIG, SIGUSR2);
    if (stack_run(run_on_stack, &p, &status, &error) != 0) {
        fail(&p, &error);
        return EXIT_FAILURE;
    }
    return status;
}
