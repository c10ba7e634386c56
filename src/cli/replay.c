/* replay.c: what the rules would have done over retained history; with --against, where two
 * versions of them differ.
 *
 *   file ──> events ─┐
 *   Redis ───────────┴─> plan (fixed bounds) ──> a child a version ──> lines, figures, differences
 *
 * The rules run in children (replay/child.h), one for each version; this process reads what was
 * asked for, fixes what is gone over, and watches. Nothing is ever written to Redis. */
#include "cli/replay.h"

#include "base/clock.h"
#include "base/terminal.h"
#include "cli/cli.h"
#include "cli/lines.h"
#include "cli/output.h"
#include "replay/child.h"
#include "replay/compare.h"
#include "rules/problems.h"
#include "sandbox/stack.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LOOK_MS = 20, SHOW_MS = 200 };

/* One version of the rules, as the parent knows it. */
struct version {
    const char *dir;
    struct edition *edition;
    char **names, **hashes; /* by number from 1: names[number - 1] */
    size_t count;
};

struct replay {
    const struct config *config;
    struct config apart; /* the same as the children have it */
    struct version versions[SIDES];
    size_t version_count; /* 1: only the new one */
    struct events events;
    uint64_t bad_lines;
    struct plan plan;
    struct child_process children[SIDES];
    uint64_t began_us, shown_ms;
    bool is_shown; /* a line of progress stands on the terminal */
};

static double seconds_since(uint64_t began_us)
{
    return (double)(clock_now_us() - began_us) / 1e6;
}

/* ── a file ──────────────────────────────────────────────────────────────────────────────────── */

static void tell_bad_line(struct replay *r, const char *file, uint64_t number, const char *cause)
{
    struct error error;
    r->bad_lines++;
    error_set(&error, ERROR_FORMAT, "%s:%" PRIu64 ": %s", file, number, cause);
    cli_fail(&error);
}

static int read_lines(struct replay *r, struct lines *lines, const char *file, struct error *error)
{
    for (;;) {
        const char *text;
        size_t len;
        struct error why;
        switch (lines_next(lines, &text, &len)) {
        case LINES_END:
            return 0;
        case LINES_FAILED:
            return error_set(error, ERROR_SYSTEM, "cannot read %s: %s", file, strerror(errno));
        case LINES_TOO_LONG:
            tell_bad_line(r, file, lines->number, "longer than 16 MB");
            continue;
        case LINES_LINE:
            break;
        }
        int code = events_add(&r->events, text, len, &why);
        if (code == ERROR_USAGE)
            return error_set(error, code, "%s:%" PRIu64 ": %s", file, lines->number, why.text);
        if (code != 0)
            tell_bad_line(r, file, lines->number, why.text);
    }
}

static int read_file(struct replay *r, struct error *error)
{
    const char *path = r->config->replay.file;
    bool is_input = strcmp(path, "-") == 0;
    const char *file = is_input ? "standard input" : path;
    events_init(&r->events, r->config, r->config->replay.stream);
    int fd = is_input ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set(error, ERROR_SYSTEM, "cannot open %s: %s", path, strerror(errno));
    struct lines lines = {.fd = fd};
    int code = read_lines(r, &lines, file, error);
    lines_fini(&lines);
    if (!is_input)
        close(fd);
    return code;
}

/* Events that say no ID have one of a time of nobody's: what is ahead of it is not in the future.
 */
static void set_future(struct replay *r)
{
    if (r->events.has_made_ids)
        r->apart.future_ms = INT64_MAX;
}

/* Events of a file are msgpack by now, or plain fields, whatever their stream holds in Redis. */
static void set_codecs(struct replay *r)
{
    struct config *apart = &r->apart;
    *apart = *r->config;
    if (r->config->replay.file == NULL)
        return;
    apart->streams = calloc(apart->stream_count + 1, sizeof *apart->streams);
    if (apart->streams == NULL)
        abort();
    for (size_t i = 0; i < apart->stream_count; i++)
        apart->streams[i] =
            (struct config_stream){.name = r->config->streams[i].name, .codec = CODEC_AUTO};
}

