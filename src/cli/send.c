/* send.c: JSON lines to entries of a stream.
 *
 *   lines ── judged, packed ──> batch of XADDs ──> replies, each told apart by its line's number
 *
 * A line that is no event costs only itself (unless --strict); an error of Redis ends the work,
 * since the next line would meet it as well: wrong type, no permission, out of memory. While Redis
 * works on one batch the next is made. A batch is sent early when the input pauses, so that a slow
 * writer of a pipe sees its events arrive. */
#include "base/clock.h"
#include "base/terminal.h"
#include "cli/cli.h"
#include "cli/lines.h"
#include "cli/members.h"
#include "codec/json.h"
#include "redis/client.h"
#include "redis/command.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum { BATCH_LINES = 500, BATCH_BYTES = 1024 * 1024, DEPTH_MOST = 200 };

/* The lines whose replies are outstanding, in order. */
struct batch {
    uint64_t numbers[BATCH_LINES];
    size_t count, answered;
};

struct send {
    const struct config *config;
    const char *stream, *file; /* file: NULL for standard input */
    struct client *client;
    struct lines lines;
    struct batch batches[2]; /* one being made, one being answered */
    struct batch *making, *flying;
    struct buf commands; /* of the batch being made */
    struct buf packed;   /* one line as msgpack */
    uint64_t sent, bad;
    bool is_interrupted;
    bool is_refused; /* Redis answered with an error: `refusal`, of line `refused_line` */
    uint64_t refused_line;
    char refusal[256];
};

/* SIGINT and SIGTERM become readable: a read that waits ends, what was read is sent, the count is
 * told. */
static int catch_signals(struct send *s, struct error *error)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    s->lines.wake_fd = signalfd(-1, &signals, SFD_CLOEXEC);
    if (s->lines.wake_fd < 0)
        return error_set(error, ERROR_SYSTEM, "cannot wait for signals: %s", strerror(errno));
    return 0;
}

/* -- Telling -- */

static void tell_bad_line(struct send *s, uint64_t number, const char *cause)
{
    struct error error;
    s->bad++;
    if (s->file != NULL)
        error_set(&error, ERROR_FORMAT, "%s:%" PRIu64 ": %s", s->file, number, cause);
    else
        error_set(&error, ERROR_FORMAT, "line %" PRIu64 ": %s", number, cause);
    cli_fail(&error);
}

static void tell_summary(const struct send *s, uint64_t started_us)
{
    double seconds = (double)(clock_now_us() - started_us) / 1e6;
    if (!terminal_is_watched(STDERR_FILENO))
        return;
    fprintf(stderr, "%" PRIu64 " events sent to %s in %.1f s (%.0f a second)", s->sent, s->stream,
            seconds, seconds > 0 ? (double)s->sent / seconds : 0.0);
    if (s->bad > 0)
        fprintf(stderr, ", %" PRIu64 " bad lines left out", s->bad);
    fputs("\n", stderr);
}

/* -- One line to one command -- */

static void begin_command(struct send *s, size_t fields)
{
    int64_t maxlen = s->config->send.maxlen;
    struct buf *out = &s->commands;
    command_begin(out, 3 + (maxlen > 0 ? 3 : 0) + 2 * fields);
    command_argument(out, "XADD", 4);
    command_argument_text(out, s->stream);
    if (maxlen > 0) {
        command_argument(out, "MAXLEN", 6);
        command_argument(out, "~", 1);
        command_argument_number(out, maxlen);
    }
    command_argument(out, "*", 1);
}

/* What a JSON string means, bytes: its msgpack form without the header. */
static void append_string(struct send *s, const char *text, size_t len)
{
    bool is_plain = memchr(text, '\\', len) == NULL;
    if (is_plain) {
        command_argument(&s->commands, text + 1, len - 2);
        return;
    }
    s->packed.len = 0;
    int code = json_to_msgpack(text, len, 1, &s->packed, NULL);
    assert(code == 0); /* a part of a text that was accepted whole */
    uint8_t first = (uint8_t)s->packed.data[0];
    size_t head = first < 0xc0 ? 1 : first == 0xd9 ? 2 : first == 0xda ? 3 : 5;
    command_argument(&s->commands, s->packed.data + head, s->packed.len - head);
}

static void append_member(struct send *s, const struct member *m)
{
    append_string(s, m->name - 1, m->name_len + 2);
    if (m->value[0] == '"')
        append_string(s, m->value, m->value_len);
    else
        command_argument(&s->commands, m->value, m->value_len);
}

/* null is how JSON says that a field is not there. */
static bool is_absent(const struct member *m)
{
    return m->value_len == 4 && memcmp(m->value, "null", 4) == 0;
}

static const char *append_fields(struct send *s, const char *text, size_t len)
{
    struct member m;
    size_t count = 0;
    for (const char *at = text; members_next(&at, text + len, &m);)
        count += !is_absent(&m);
    if (count == 0)
        return "an entry needs at least one field";
    begin_command(s, count);
    for (const char *at = text; members_next(&at, text + len, &m);) {
        if (!is_absent(&m))
            append_member(s, &m);
    }
    return NULL;
}

