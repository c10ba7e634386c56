/* lease.c: see lease.h. WATCH, GET = mine, MULTI, PEXPIRE or DEL (and ctl's note), EXEC. */
#include "worker/lease.h"

#include "base/clock.h"
#include "base/log.h"
#include "redis/command.h"

#include <stdio.h>
#include <stdlib.h>

struct lease {
    struct control *control;
    struct partition *partition;
    struct lease_callbacks callbacks;
    void *context;
    uint64_t life_ms;
    uint64_t renew_at_ms; /* 0: it is not ours */
    bool is_renewing, is_leaving;
};

struct lease *lease_create(struct control *control, struct partition *partition, uint64_t life_ms,
                           const struct lease_callbacks *callbacks, void *context)
{
    struct lease *l = calloc(1, sizeof *l);
    if (l == NULL)
        abort();
    *l = (struct lease){.control = control,
                        .partition = partition,
                        .callbacks = *callbacks,
                        .context = context,
                        .life_ms = life_ms};
    return l;
}

void lease_destroy(struct lease *l)
{
    free(l);
}

void lease_begin(struct lease *l)
{
    l->renew_at_ms = clock_now_ms() + l->life_ms / 3;
}

/* A command on the lease that will never be allowed. */
static bool is_forbidden(struct lease *l, const struct reply *const *replies, size_t count,
                         struct error *why)
{
    for (size_t i = 0; i < count; i++) {
        if (!reply_is_error(replies[i], "NOPERM"))
            continue;
        char what[64];
        snprintf(what, sizeof what, "%s :lease", talk_what(control_talk(l->control), i));
        owner_explain_refusal(partition_owner(l->partition), replies[i], what, why);
        return true;
    }
    return false;
}

static bool is_mine(const struct lease *l, const struct reply *lease)
{
    return reply_is_text(lease, partition_owner(l->partition)->token);
}

static void read_lease(struct lease *l, talk_done_call *done)
{
    const struct keys *k = partition_keys(l->partition);
    struct buf *out = talk_begin(control_talk(l->control), control_link(l->control));
    command_append(out, "WATCH", k->lease.data, NULL);
    talk_expect(control_talk(l->control), "WATCH lease");
    command_append(out, "GET", k->lease.data, NULL);
    talk_expect(control_talk(l->control), "GET lease");
    talk_send(control_talk(l->control), done, l);
}

/* ── renewing ───────────────────────────────────────────────────────────────────────────────── */

static void on_renewed(void *context, const struct reply *const *replies, size_t count)
{
    struct lease *l = context;
    struct error why;
    l->is_renewing = false;
    if (is_forbidden(l, replies, count, &why)) {
        control_end(l->control);
        l->callbacks.on_fatal(l->context, &why);
        return;
    }
    l->renew_at_ms = clock_now_ms() + l->life_ms / 3;
    if (replies[count - 1]->type != REPLY_ARRAY)
        l->renew_at_ms = clock_now_ms(); /* it changed in between: look again */
    control_end(l->control);
}

static void on_read(void *context, const struct reply *const *replies, size_t count)
{
    struct lease *l = context;
    const struct keys *k = partition_keys(l->partition);
    struct talk *talk = control_talk(l->control);
    struct link *link = control_link(l->control);
    if (!is_mine(l, replies[count - 1])) {
        command_append(link_out(link), "UNWATCH", NULL);
        link_expect(link, NULL, NULL, NULL, 0);
        link_flush(link);
        l->is_renewing = false;
        l->renew_at_ms = 0;
        control_end(l->control);
        if (!l->is_leaving)
            partition_recover(l->partition, "lease_lost",
                              "the lease expired or is somebody else's");
        return;
    }
    struct buf *out = talk_begin(talk, link);
    command_append(out, "MULTI", NULL);
    talk_expect(talk, "MULTI");
    command_append(out, "PEXPIRE", k->lease.data, log_number((long long)l->life_ms), NULL);
    talk_expect(talk, "PEXPIRE");
    command_append(out, "EXEC", NULL);
    talk_expect(talk, "EXEC");
    talk_send(talk, on_renewed, l);
}

static void renew(void *context)
{
    read_lease(context, on_read);
}

static void renew_lost(void *context)
{
    struct lease *l = context;
    l->is_renewing = false;
}

void lease_tick(struct lease *l, uint64_t now_ms)
{
    if (l->renew_at_ms == 0 || l->is_renewing || l->is_leaving || now_ms < l->renew_at_ms ||
        partition_phase(l->partition) != PARTITION_OWNED)
        return;
    l->is_renewing = true;
    control_add(l->control,
                &(struct control_job){.begin = renew, .lost = renew_lost, .context = l});
}

/* ── giving back ────────────────────────────────────────────────────────────────────────────── */

static void on_deleted(void *context, const struct reply *const *replies, size_t count)
{
    struct lease *l = context;
    struct error why;
    if (is_forbidden(l, replies, count, &why))
        log_line(LOG_WARN, "lease_stays", "the lease was not given back and expires by itself",
                 "cause", why.text, NULL);
    control_end(l->control);
    l->callbacks.on_given_back(l->context);
}

static void on_read_back(void *context, const struct reply *const *replies, size_t count)
{
    struct lease *l = context;
    const struct keys *k = partition_keys(l->partition);
    struct talk *talk = control_talk(l->control);
    if (!is_mine(l, replies[count - 1])) {
        control_end(l->control);
        l->callbacks.on_given_back(l->context);
        return;
    }
    struct buf *out = talk_begin(talk, control_link(l->control));
    command_append(out, "MULTI", NULL);
    talk_expect(talk, "MULTI");
    command_append(out, "DEL", k->lease.data, NULL);
    talk_expect(talk, "DEL");
    command_append(out, "HDEL", k->ctl.data, "note", NULL); /* a clean end: trail.h */
    talk_expect(talk, "HDEL");
    command_append(out, "EXEC", NULL);
    talk_expect(talk, "EXEC");
    talk_send(talk, on_deleted, l);
}

static void begin_giving_back(void *context)
{
    read_lease(context, on_read_back);
}

static void give_back_lost(void *context)
{
    struct lease *l = context;
    l->callbacks.on_given_back(l->context);
}

void lease_give_back(struct lease *l)
{
    struct control_job job = {.begin = begin_giving_back, .lost = give_back_lost, .context = l};
    l->is_leaving = true;
    if (l->renew_at_ms == 0)
        l->callbacks.on_given_back(l->context); /* never ours */
    else
        control_add(l->control, &job);
}