/* ── what is gone over ───────────────────────────────────────────────────────────────────────── */

static void learn_rules(struct version *v, const struct rulebook *book)
{
    v->count = rulebook_count(book);
    v->names = calloc(v->count + 1, sizeof *v->names);
    v->hashes = calloc(v->count + 1, sizeof *v->hashes);
    for (size_t i = 0; i < v->count; i++) {
        const struct rule_info *rule = rulebook_loaded_rule(book, i);
        v->names[i] = strdup(rule->name);
        v->hashes[i] = strdup(rule->version);
        if (v->names[i] == NULL || v->hashes[i] == NULL)
            abort();
    }
}

/* Mistakes are shown as `tidemill check` shows them, on standard error. */
static int load_version(const struct replay *r, struct version *v, struct rulebook **book,
                        struct error *error)
{
    struct rulebook_options options = {.config = &r->apart, .dir = v->dir};
    int code = edition_read(v->dir, &v->edition, error);
    if (code == 0)
        code = rulebook_load(&options, v->edition, book, error);
    if (code != 0)
        return code;
    if (!problems_show(*book, stderr))
        return error_set(error, ERROR_RULE, "%s has mistakes; see tidemill check %s", v->dir,
                         v->dir);
    learn_rules(v, *book);
    return 0;
}

static int make_plan(struct replay *r, struct rulebook *const *books, struct error *error)
{
    const struct config *config = r->config;
    struct plan_range range = {.from = config->replay.from,
                               .to = config->replay.to,
                               .last_ms = config->replay.last_ms,
                               .stream = config->replay.stream};
    if (config->replay.file != NULL)
        return plan_of_events(&r->plan, config, &range, &r->events, books, r->version_count, error);
    struct client *client;
    int code = client_open(config->redis, &client, error);
    if (code != 0)
        return code;
    code = plan_of_redis(&r->plan, config, &range, client, books, r->version_count, error);
    client_close(client);
    return code;
}

/* On the stack of a VM. */
static int prepare(void *context)
{
    struct replay *r = context;
    struct rulebook *books[SIDES] = {NULL, NULL};
    struct error error;
    int code = 0;
    for (size_t i = 0; i < r->version_count && code == 0; i++)
        code = load_version(r, &r->versions[SIDE_NEW - (int)i], &books[i], &error);
    if (code == 0)
        code = make_plan(r, books, &error);
    for (int i = 0; i < SIDES; i++)
        rulebook_release(books[i]);
    return code == 0 ? EXIT_FINE : cli_fail(&error);
}

/* ── watching ────────────────────────────────────────────────────────────────────────────────── */

static uint64_t events_done(const struct replay *r)
{
    uint64_t least = UINT64_MAX;
    for (size_t i = 0; i < r->version_count; i++) {
        const struct run_shared *shared = r->children[SIDE_NEW - (int)i].shared;
        least = shared->events < least ? shared->events : least;
    }
    return least;
}

static void show_progress(struct replay *r, bool is_last)
{
    struct buf line = {0};
    uint64_t now_ms = clock_now_ms(), done = events_done(r);
    double seconds = seconds_since(r->began_us);
    if (!terminal_is_watched(STDERR_FILENO) || (!is_last && now_ms < r->shown_ms + SHOW_MS))
        return;
    r->shown_ms = now_ms;
    r->is_shown = true;
    buf_append_text(&line, "\r\033[K");
    replay_count(&line, done);
    buf_append_text(&line, done == 1 ? " event" : " events");
    if (!is_last && r->plan.about > 0) {
        double share = (double)done / (double)r->plan.about;
        buf_printf(&line, ", %.0f %%", share < 0.99 ? 100 * share : 99);
    }
    buf_append_text(&line, ", ");
    replay_count(&line, seconds > 0 ? (uint64_t)((double)done / seconds) : 0);
    buf_append_text(&line, is_last ? " a second\n" : " a second");
    fputs(buf_text(&line), stderr);
    buf_fini(&line);
}

/* The line of progress makes room for what is said next. */
static void clear_progress(struct replay *r)
{
    if (r->is_shown)
        fputs("\r\033[K", stderr);
    r->is_shown = false;
}

