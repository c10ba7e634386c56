/* child.c: see child.h. */
#include "replay/child.h"

#include "sandbox/stack.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PIPE_BYTES = 1 << 20 };

struct job {
    const struct child_process_options *options;
    struct run_shared *shared;
    int out;
};

static int run_job(void *context)
{
    const struct job *job = context;
    return job->options->work(job->options->context, job->shared, job->out);
}

/* It ends with its parent. */
static void be_child(const struct job *job, pid_t parent)
{
    struct error error;
    int status;
    prctl(PR_SET_NAME, job->options->name);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    if (stack_run(run_job, (void *)job, &status, &error) != 0) {
        fprintf(stderr, "tidemill: %s\n", error.text);
        status = 1;
    }
    fflush(NULL);
    _exit(status);
}

static int open_pipe(bool is_wanted, int ends[2], struct error *error)
{
    ends[0] = ends[1] = -1;
    if (!is_wanted)
        return 0;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return error_set(error, ERROR_SYSTEM, "cannot make a pipe: %s", strerror(errno));
    (void)fcntl(ends[1], F_SETPIPE_SZ, PIPE_BYTES); /* smaller ones do, too */
    return 0;
}

int child_process_start(struct child_process *c, const struct child_process_options *options,
                        struct error *error)
{
    int ends[2];
    *c = (struct child_process){.pipe = -1};
    int code = open_pipe(options->has_pipe, ends, error);
    if (code != 0)
        return code;
    void *shared =
        mmap(NULL, sizeof *c->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return error_set(error, ERROR_SYSTEM, "cannot share memory with a child: %s",
                         strerror(errno));
    c->shared = shared;
    c->pipe = ends[0];
    pid_t parent = getpid();
    fflush(NULL); /* or the child would write it once more */
    c->pid = fork();
    if (c->pid < 0) {
        c->pid = 0;
        return error_set(error, ERROR_SYSTEM, "cannot fork: %s", strerror(errno));
    }
    if (c->pid == 0) {
        struct job job = {.options = options, .shared = c->shared, .out = ends[1]};
        if (ends[0] >= 0)
            close(ends[0]);
        be_child(&job, parent);
    }
    if (ends[1] >= 0)
        close(ends[1]);
    return 0;
}

static uint64_t cpu_ms(pid_t pid)
{
    clockid_t clock;
    struct timespec used = {0};
    if (clock_getcpuclockid(pid, &clock) == 0)
        (void)clock_gettime(clock, &used);
    return (uint64_t)used.tv_sec * 1000 + (uint64_t)used.tv_nsec / 1000000;
}

bool child_process_look(struct child_process *c, int64_t hard_ms)
{
    if (c->pid == 0)
        return true;
    if (waitpid(c->pid, &c->status, WNOHANG) == c->pid) {
        c->pid = 0;
        return true;
    }
    const struct note *note = &c->shared->note;
    if (!c->is_hanging &&
        watch_look(&c->watch, note_rule(note), note->mark.serial, c->shared->beats, cpu_ms(c->pid),
                   (uint64_t)hard_ms) == WATCH_HANG) {
        c->is_hanging = true;
        kill(c->pid, SIGKILL);
    }
    return false;
}

void child_process_stop(struct child_process *c)
{
    if (c->pid > 0) {
        kill(c->pid, SIGKILL);
        waitpid(c->pid, &c->status, 0);
    }
    if (c->pipe >= 0)
        close(c->pipe);
    if (c->shared != NULL)
        munmap(c->shared, sizeof *c->shared);
    *c = (struct child_process){.pipe = -1};
}

/* Where it was: "rule NAME on 1-0 of orders". */
static void tell_place(const struct note *note, const char *rule, char *text, size_t size)
{
    if (note->stream[0] == '\0')
        snprintf(text, size, "rule %s, on a timer or window that was due at %.0f,", rule, note->ms);
    else
        snprintf(text, size, "rule %s, on %.0f-%llu of %.800s,", rule, note->ms,
                 (unsigned long long)note->seq, note->stream);
}

bool child_process_tell(const struct child_process *c, const char *const *rules, size_t rule_count,
                        int64_t hard_ms, int *status, struct error *error)
{
    char place[NOTE_NAME + 128];
    if (WIFEXITED(c->status)) {
        *status = WEXITSTATUS(c->status);
        return false;
    }
    int number = WTERMSIG(c->status);
    uint32_t rule = note_rule(&c->shared->note);
    if (rule == 0 || rule > rule_count) {
        error_set(error, ERROR_SYSTEM, "the replay died of signal %d (%s), in no rule", number,
                  strsignal(number));
        return true;
    }
    tell_place(&c->shared->note, rules[rule - 1], place, sizeof place);
    if (c->is_hanging && number == SIGKILL)
        error_set(error, ERROR_RULE,
                  "%s ran longer than %lld ms of CPU without end (limits.hard_ms); an engine would "
                  "write a dead letter `hang` and go on",
                  place, (long long)hard_ms);
    else
        error_set(error, ERROR_RULE,
                  "%s took the process down: signal %d (%s); an engine would write a dead letter "
                  "`crash` and go on",
                  place, number, strsignal(number));
    return true;
}
