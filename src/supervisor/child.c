/* child.c: see child.h. */
#include "supervisor/child.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

void child_begin(struct child *c, pid_t pid, struct channel *channel, uint64_t now_ms)
{
    c->pid = pid;
    c->channel = channel;
    c->started_ms = now_ms;
    c->cpu_ms = 0;
    c->watch = (struct watch){0};
    c->status.len = 0;
    c->refused = (struct message_refused){0};
    c->runs = 0;
    c->is_due = c->is_hanging = c->is_stuck = c->is_late = false;
    int failed = clock_getcpuclockid(pid, &c->cpu_clock);
    assert(failed == 0); /* it is our child, and not waited for yet */
}

/* 0: it cannot be told. A thread of another process has no clock for us, but a file. */
static uint64_t thread_cpu_ms(const struct child *c)
{
    char path[64];
    unsigned long long ns = 0;
    snprintf(path, sizeof path, "/proc/%d/task/%u/schedstat", (int)c->pid, c->slot->thread);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%llu", &ns) != 1)
        ns = 0;
    fclose(file);
    return ns / 1000000;
}

uint64_t child_cpu_ms(struct child *c)
{
    struct timespec used = {0};
    uint64_t ms = c->slot->thread != 0 ? thread_cpu_ms(c) : 0;
    if (ms == 0 && clock_gettime(c->cpu_clock, &used) == 0)
        ms = (uint64_t)used.tv_sec * 1000 + (uint64_t)used.tv_nsec / 1000000;
    if (ms > c->cpu_ms) /* also when it has ended just now */
        c->cpu_ms = ms;
    return c->cpu_ms;
}

void child_take_edition(struct child *c, const char *body, size_t len)
{
    struct message_loaded head;
    memcpy(&head, body, sizeof head);
    assert(len == sizeof head + head.count * sizeof(struct message_rule));
    c->runs = head.edition;
    free(c->editions[CHILD_EDITIONS - 1].rules);
    memmove(c->editions + 1, c->editions, (CHILD_EDITIONS - 1) * sizeof *c->editions);
    struct message_rule *rules = calloc(head.count + 1, sizeof *rules);
    if (rules == NULL)
        abort();
    memcpy(rules, body + sizeof head, head.count * sizeof *rules);
    c->editions[0] =
        (struct child_rules){.number = head.edition, .rules = rules, .count = head.count};
}

const struct message_rule *child_rule(const struct child *c, uint32_t number)
{
    for (size_t i = 0; i < CHILD_EDITIONS; i++) {
        const struct child_rules *e = &c->editions[i];
        if (e->rules != NULL && e->number == c->slot->edition)
            return number >= 1 && number <= e->count ? &e->rules[number - 1] : NULL;
    }
    return NULL;
}

void child_tell_end(int wait_status, char *text, size_t size)
{
    if (WIFSIGNALED(wait_status))
        snprintf(text, size, "signal %d (%s)", WTERMSIG(wait_status),
                 strsignal(WTERMSIG(wait_status)));
    else
        snprintf(text, size, "exit status %d", WEXITSTATUS(wait_status));
}

void child_fini(struct child *c)
{
    channel_close(c->channel);
    loop_timer_close(c->timer);
    for (size_t i = 0; i < CHILD_EDITIONS; i++)
        free(c->editions[i].rules);
    buf_fini(&c->status);
}