/* The exit status of a child that is over. */
static int judge(struct replay *r, enum difference_side side)
{
    struct child_process *c = &r->children[side];
    const struct version *v = &r->versions[side];
    struct error error;
    int status;
    if (WIFSIGNALED(c->status) && WTERMSIG(c->status) == SIGPIPE) {
        raise(SIGPIPE); /* nobody reads our output: end as it did */
        return EXIT_FAILED;
    }
    if (child_process_tell(c, (const char *const *)v->names, v->count, r->config->limits.hard_ms,
                           &status, &error))
        return cli_fail(&error);
    return status;
}

static int start(struct replay *r, enum difference_side side, struct replay_job *job,
                 int (*work)(void *, struct run_shared *, int), bool has_pipe, struct error *error)
{
    const struct version *v = &r->versions[side];
    *job = (struct replay_job){.config = &r->apart,
                               .edition = v->edition,
                               .dir = v->dir,
                               .plan = &r->plan,
                               .began_us = r->began_us};
    struct child_process_options options = {
        .name = "tidemill replay", .has_pipe = has_pipe, .work = work, .context = job};
    return child_process_start(&r->children[side], &options, error);
}

static void tell_notes(const struct replay *r)
{
    const char *at = r->plan.says.data, *end = at + r->plan.says.len;
    while (at < end) {
        const char *line = memchr(at, '\n', (size_t)(end - at));
        fprintf(stderr, "tidemill: %.*s\n", (int)(line - at), at);
        at = line + 1;
    }
}

static void pause_ms(unsigned ms)
{
    usleep(ms * 1000);
}

static int run_one(struct replay *r)
{
    struct replay_job job;
    struct error error;
    bool is_summary = r->config->replay.is_summary;
    if (start(r, SIDE_NEW, &job, is_summary ? replay_work_summary : replay_work_lines, false,
              &error) != 0)
        return cli_fail(&error);
    struct child_process *c = &r->children[SIDE_NEW];
    for (unsigned wait = 1; !child_process_look(c, r->config->limits.hard_ms);) {
        show_progress(r, false);
        pause_ms(wait);
        wait = wait < LOOK_MS ? wait * 2 : LOOK_MS;
    }
    clear_progress(r);
    int status = judge(r, SIDE_NEW);
    if (status == EXIT_FINE && !is_summary) {
        tell_notes(r);
        show_progress(r, true);
    }
    if (!is_summary && c->shared->lookups > 0)
        fprintf(stderr, "tidemill: %" PRIu64 " lookups asked today's Redis, not that of then\n",
                (uint64_t)c->shared->lookups);
    return status;
}

/* ── two versions ────────────────────────────────────────────────────────────────────────────── */

static int report(struct replay *r, const struct difference *difference, uint64_t events)
{
    struct buf text = {0};
    struct error error;
    struct replay_compared compared = {
        .difference = difference,
        .dirs = {r->versions[SIDE_OLD].dir, r->versions[SIDE_NEW].dir},
        .events = events,
        .lookups = r->children[SIDE_OLD].shared->lookups + r->children[SIDE_NEW].shared->lookups,
        .seconds = seconds_since(r->began_us),
        .says = &r->plan.says};
    replay_difference(&compared, r->config->is_json, &text);
    int code = output_write(&text, &error);
    buf_fini(&text);
    if (code != 0)
        return cli_fail(&error);
    return difference_is_none(difference) ? EXIT_FINE : EXIT_FAILED;
}

/* Waits for a child that has said all it will say. */
static int await_end(struct replay *r, enum difference_side side)
{
    while (!child_process_look(&r->children[side], r->config->limits.hard_ms))
        pause_ms(1);
    return judge(r, side);
}

