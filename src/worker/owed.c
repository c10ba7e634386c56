/* owed.c: see owed.h. */
#include "worker/owed.h"

#include "base/clock.h"

#include <stdio.h>

void owed_init(struct owed *o, const struct keys *keys, int64_t dlq_maxlen)
{
    *o = (struct owed){.dlq_key = keys->dlq.data, .dlq_maxlen = dlq_maxlen};
}

void owed_fini(struct owed *o)
{
    buf_fini(&o->letters);
}

void owed_add(struct owed *o, const struct letter *letter)
{
    letter_append(&o->letters, o->dlq_key, o->dlq_maxlen, letter);
    o->count++;
}

void owed_add_unverified(struct owed *o, const char *unverified)
{
    char message[700];
    snprintf(message, sizeof message,
             "the engine or its connection broke off before it saw whether Redis refused a write "
             "of this commit: %s",
             unverified);
    struct letter letter = {.stream = "",
                            .id = "",
                            .rule = "",
                            .version = "",
                            .reason = "unverified",
                            .message = message,
                            .traceback = "",
                            .key = "",
                            .payload = "",
                            .at_ms = clock_wall_ms(),
                            .attempts = 1};
    owed_add(o, &letter);
}

void owed_commit(const struct owed *o, struct commit *commit)
{
    commit_add_commands(commit, o->letters.data, o->letters.len, o->count, "XADD :dlq");
}

void owed_clear(struct owed *o)
{
    o->letters.len = o->count = 0;
}
