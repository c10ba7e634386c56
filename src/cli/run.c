/* run.c: `tidemill run`: loads the rules, works until it is told to stop. */
#include "base/log.h"
#include "base/loop.h"
#include "cli/cli.h"
#include "cli/embedded.h"
#include "cli/problems.h"
#include "cli/socket.h"
#include "rules/rulebook.h"
#include "sandbox/stack.h"
#include "worker/worker.h"

#include <signal.h>
#include <stdio.h>

struct run {
    struct loop *loop;
    struct worker *worker;
    int status;
};

static void on_fatal(void *context, const struct error *why)
{
    struct run *run = context;
    if (run->status == EXIT_FAILED)
        return; /* replies that were on their way already repeat it */
    log_line(LOG_ERROR, "fatal", why->text, NULL);
    run->status = EXIT_FAILED;
    loop_stop(run->loop);
}

static void on_stopped(void *context)
{
    struct run *run = context;
    loop_stop(run->loop);
}

static void on_signal(void *context, int number)
{
    struct run *run = context;
    log_line(LOG_INFO, "stopping", "committing what is computed and giving the lease back",
             "signal", number == SIGINT ? "SIGINT" : "SIGTERM", NULL);
    worker_stop(run->worker);
}

/* Reserved for a reload; until it exists, a hang-up must not end the engine without a drain. */
static void on_hangup(void *context, int number)
{
    (void)context;
    (void)number;
    log_repeat(LOG_WARN, "no_reload",
               "SIGHUP: edited rules are loaded by a restart in this version", NULL);
}

static void write_status(void *context, struct buf *answer)
{
    struct run *run = context;
    worker_status(run->worker, answer);
}

static int work(struct run *run, const struct config *config, struct rulebook *book,
                struct error *error)
{
    static const struct worker_callbacks callbacks = {.on_fatal = on_fatal,
                                                      .on_stopped = on_stopped};
    struct loop_signal *term = NULL, *interrupt = NULL, *hangup = NULL;
    struct control_socket *socket = NULL;
    int failed = worker_create(run->loop, config, book, &callbacks, run, &run->worker, error);
    if (failed != 0)
        return failed;
    failed = control_socket_open(run->loop, config->control,
                                 config_origin_of(config, "control") != ORIGIN_DEFAULT,
                                 write_status, run, &socket, error);
    if (failed != 0)
        goto out;
    term = loop_signal_open(run->loop, SIGTERM, on_signal, run);
    interrupt = loop_signal_open(run->loop, SIGINT, on_signal, run);
    hangup = loop_signal_open(run->loop, SIGHUP, on_hangup, run);
    log_line(LOG_INFO, "started", "tidemill runs", "group", config->group, "rules",
             log_number((long long)rulebook_count(book)), NULL);
    worker_start(run->worker);
    loop_run(run->loop);
    log_flush_held(UINT64_MAX);
    if (run->status == EXIT_FINE)
        log_line(LOG_INFO, "stopped", "tidemill has stopped", NULL);
out:
    loop_signal_close(term);
    loop_signal_close(interrupt);
    loop_signal_close(hangup);
    control_socket_close(socket);
    worker_destroy(run->worker);
    return failed;
}

/* On the VM's stack: everything that touches rules. */
static int run_on_stack(void *context)
{
    struct error error = {0};
    struct rulebook *book = NULL;
    struct embedded *embedded = NULL;
    struct config own = *(const struct config *)context;
    struct run run = {.status = EXIT_FINE};
    int failed = rulebook_load(&own, own.rules, &book, &error);
    if (failed == 0 && !problems_show(book, stderr))
        failed = error_set(&error, ERROR_RULE, "the rules in %s have mistakes; nothing was started",
                           own.rules);
    if (failed == 0)
        failed = rulebook_start(book, &error);
    if (failed == 0 && own.embedded != NULL)
        failed = embedded_start(own.embedded, &embedded, &error);
    if (embedded != NULL)
        own.redis = embedded_url(embedded);
    run.loop = loop_create();
    if (failed == 0)
        failed = work(&run, &own, book, &error);
    loop_destroy(run.loop);
    embedded_stop(embedded);
    rulebook_destroy(book);
    return failed != 0 ? cli_fail(&error) : run.status;
}

int cli_run(const struct config *config, int argc, char **argv)
{
    struct error error;
    int status;
    (void)argc;
    (void)argv;
    signal(SIGPIPE, SIG_IGN);
    return stack_run(run_on_stack, (void *)config, &status, &error) != 0 ? cli_fail(&error)
                                                                         : status;
}