/* Both children to their ends, or to that of the first that fails. */
static int await_both(struct replay *r, struct compare *compare)
{
    struct error error = {0};
    int status = EXIT_FINE;
    bool is_over = false;
    while (!is_over) {
        is_over = compare_step(compare, LOOK_MS, &error);
        for (int side = 0; side < SIDES; side++)
            (void)child_process_look(&r->children[side], r->config->limits.hard_ms);
        show_progress(r, false);
    }
    clear_progress(r);
    if (error.code != 0)
        return cli_fail(&error);
    for (int side = 0; side < SIDES && status == EXIT_FINE; side++)
        if (compare_is_over(compare, (enum difference_side)side))
            status = await_end(r, (enum difference_side)side);
    return status;
}

static int run_both(struct replay *r)
{
    struct replay_job jobs[SIDES];
    struct error error;
    struct compare_rules rules[SIDES];
    struct difference difference;
    struct compare compare;
    uint64_t events;
    difference_init(&difference, &r->plan, (size_t)r->config->replay.samples);
    for (int side = 0; side < SIDES; side++) {
        const struct version *v = &r->versions[side];
        rules[side] = (struct compare_rules){(const char *const *)v->names, v->count};
        for (size_t i = 0; i < v->count; i++)
            difference_know(&difference, (enum difference_side)side, v->names[i], v->hashes[i]);
        if (start(r, (enum difference_side)side, &jobs[side], replay_work_decisions, true,
                  &error) != 0)
            return cli_fail(&error);
    }
    int ends[SIDES] = {r->children[SIDE_OLD].pipe, r->children[SIDE_NEW].pipe};
    compare_init(&compare, &r->plan, &difference, rules, ends);
    int status = await_both(r, &compare);
    if (status == EXIT_FINE && compare_end(&compare, &events, &error) != 0)
        status = cli_fail(&error);
    else if (status == EXIT_FINE)
        status = report(r, &difference, events);
    compare_fini(&compare);
    difference_fini(&difference);
    return status;
}

/* ── the command ─────────────────────────────────────────────────────────────────────────────── */

/* Words that do not go together; exit status 2, or 0. */
static int check_usage(const struct config *config)
{
    struct stream_id id;
    struct error why;
    const char *from = config->replay.from, *to = config->replay.to;
    if (config->replay.last_ms > 0 && (from != NULL || to != NULL))
        return cli_misuse("replay", "--last stands instead of --from and --to");
    if (config->replay.is_summary && config->replay.against != NULL)
        return cli_misuse("replay", "--against has a summary of its own; leave --summary out");
    if (from != NULL && plan_parse_id(from, false, &id, &why) != 0)
        return cli_misuse("replay", "--from %s", why.text);
    if (to != NULL && plan_parse_id(to, true, &id, &why) != 0)
        return cli_misuse("replay", "--to %s", why.text);
    return 0;
}

static void fini(struct replay *r)
{
    for (int side = 0; side < SIDES; side++) {
        struct version *v = &r->versions[side];
        child_process_stop(&r->children[side]);
        edition_destroy(v->edition);
        for (size_t i = 0; i < v->count; i++) {
            free(v->names[i]);
            free(v->hashes[i]);
        }
        free(v->names);
        free(v->hashes);
    }
    plan_fini(&r->plan);
    events_fini(&r->events);
    if (r->apart.streams != r->config->streams)
        free(r->apart.streams);
}

int cli_replay(const struct config *config, int argc, char **argv)
{
    struct error error;
    struct replay r = {.config = config,
                       .apart = *config,
                       .versions = {{.dir = config->replay.against}, {.dir = config->rules}},
                       .version_count = config->replay.against != NULL ? 2 : 1,
                       .children = {{.pipe = -1}, {.pipe = -1}},
                       .began_us = clock_now_us()};
    (void)argc;
    (void)argv;
    int status = check_usage(config);
    if (status != 0)
        return status;
    set_codecs(&r);
    if (config->replay.file != NULL && read_file(&r, &error) != 0)
        status = cli_fail(&error);
    set_future(&r);
    if (status == EXIT_FINE && stack_run(prepare, &r, &status, &error) != 0)
        status = cli_fail(&error);
    if (status == EXIT_FINE)
        status = r.version_count == 1 ? run_one(&r) : run_both(&r);
    if (status == EXIT_FINE && r.bad_lines > 0)
        status = EXIT_FAILED;
    fini(&r);
    return status;
}