/* Appends the command of one event, or returns why the line is none. */
static const char *append_event(struct send *s, const char *text, size_t len, struct error *error)
{
    if (text[0] != '{')
        return "an event is a JSON object, {...}";
    s->packed.len = 0;
    if (json_to_msgpack(text, len, DEPTH_MOST, &s->packed, error) != 0)
        return error->text;
    if (s->config->send.codec == CODEC_FIELDS)
        return append_fields(s, text, len);
    begin_command(s, 1);
    command_argument_text(&s->commands, s->config->send.field);
    if (s->config->send.codec == CODEC_JSON)
        command_argument(&s->commands, text, len);
    else
        command_argument(&s->commands, s->packed.data, s->packed.len);
    return NULL;
}

static void trim(const char **text, size_t *len)
{
    while (*len > 0 && strchr(" \t\r", (*text)[*len - 1]) != NULL)
        --*len;
    while (*len > 0 && strchr(" \t\r", **text) != NULL) {
        ++*text;
        --*len;
    }
}

/* -- Batches -- */

static void on_reply(void *context, const struct reply *reply)
{
    struct send *s = context;
    uint64_t number = s->flying->numbers[s->flying->answered++];
    if (reply->type != REPLY_ERROR) {
        s->sent++;
    } else if (!s->is_refused) {
        s->is_refused = true;
        s->refused_line = number;
        snprintf(s->refusal, sizeof s->refusal, "%s", reply->text);
    }
}

/* Waits for the batch in flight. */
static int land(struct send *s, struct error *error)
{
    int code = client_wait(s->client, error);
    s->flying->count = s->flying->answered = 0;
    if (code == 0 && s->is_refused)
        code = error_set(error, ERROR_REPLY, "line %" PRIu64 ": Redis refused it: %s",
                         s->refused_line, s->refusal);
    return code;
}

/* Sends the batch that was made. The one before must have landed: so at most two are in memory. */
static int fly(struct send *s, struct error *error)
{
    int code = land(s, error);
    if (code != 0 || s->making->count == 0)
        return code;
    struct batch *free_batch = s->flying;
    s->flying = s->making;
    s->making = free_batch;
    buf_append(client_out(s->client), s->commands.data, s->commands.len);
    buf_reset(&s->commands, 2 * BATCH_BYTES);
    return client_post(s->client, s->flying->count, on_reply, s, error);
}

static int send_line(struct send *s, const char *text, size_t len, struct error *error)
{
    struct error why;
    trim(&text, &len);
    if (len == 0)
        return 0;
    const char *cause = append_event(s, text, len, &why);
    if (cause != NULL) {
        tell_bad_line(s, s->lines.number, cause);
        return 0;
    }
    s->making->numbers[s->making->count++] = s->lines.number;
    bool is_full = s->making->count == BATCH_LINES || s->commands.len >= BATCH_BYTES;
    return is_full ? fly(s, error) : 0;
}

/* All lines; on failure the lines before have been sent. */
static int send_lines(struct send *s, struct error *error)
{
    int code = 0;
    while (code == 0 && !s->is_interrupted && !(s->bad > 0 && s->config->send.is_strict)) {
        const char *text;
        size_t len;
        if (lines_would_wait(&s->lines) &&
            ((code = fly(s, error)) != 0 || (code = land(s, error)) != 0))
            break;
        enum lines_result result = lines_next(&s->lines, &text, &len);
        if (result == LINES_END)
            break;
        if (result == LINES_LINE)
            code = send_line(s, text, len, error);
        else if (result == LINES_TOO_LONG)
            tell_bad_line(s, s->lines.number, "longer than 16 MB");
        else if (errno == EINTR)
            s->is_interrupted = true;
        else
            code = error_set(error, ERROR_SYSTEM, "cannot read %s: %s",
                             s->file == NULL ? "standard input" : s->file, strerror(errno));
    }
    if (code == 0)
        code = fly(s, error);
    return code == 0 ? land(s, error) : code;
}

static int open_input(struct send *s, struct error *error)
{
    s->lines.fd = s->file == NULL ? STDIN_FILENO : open(s->file, O_RDONLY | O_CLOEXEC);
    return s->lines.fd >= 0
               ? 0
               : error_set(error, ERROR_SYSTEM, "cannot open %s: %s", s->file, strerror(errno));
}

static int conclude(struct send *s, int code, struct error *error, uint64_t started_us)
{
    if (code != 0) {
        struct error whole;
        error_set(&whole, error->code, "%s (%" PRIu64 " events were sent before)", error->text,
                  s->sent);
        return cli_fail(&whole);
    }
    tell_summary(s, started_us);
    if (s->is_interrupted)
        return 128 + SIGINT;
    return s->bad > 0 ? EXIT_FAILED : EXIT_FINE;
}

int cli_send(const struct config *config, int argc, char **argv)
{
    static struct send s; /* the batches are large */
    struct error error;
    uint64_t started_us = clock_now_us();
    s = (struct send){.config = config, .stream = argv[0]};
    s.making = &s.batches[0];
    s.flying = &s.batches[1];
    s.file = argc > 1 && strcmp(argv[1], "-") != 0 ? argv[1] : NULL;
    int code = open_input(&s, &error);
    if (code == 0)
        code = client_open(config->redis, &s.client, &error);
    if (code == 0)
        code = catch_signals(&s, &error);
    bool is_ready = code == 0;
    if (is_ready)
        code = send_lines(&s, &error);
    int status = is_ready ? conclude(&s, code, &error, started_us) : cli_fail(&error);
    client_close(s.client);
    if (s.file != NULL && s.lines.fd >= 0)
        close(s.lines.fd);
    lines_fini(&s.lines);
    buf_fini(&s.commands);
    buf_fini(&s.packed);
    return status;
}
