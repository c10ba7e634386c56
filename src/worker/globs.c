/* globs.c: see globs.h. */
#include "worker/globs.h"

#include "base/log.h"
#include "redis/command.h"
#include "stream/keys.h"

#include <stdio.h>
#include <stdlib.h>

enum { STREAM_NAME_MOST = 900 };

struct glob {
    const char *text;
    bool is_listed, was_listed;
    bool is_asked, is_known; /* known: the group knew it before this process listed it */
    bool is_scanned;         /* at least once since it was listed */
    bool is_passed;          /* by the scan that is under way */
};

struct globs {
    struct control *control;
    const char *group, *user;
    struct globs_callbacks callbacks;
    void *context;
    struct glob *list;
    size_t count, at; /* at: the one that is asked for or scanned */
    char cursor[32];
    bool is_told_name;
};

static void go_on(struct globs *g);

struct globs *globs_create(struct control *control, const char *group, const char *user,
                           const struct globs_callbacks *callbacks, void *context)
{
    struct globs *g = calloc(1, sizeof *g);
    if (g == NULL)
        abort();
    *g = (struct globs){.control = control,
                        .group = group,
                        .user = user[0] != '\0' ? user : "default",
                        .callbacks = *callbacks,
                        .context = context,
                        .cursor = "0"};
    return g;
}

void globs_destroy(struct globs *g)
{
    if (g == NULL)
        return;
    free(g->list);
    free(g);
}

/* ── the list
 * ─────────────────────────────────────────────────────────────────────────────────────────────────────────
 */

void globs_begin_list(struct globs *g)
{
    for (size_t i = 0; i < g->count; i++) {
        g->list[i].was_listed = g->list[i].is_listed;
        g->list[i].is_listed = false;
    }
}

void globs_list(struct globs *g, const char *text)
{
    size_t i = 0;
    while (i < g->count && strcmp(g->list[i].text, text) != 0)
        i++;
    if (i == g->count) {
        g->list = realloc(g->list, (g->count + 1) * sizeof *g->list);
        if (g->list == NULL)
            abort();
        g->list[g->count++] = (struct glob){.text = text};
    }
    struct glob *glob = &g->list[i];
    if (!glob->is_listed && !glob->was_listed)
        glob->is_asked = glob->is_scanned = glob->is_passed = false;
    glob->is_listed = true;
}

bool globs_are_there(const struct globs *g)
{
    for (size_t i = 0; i < g->count; i++)
        if (g->list[i].is_listed)
            return true;
    return false;
}

bool globs_are_scanned(const struct globs *g)
{
    for (size_t i = 0; i < g->count; i++)
        if (g->list[i].is_listed && !g->list[i].is_scanned)
            return false;
    return true;
}

const char *globs_next_scanned(const struct globs *g, size_t *cursor)
{
    while (*cursor < g->count) {
        const struct glob *glob = &g->list[(*cursor)++];
        if (glob->is_listed && glob->is_scanned)
            return glob->text;
    }
    return NULL;
}

/* ── asking
 * ───────────────────────────────────────────────────────────────────────────────────────────────────────────
 */

static void on_since(void *context, const struct reply *const *replies, size_t count)
{
    struct globs *g = context;
    struct glob *glob = &g->list[g->at];
    (void)count;
    glob->is_asked = true;
    glob->is_known = replies[0]->type == REPLY_STRING;
    go_on(g);
}

static void ask(struct globs *g)
{
    struct talk *talk = control_talk(g->control);
    struct buf *out = talk_begin(talk, control_link(g->control));
    struct keys home;
    char field[1024];
    keys_init(&home, NULL, 0, g->group);
    snprintf(field, sizeof field, "since:%s", g->list[g->at].text);
    command_append(out, "HGET", home.ctl.data, field, NULL);
    talk_expect(talk, "HGET ctl");
    keys_fini(&home);
    talk_send(talk, on_since, g);
}

/* ── scanning
 * ─────────────────────────────────────────────────────────────────────────────────────────────────────────
 */

