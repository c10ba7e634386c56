/* edit.c: see edit.h. Two round trips an attempt, so that the time in which the owner can be faster
 * is short. */
#include "cli/edit.h"

#include "base/clock.h"
#include "cli/partitions.h"
#include "redis/command.h"

#include <stdio.h>
#include <time.h>

enum { SPACE_MS = 100, PATIENCE_MS = 10000, FIRST_READ = 2 /* behind WATCH and EXISTS */ };

/* One attempt. */
struct attempt {
    const struct edit_calls *calls;
    void *context;
    size_t heard; /* replies of the pipeline so far */
    bool has_ctl;
    bool is_done;      /* EXEC was not nil */
    char refusal[512]; /* the first error, "" when none */
};

static void sleep_ms(uint64_t ms)
{
    struct timespec pause = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&pause, NULL);
}

static void note_refusal(struct attempt *a, const struct reply *reply)
{
    if (reply->type == REPLY_ERROR && a->refusal[0] == '\0')
        snprintf(a->refusal, sizeof a->refusal, "%s", reply->text);
}

static void on_read(void *context, const struct reply *reply)
{
    struct attempt *a = context;
    size_t index = a->heard++;
    if (index >= FIRST_READ) {
        a->calls->hear(a->context, index - FIRST_READ, reply);
        return;
    }
    note_refusal(a, reply);
    a->has_ctl = index == 1 && reply_number(reply, 0) == 1;
}

/* MULTI, QUEUED …, EXEC: an array, nil, or an error; errors of single commands are inside the
 * array. */
static void on_written(void *context, const struct reply *reply)
{
    struct attempt *a = context;
    note_refusal(a, reply);
    a->is_done = reply->type == REPLY_ARRAY; /* of the last reply, EXEC's */
    for (uint32_t i = 0; a->is_done && i + 1 < reply->count;
         i++) { /* the last one is that of HINCRBY */
        note_refusal(a, reply->elements[i]);
        if (a->calls->settle != NULL)
            a->calls->settle(a->context, i, reply->elements[i]);
    }
}

static int check(const struct attempt *a, const struct keys *keys, struct error *error)
{
    if (a->refusal[0] != '\0')
        return error_set(error, ERROR_REPLY, "Redis refused the change of partition %s: %s",
                         partitions_name(keys), a->refusal);
    if (!a->has_ctl)
        return error_set(error, ERROR_REPLY, "%s is gone: partition %s is no longer deployed",
                         keys->ctl.data, partitions_name(keys));
    return 0;
}

static int read_first(struct edit *e, const struct keys *keys, struct attempt *a,
                      struct error *error)
{
    struct buf *out = client_out(e->client);
    command_begin(out, 2);
    command_argument(out, "WATCH", 5);
    command_argument(out, keys->ctl.data, keys->ctl.len);
    command_begin(out, 2);
    command_argument(out, "EXISTS", 6);
    command_argument(out, keys->ctl.data, keys->ctl.len);
    size_t reads = a->calls->ask(a->context, out);
    int code = client_run(e->client, FIRST_READ + reads, on_read, a, error);
    return code != 0 ? code : check(a, keys, error);
}

static int write_then(struct edit *e, const struct keys *keys, struct attempt *a,
                      struct error *error)
{
    struct buf *out = client_out(e->client);
    command_append(out, "MULTI", NULL);
    size_t changes = a->calls->change(a->context, out);
    if (changes == 0) {
        out->len = 0;
        command_append(out, "UNWATCH", NULL);
        a->is_done = true;
        return client_run(e->client, 1, NULL, NULL, error);
    }
    command_begin(out, 4);
    command_argument(out, "HINCRBY", 7);
    command_argument(out, keys->ctl.data, keys->ctl.len);
    command_argument(out, "edits", 5);
    command_argument(out, "1", 1);
    command_append(out, "EXEC", NULL);
    e->next_ms = clock_now_ms() + SPACE_MS;
    int code = client_run(e->client, changes + 3, on_written, a, error);
    return code != 0 ? code : check(a, keys, error);
}

int edit_apply(struct edit *e, const struct keys *keys, const struct edit_calls *calls,
               void *context, struct error *error)
{
    uint64_t give_up_ms = clock_now_ms() + PATIENCE_MS;
    for (;;) {
        struct attempt a = {.calls = calls, .context = context};
        uint64_t now_ms = clock_now_ms();
        if (now_ms < e->next_ms)
            sleep_ms(e->next_ms - now_ms);
        int code = read_first(e, keys, &a, error);
        if (code == 0)
            code = write_then(e, keys, &a, error);
        if (code != 0 || a.is_done)
            return code;
        e->next_ms = 0; /* nothing happened, so nothing was dropped: (3) is about what happens */
        if (calls->on_missed != NULL)
            calls->on_missed(context);
        if (clock_now_ms() > give_up_ms)
            return error_set(error, ERROR_TIMEOUT,
                             "the engine commits too fast for a change of partition %s to come "
                             "between; try again",
                             partitions_name(keys));
        sleep_ms(1);
    }
}
