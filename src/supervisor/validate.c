/* validate.c: see validate.h. The child's findings come over a pipe whose end is that of the child;
 * which file it is in stands in shared memory. */
#include "supervisor/validate.h"

#include "base/log.h"
#include "rules/rulebook.h"
#include "sandbox/stack.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { GRACE_MS = 1000, FIRST_FD = 3, CANNOT = 3 };

struct validation {
    struct loop *loop;
    const struct config *config;
    struct edition *edition; /* what is left of it */
    validate_done_call *done;
    void *context;
    struct rulebook_progress *progress; /* shared */
    uint32_t seen;                      /* of it, when the timer was started */
    pid_t pid;
    int fd; /* -1: none */
    struct loop_io *io;
    struct loop_timer *timer;
    struct buf in;
    struct findings findings; /* problems of files that took a child down */
    bool is_late;             /* we killed it */
};

static void begin_child(struct validation *v);

/* ── in the child ───────────────────────────────────────────────────────────────────────────── */

static int load(void *context)
{
    struct validation *v = context;
    struct rulebook_options options = {
        .config = v->config, .dir = v->config->rules, .progress = v->progress};
    struct rulebook *book;
    struct error why;
    struct findings findings = {0};
    struct buf out = {0};
    if (rulebook_load(&options, v->edition, &book, &why) != 0) {
        log_line(LOG_ERROR, "validation_failed", why.text, NULL);
        return CANNOT;
    }
    findings_of(book, &findings);
    findings_write(&findings, &out);
    for (size_t sent = 0; sent < out.len;) {
        ssize_t written = write(v->fd, out.data + sent, out.len - sent);
        if (written < 0 && errno != EINTR)
            return CANNOT;
        sent += written > 0 ? (size_t)written : 0;
    }
    return 0;
}

/* Nothing of the parent's is touched but its memory's copy; so nothing of it is freed either. */
static _Noreturn void be_child(struct validation *v, int fd, const sigset_t *signals)
{
    struct error why;
    int status = CANNOT;
    for (int number = 1; number < 32; number++)
        signal(number, number == SIGPIPE ? SIG_IGN : SIG_DFL);
    signal(SIGINT, SIG_IGN); /* a terminal's Ctrl-C is for the supervisor, which ends us */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NAME, "tidemill load");
    if (fd > FIRST_FD)
        close_range(FIRST_FD, (unsigned)fd - 1, 0);
    close_range((unsigned)fd + 1, ~0U, 0);
    sigprocmask(SIG_SETMASK, signals, NULL);
    v->fd = fd;
    if (stack_run(load, v, &status, &why) != 0)
        log_line(LOG_ERROR, "validation_failed", why.text, NULL);
    _exit(status);
}

/* ── in the supervisor ──────────────────────────────────────────────────────────────────────── */

static void end_child(struct validation *v, int *status)
{
    loop_io_close(v->io);
    v->io = NULL;
    close(v->fd);
    v->fd = -1;
    loop_timer_stop(v->timer);
    while (waitpid(v->pid, status, 0) < 0 && errno == EINTR)
        continue;
    v->pid = 0;
}

static void destroy(struct validation *v)
{
    loop_io_close(v->io);
    if (v->fd >= 0)
        close(v->fd);
    loop_timer_close(v->timer);
    munmap(v->progress, sizeof *v->progress);
    edition_destroy(v->edition);
    findings_fini(&v->findings);
    buf_fini(&v->in);
    free(v);
}

static void finish(struct validation *v, struct findings *findings, const struct error *why)
{
    v->done(v->context, findings, why);
    destroy(v);
}

static void fail(struct validation *v, const char *what, const char *cause)
{
    struct error why;
    error_set(&why, ERROR_SYSTEM, "the rules could not be validated: %s%s", what, cause);
    finish(v, NULL, &why);
}

