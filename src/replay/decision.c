/* decision.c: see decision.h. Both ends are the same program, so a head travels as it lies in
 * memory. */
#include "replay/decision.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

enum { WRITE_BYTES = 256 * 1024, KEEP_BYTES = 1 << 20 };

/* ── writing ─────────────────────────────────────────────────────────────────────────────────── */

void decision_writer_init(struct decision_writer *w, int fd, struct run *run)
{
    *w = (struct decision_writer){.fd = fd, .run = run, .open_at = SIZE_MAX};
}

void decision_writer_fini(struct decision_writer *w)
{
    wishes_fini(&w->wishes);
    buf_fini(&w->out);
}

static int flush(struct decision_writer *w, struct error *error)
{
    size_t at = 0;
    while (at < w->out.len) {
        ssize_t written = write(w->fd, w->out.data + at, w->out.len - at);
        if (written < 0 && errno != EINTR)
            return error_set(error, ERROR_SYSTEM, "cannot tell what a rule decided: %s",
                             strerror(errno));
        at += written > 0 ? (size_t)written : 0;
    }
    buf_reset(&w->out, KEEP_BYTES);
    return 0;
}

static uint32_t lane_of(const struct run *run, uint32_t stream)
{
    const struct plan_partition *p = &run->plan->partitions[run->partition];
    uint32_t lane = stream - run->numbers[0]; /* numbers are given in the order of the lanes */
    if (lane < p->lane_count && run->numbers[lane] == stream)
        return lane;
    for (lane = 0; run->numbers[lane] != stream;)
        lane++;
    return lane;
}

static void close_decision(struct decision_writer *w)
{
    if (w->open_at == SIZE_MAX)
        return;
    uint32_t len = (uint32_t)(w->out.len - w->open_at);
    memcpy(w->out.data + w->open_at + offsetof(struct decision_head, len), &len, sizeof len);
    w->open_at = SIZE_MAX;
}

static void open_decision(struct decision_writer *w, const struct wish *wish, const void *subject)
{
    char window[64];
    struct span name = {"", 0};
    const struct batch_entry *at = wish->entry != NULL ? wish->entry : wish->before;
    struct decision_head head = {.kind = DECISION_ENTRY,
                                 .partition = (uint32_t)w->run->partition,
                                 .ms = INFINITY,
                                 .rule = wish->rule,
                                 .key_len = (uint32_t)wish->key.len};
    if (at != NULL) {
        head.ms = at->ms;
        head.seq = at->seq;
        head.lane = lane_of(w->run, at->stream);
    }
    if (wish->fired != NULL && wish->fired->kind == TIMER_WINDOW) {
        head.kind = DECISION_WINDOW;
        wish_window(wish->fired, window, sizeof window);
        name = (struct span){window, strlen(window)};
    } else if (wish->fired != NULL) {
        head.kind = DECISION_TIMER;
        head.due_ms = wish->fired->entry.ms;
        name = (struct span){wish->fired->name, wish->fired->name_len};
    }
    head.name_len = (uint32_t)name.len;
    w->open_at = w->out.len;
    w->subject = subject;
    w->rule = wish->rule;
    buf_append(&w->out, &head, sizeof head);
    buf_append(&w->out, wish->key.bytes, wish->key.len);
    buf_append(&w->out, name.bytes, name.len);
}

static void add_wish(struct decision_writer *w, const struct wish *wish)
{
    struct decision_wish_head head = {.len = (uint32_t)wish->bytes.len, .kind = WISH_EFFECT};
    uint32_t wishes;
    size_t count_at = w->open_at + offsetof(struct decision_head, wishes);
    memcpy(&wishes, w->out.data + count_at, sizeof wishes);
    wishes++;
    memcpy(w->out.data + count_at, &wishes, sizeof wishes);
    if (!wish->is_letter) {
        buf_append(&w->out, &head, sizeof head);
        buf_append(&w->out, wish->bytes.bytes, wish->bytes.len);
        return;
    }
    struct span reason = words_field(wish->words, WISH_LETTER_FIELDS, "reason"),
                message = words_field(wish->words, WISH_LETTER_FIELDS, "message");
    head = (struct decision_wish_head){.len = (uint32_t)(reason.len + 1 + message.len),
                                       .kind = WISH_LETTER};
    buf_append(&w->out, &head, sizeof head);
    buf_append(&w->out, reason.bytes, reason.len);
    buf_append(&w->out, "", 1);
    buf_append(&w->out, message.bytes, message.len);
}

static void on_wish(void *context, const struct wish *wish)
{
    struct decision_writer *w = context;
    const void *subject =
        wish->entry != NULL ? (const void *)wish->entry : (const void *)wish->fired;
    if (w->open_at == SIZE_MAX || w->subject != subject || w->rule != wish->rule) {
        close_decision(w);
        open_decision(w, wish, subject);
    }
    add_wish(w, wish);
}

int decision_write_batch(struct decision_writer *w, const struct batch_entry *entries,
                         uint32_t count, struct error *error)
{
    wishes_each(&w->wishes, w->run->bridge, entries, count, on_wish, w);
    close_decision(w);
    return w->out.len >= WRITE_BYTES ? flush(w, error) : 0;
}

int decision_write_end(struct decision_writer *w, struct error *error)
{
    size_t number = 0;
    for (uint32_t i = 0; i < w->run->plan->partition_count; i++) {
        for (uint32_t k = 0; k < w->run->plan->partitions[i].lane_count; k++) {
            struct decision_head head = {.len = sizeof head,
                                         .kind = DECISION_SUM,
                                         .partition = i,
                                         .lane = k,
                                         .ms = INFINITY};
            if (number < w->run->sum_count)
                head.sum = w->run->sums[number++];
            buf_append(&w->out, &head, sizeof head);
        }
    }
    struct decision_head end = {.len = sizeof end,
                                .kind = DECISION_END,
                                .partition = UINT32_MAX,
                                .ms = INFINITY,
                                .events = w->run->shared->events};
    buf_append(&w->out, &end, sizeof end);
    return flush(w, error);
}

/* ── reading ─────────────────────────────────────────────────────────────────────────────────── */

bool decision_read(struct span bytes, struct decision *out)
{
    struct decision_head *head = &out->head;
    if (bytes.len < sizeof *head)
        return false;
    memcpy(head, bytes.bytes, sizeof *head);
    if (bytes.len < head->len)
        return false;
    const char *at = bytes.bytes + sizeof *head;
    out->key = (struct span){at, head->key_len};
    out->name = (struct span){at + head->key_len, head->name_len};
    at += head->key_len + head->name_len;
    out->wishes = (struct span){at, head->len - (size_t)(at - bytes.bytes)};
    return true;
}

bool decision_next_wish(const struct decision *d, size_t *at, struct decided *wish)
{
    struct decision_wish_head head;
    if (*at == d->wishes.len)
        return false;
    memcpy(&head, d->wishes.bytes + *at, sizeof head);
    wish->kind = (enum decision_wish)head.kind;
    wish->bytes = (struct span){d->wishes.bytes + *at + sizeof head, head.len};
    *at += sizeof head + head.len;
    assert(*at <= d->wishes.len);
    return true;
}
