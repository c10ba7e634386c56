/* pending_scan.c: the timers of a key or of a name. A member is the key, NUL and the name
 * (rules/timers.h), so Redis itself finds both, with a glob that means nothing but themselves:
 *
 *   key and name    ZSCORE
 *   key             ZSCAN MATCH key NUL [^FF] *     NUL FF: the key goes on
 *   name            ZSCAN MATCH * NUL name          none is in a name, so it is the last NUL
 */
#include "cli/pending.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE_COUNT = 500 }; /* Redis does nothing else for about a millisecond */

static void append_literally(struct buf *out, const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (strchr("*?[]\\^-", bytes[i]) != NULL && bytes[i] != '\0')
            buf_append(out, "\\", 1);
        buf_append(out, &bytes[i], 1);
    }
}

static void make_pattern(struct pending_scan *s)
{
    struct buf member = {0};
    timer_member(&member, s->key == NULL ? "" : s->key, s->key == NULL ? 0 : strlen(s->key),
                 s->name == NULL ? "" : s->name, s->name == NULL ? 0 : strlen(s->name));
    if (s->key == NULL)
        buf_append(&s->pattern, "*", 1);
    if (s->key == NULL && s->name == NULL)
        member.len = 0;
    append_literally(&s->pattern, member.data, member.len);
    if (s->key != NULL && s->name == NULL)
        buf_append_text(&s->pattern, "[^\xff]*");
    buf_fini(&member);
}

static void add(struct pending_scan *s, struct pending_list *out, const char *member, size_t len,
                const struct reply *score)
{
    struct pending_timer timer = {.due_ms = strtod(score->text, NULL),
                                  .rule = s->rule,
                                  .clock = s->clock,
                                  .len = (uint32_t)len};
    pending_list_add(out, &timer, member);
}

static int look_up(struct pending_scan *s, struct pending_list *out, struct error *error)
{
    const struct buf *queue = &s->rule->queues[s->clock];
    const struct reply *reply;
    struct buf member = {0};
    timer_member(&member, s->key, strlen(s->key), s->name, strlen(s->name));
    const char *argv[] = {"ZSCORE", queue->data, member.data};
    size_t lens[] = {6, queue->len, member.len};
    int code = client_call_argv(s->client, 3, argv, lens, &reply, error);
    if (code == 0 && reply->type != REPLY_NIL && reply->type != REPLY_STRING)
        code = pending_refuse(queue, reply, error);
    if (code == 0 && reply->type == REPLY_STRING)
        add(s, out, member.data, member.len, reply);
    s->is_over = true;
    buf_fini(&member);
    return code;
}

static int next_page(struct pending_scan *s, struct pending_list *out, struct error *error)
{
    const struct buf *queue = &s->rule->queues[s->clock];
    const struct reply *reply;
    char count[16];
    if (s->cursor[0] == '\0') {
        make_pattern(s);
        snprintf(s->cursor, sizeof s->cursor, "0");
    }
    snprintf(count, sizeof count, "%d", PAGE_COUNT);
    const char *argv[] = {"ZSCAN",         queue->data, s->cursor, "MATCH",
                          s->pattern.data, "COUNT",     count};
    size_t lens[] = {5, queue->len, strlen(s->cursor), 5, s->pattern.len, 5, strlen(count)};
    int code = client_call_argv(s->client, 7, argv, lens, &reply, error);
    if (code == 0 && reply->type != REPLY_ARRAY)
        code = pending_refuse(queue, reply, error);
    if (code != 0)
        return code;
    const struct reply *pairs = reply->elements[1];
    for (uint32_t i = 0; i + 1 < pairs->count; i += 2)
        add(s, out, pairs->elements[i]->text, pairs->elements[i]->len, pairs->elements[i + 1]);
    snprintf(s->cursor, sizeof s->cursor, "%s", reply->elements[0]->text);
    s->is_over = strcmp(s->cursor, "0") == 0;
    return 0;
}

int pending_scan_next(struct pending_scan *s, struct pending_list *out, struct error *error)
{
    return s->key != NULL && s->name != NULL ? look_up(s, out, error) : next_page(s, out, error);
}

void pending_scan_fini(struct pending_scan *s)
{
    buf_fini(&s->pattern);
}