/* The file that the child was in; another child goes on without it. */
static void blame_file(struct validation *v, int status)
{
    char message[256], path[4096];
    const char *file = v->progress->file;
    if (edition_find(v->edition, file) == NULL) {
        fail(v, "loading ended the process", "");
        return;
    }
    if (v->is_late)
        snprintf(message, sizeof message, "loading took longer than %lld ms (limits.load_ms)",
                 (long long)v->config->limits.load_ms);
    else if (WIFSIGNALED(status))
        snprintf(message, sizeof message, "loading ended the process: signal %d (%s)",
                 WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        snprintf(message, sizeof message, "loading ended the process: exit status %d",
                 WEXITSTATUS(status));
    snprintf(path, sizeof path, "%s/%s", v->config->rules, file);
    struct rule_problem problem = {
        .file = path, .unit = file, .other = "", .line = 1, .message = message};
    findings_add(&v->findings, &problem);
    edition_remove(v->edition, file);
    begin_child(v);
}

static void on_end(struct validation *v)
{
    int status;
    struct findings findings;
    end_child(v, &status);
    if (status == 0 && findings_parse(v->in.data, v->in.len, &findings)) {
        for (size_t i = 0; i < v->findings.problem_count; i++)
            findings_add(&findings, &v->findings.problems[i]);
        finish(v, &findings, NULL);
        findings_fini(&findings);
    } else if (WIFEXITED(status) && WEXITSTATUS(status) == CANNOT) {
        fail(v, "see the log", "");
    } else {
        blame_file(v, status);
    }
}

static void on_readable(void *context, bool readable, bool writable)
{
    struct validation *v = context;
    char part[16384];
    (void)readable;
    (void)writable;
    ssize_t got = read(v->fd, part, sizeof part);
    if (got > 0)
        buf_append(&v->in, part, (size_t)got);
    else if (got == 0 || (errno != EAGAIN && errno != EINTR))
        on_end(v);
}

/* It stops its own files on time; this is for what no hook sees, such as a pattern. Each file has
 * as long as all may take. */
static void on_timer(void *context)
{
    struct validation *v = context;
    if (v->pid == 0) {
        begin_child(v);
        return;
    }
    if (v->seen == v->progress->files) {
        v->is_late = true;
        kill(v->pid, SIGKILL);
        return; /* the pipe ends */
    }
    v->seen = v->progress->files;
    loop_timer_start(v->timer, (uint64_t)v->config->limits.load_ms + GRACE_MS);
}

static void begin_child(struct validation *v)
{
    int ends[2];
    sigset_t all, before;
    v->in.len = 0;
    v->is_late = false;
    *v->progress = (struct rulebook_progress){0};
    if (pipe2(ends, O_CLOEXEC) != 0) {
        fail(v, "no pipe: ", strerror(errno));
        return;
    }
    fflush(NULL);
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    v->pid = fork();
    if (v->pid == 0)
        be_child(v, ends[1], &before);
    int cause = errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    close(ends[1]);
    if (v->pid < 0) {
        v->pid = 0;
        close(ends[0]);
        fail(v, "cannot fork: ", strerror(cause));
        return;
    }
    v->fd = ends[0];
    v->io = loop_io_open(v->loop, v->fd, on_readable, v);
    loop_io_want(v->io, true, false);
    v->seen = 0;
    loop_timer_start(v->timer, (uint64_t)v->config->limits.load_ms + GRACE_MS);
}

struct validation *validate_begin(struct loop *loop, const struct config *config,
                                  const struct edition *edition, validate_done_call *done,
                                  void *context)
{
    struct validation *v = calloc(1, sizeof *v);
    if (v == NULL)
        abort();
    *v = (struct validation){
        .loop = loop, .config = config, .done = done, .context = context, .fd = -1};
    v->progress =
        mmap(NULL, sizeof *v->progress, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (v->progress == MAP_FAILED)
        abort();
    v->edition = edition_copy(edition);
    v->timer = loop_timer_open(loop, on_timer, v);
    loop_timer_start(v->timer, 0); /* so that `done` never comes from within this call */
    return v;
}

void validate_cancel(struct validation *v)
{
    int status;
    if (v == NULL)
        return;
    if (v->pid != 0) {
        kill(v->pid, SIGKILL);
        end_child(v, &status);
    }
    destroy(v);
}

void validate_leave(struct validation *v)
{
    if (v != NULL)
        destroy(v);
}

/* ── waiting for it ─────────────────────────────────────────────────────────────────────────── */

struct wait {
    struct loop *loop;
    struct findings *findings;
    struct error *error;
    int failed;
};

static void on_waited(void *context, struct findings *findings, const struct error *why)
{
    struct wait *wait = context;
    if (why != NULL) {
        wait->failed = error_set(wait->error, why->code, "%s", why->text);
    } else {
        *wait->findings = *findings;
        *findings = (struct findings){0};
    }
    loop_stop(wait->loop);
}

int validate_now(const struct config *config, const struct edition *edition,
                 struct findings *findings, struct error *error)
{
    struct wait wait = {.loop = loop_create(), .findings = findings, .error = error};
    (void)validate_begin(wait.loop, config, edition, on_waited, &wait);
    loop_run(wait.loop);
    loop_destroy(wait.loop);
    return wait.failed;
}