static void begin_anew(struct globs *g)
{
    for (size_t i = 0; i < g->count; i++)
        g->list[i].is_passed = false;
    snprintf(g->cursor, sizeof g->cursor, "0");
}

static void scan_lost(void *context)
{
    begin_anew(context);
}

/* Names become fields of ctl and words of C: they hold no NUL and fit into a line. */
static bool is_readable_name(struct globs *g, const struct reply *name)
{
    if (name->len <= STREAM_NAME_MOST && memchr(name->text, '\0', name->len) == NULL)
        return true;
    if (!g->is_told_name)
        log_line(LOG_WARN, "stream_name",
                 "a stream that a glob matches has a name that tidemill does not read: longer than "
                 "900 bytes, "
                 "or with a NUL in it",
                 "stream", name->text, NULL);
    g->is_told_name = true;
    return false;
}

static void refuse(struct globs *g, const struct reply *reply)
{
    struct error why;
    bool is_forbidden = reply_is_error(reply, "NOPERM");
    if (is_forbidden)
        error_set(&why, ERROR_FATAL_REPLY,
                  "Redis: %s (SCAN, for the streams that globs match); grant the command with: "
                  "ACL SETUSER "
                  "%s +scan",
                  reply->text, g->user);
    else
        log_repeat(LOG_ERROR, "scan_refused",
                   "Redis refuses SCAN; streams that globs match are not found", "cause",
                   reply->type == REPLY_ERROR ? reply->text : "", NULL);
    begin_anew(g);
    control_end(g->control);
    if (is_forbidden)
        g->callbacks.on_fatal(g->context, &why);
}

static void on_scan(void *context, const struct reply *const *replies, size_t count)
{
    struct globs *g = context;
    const struct reply *reply = replies[0];
    struct glob *glob = &g->list[g->at];
    (void)count;
    if (reply->type != REPLY_ARRAY || reply->count != 2 ||
        reply->elements[1]->type != REPLY_ARRAY) {
        refuse(g, reply);
        return;
    }
    /* Not asked: removed and listed again meanwhile; this scan is of before. */
    bool is_of_now = glob->is_listed && glob->is_asked;
    for (uint32_t i = 0; i < reply->elements[1]->count && is_of_now; i++) {
        const struct reply *name = reply->elements[1]->elements[i];
        if (!keys_is_ours(name->text, name->len) && is_readable_name(g, name))
            g->callbacks.on_stream(g->context, name->text, name->len, glob->text,
                                   glob->is_scanned || glob->is_known);
    }
    snprintf(g->cursor, sizeof g->cursor, "%s", is_of_now ? reply->elements[0]->text : "0");
    if (strcmp(g->cursor, "0") == 0 && (is_of_now || !glob->is_listed))
        glob->is_passed = true;
    go_on(g);
}

static void scan(struct globs *g)
{
    struct talk *talk = control_talk(g->control);
    struct buf *out = talk_begin(talk, control_link(g->control));
    command_append(out, "SCAN", g->cursor, "MATCH", g->list[g->at].text, "COUNT", "1000", "TYPE",
                   "stream", NULL);
    talk_expect(talk, "SCAN");
    talk_send(talk, on_scan, g);
}

/* The next step of a scan; the list may have changed since the last one. */
static void go_on(struct globs *g)
{
    size_t next = 0;
    bool has_new = false;
    while (next < g->count && (!g->list[next].is_listed || g->list[next].is_passed))
        next++;
    if (next < g->count) {
        if (next != g->at)
            snprintf(g->cursor, sizeof g->cursor, "0");
        g->at = next;
        g->list[next].is_asked ? scan(g) : ask(g);
        return;
    }
    for (size_t i = 0; i < g->count; i++) {
        if (!g->list[i].is_listed)
            continue;
        has_new |= !g->list[i].is_scanned;
        g->list[i].is_scanned = true;
    }
    begin_anew(g);
    g->callbacks.on_scanned(g->context, has_new);
    control_end(g->control);
}

static void begin(void *context)
{
    begin_anew(context);
    go_on(context);
}

void globs_scan(struct globs *g)
{
    control_add(g->control, &(struct control_job){.begin = begin, .lost = scan_lost, .context = g});
}
