/* loader.c: see loader.h. Two lists of jobs under one lock: to do, and done; an eventfd wakes the
 * loop for the second. */
#include "worker/loader.h"

#include "sandbox/stack.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { NICE = 10 };

/* With an edition: to load it; without: to close the book. */
struct job {
    struct job *next;
    struct edition *edition;
    struct rulebook *book;
    struct error why;
};

struct list {
    struct job *first, **last;
};

struct loader {
    struct rulebook_options options;
    struct note *note;
    loader_done_call *done;
    void *context;
    struct loop_io *io;
    int fd;
    struct stack_thread *thread; /* started with the first job */
    pthread_mutex_t lock;
    pthread_cond_t has_work;
    struct list to_do, are_done;
    volatile bool is_over;
};

static void list_put(struct list *list, struct job *job)
{
    job->next = NULL;
    *list->last = job;
    list->last = &job->next;
}

static struct job *list_take(struct list *list)
{
    struct job *job = list->first;
    if (job == NULL)
        return NULL;
    list->first = job->next;
    if (list->first == NULL)
        list->last = &list->first;
    return job;
}

/* ── in the thread
 * ────────────────────────────────────────────────────────────────────────────────────────────────────
 */

static void load(struct loader *l, struct job *job)
{
    struct rulebook *book;
    int failed = rulebook_load(&l->options, job->edition, &book, &job->why);
    if (failed == 0 && !rulebook_is_sound(book)) {
        size_t count;
        const struct rule_problem *first = rulebook_problems(book, &count);
        failed =
            error_set(&job->why, ERROR_RULE, "%s:%d: %s", first->file, first->line, first->message);
        rulebook_release(book);
    } else if (failed == 0) {
        failed = rulebook_start(book, l->note, &job->why);
        if (failed != 0)
            rulebook_release(book);
    }
    if (failed == 0)
        job->book = book;
}

static int work(void *context)
{
    struct loader *l = context;
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL); /* they are for the loop's thread */
    setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICE);
    for (;;) {
        pthread_mutex_lock(&l->lock);
        while (l->to_do.first == NULL && !l->is_over)
            pthread_cond_wait(&l->has_work, &l->lock);
        struct job *job = list_take(&l->to_do);
        pthread_mutex_unlock(&l->lock);
        if (job == NULL)
            return 0;
        if (job->edition == NULL) {
            rulebook_release(job->book);
            free(job);
            continue;
        }
        if (!l->is_over)
            load(l, job);
        pthread_mutex_lock(&l->lock);
        list_put(&l->are_done, job);
        pthread_mutex_unlock(&l->lock);
        uint64_t one = 1;
        ssize_t written = write(l->fd, &one, sizeof one);
        assert(written == sizeof one);
    }
}

/* ── in the loop
 * ──────────────────────────────────────────────────────────────────────────────────────────────────────
 */

static void on_done(void *context, bool readable, bool writable)
{
    struct loader *l = context;
    uint64_t count;
    struct job *job;
    (void)readable;
    (void)writable;
    if (read(l->fd, &count, sizeof count) != sizeof count)
        return;
    for (;;) {
        pthread_mutex_lock(&l->lock);
        job = list_take(&l->are_done);
        pthread_mutex_unlock(&l->lock);
        if (job == NULL)
            return;
        l->done(l->context, job->book, job->book != NULL ? NULL : &job->why);
        edition_destroy(job->edition);
        free(job);
    }
}

struct loader *loader_create(struct loop *loop, const struct rulebook_options *options,
                             struct note *note, loader_done_call *done, void *context)
{
    struct loader *l = calloc(1, sizeof *l);
    if (l == NULL)
        abort();
    l->options = *options;
    l->options.is_cancelled = &l->is_over;
    l->note = note;
    l->done = done;
    l->context = context;
    l->to_do.last = &l->to_do.first;
    l->are_done.last = &l->are_done.first;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->has_work, NULL);
    l->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    assert(l->fd >= 0);
    l->io = loop_io_open(loop, l->fd, on_done, l);
    loop_io_want(l->io, true, false);
    return l;
}

static int add(struct loader *l, struct job *job, struct error *error)
{
    int failed = l->thread == NULL ? stack_start(work, l, &l->thread, error) : 0;
    if (failed != 0)
        return failed;
    pthread_mutex_lock(&l->lock);
    list_put(&l->to_do, job);
    pthread_cond_signal(&l->has_work);
    pthread_mutex_unlock(&l->lock);
    return 0;
}

static struct job *job_create(struct edition *edition, struct rulebook *book)
{
    struct job *job = calloc(1, sizeof *job);
    if (job == NULL)
        abort();
    job->edition = edition;
    job->book = book;
    return job;
}

int loader_load(struct loader *l, struct edition *edition, struct error *error)
{
    struct job *job = job_create(edition, NULL);
    int failed = add(l, job, error);
    if (failed != 0) {
        edition_destroy(edition);
        free(job);
    }
    return failed;
}

void loader_close(struct loader *l, struct rulebook *book)
{
    struct job *job = job_create(NULL, book);
    if (add(l, job, NULL) == 0)
        return;
    rulebook_release(book);
    free(job);
}

void loader_destroy(struct loader *l)
{
    if (l == NULL)
        return;
    pthread_mutex_lock(&l->lock);
    l->is_over = true;
    pthread_cond_signal(&l->has_work);
    pthread_mutex_unlock(&l->lock);
    if (l->thread != NULL)
        (void)stack_join(l->thread);
    struct job *job;
    while ((job = list_take(&l->are_done)) != NULL) {
        rulebook_release(job->book);
        edition_destroy(job->edition);
        free(job);
    }
    assert(l->to_do.first == NULL);
    loop_io_close(l->io);
    close(l->fd);
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->has_work);
    free(l);
}
