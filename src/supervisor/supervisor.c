/* supervisor.c: see supervisor.h. Callbacks only mark workers as due; the main loop forks them,
 * outside of every callback. */
#include "supervisor/supervisor.h"

#include "base/clock.h"
#include "base/escape.h"
#include "base/log.h"
#include "redis/url.h"
#include "stream/owner.h"
#include "supervisor/child.h"
#include "supervisor/evidence.h"
#include "supervisor/reloads.h"
#include "supervisor/report.h"
#include "supervisor/socket.h"
#include "supervisor/tags.h"
#include "worker/blames.h"
#include "worker/partition.h"
#include "worker/process.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    BACKOFF_LEAST_MS = 50,
    BACKOFF_MOST_MS = 5000,
    STOP_MS = 1200, /* workers give up waiting for Redis after 900 */
    PATIENCE_MS = 500,
    TICK_LEAST_MS = 20,
    TICK_MOST_MS = 200,
    MISSES_MOST = 3, /* then a reload is not waited for any longer */
    FIRST_FD = 3
};

struct supervisor {
    const struct config *config;
    struct redis_url url;
    struct loop *loop;
    struct slots *slots;
    struct edition *edition; /* the rules that run, also those of a successor */
    struct edition *coming;  /* sent, and not known to run yet; or NULL */
    struct reloads *reloads; /* decides which rules come */
    char token[OWNER_TOKEN]; /* one for all workers: see owner.h */
    struct child *children[SLOTS_MOST];
    unsigned child_count;
    struct tags tags;
    uint64_t scanned; /* the last edition of which a worker has seen all there was */
    bool is_scanned;  /* there is one */
    struct suspects suspects;
    struct blames blames; /* whose letters have not landed yet */
    struct control_socket *socket;
    struct loop_signal *term, *interrupt, *hangup, *ended;
    struct loop_timer *tick_timer, *stop_timer, *patience_timer;
    uint64_t tick_ms, started_ms;
    struct asker **askers; /* who wait for the status that is being asked for */
    size_t asker_count;
    uint64_t serial; /* of that question */
    bool is_stopping, is_done;
    int status;
};

/* ── status ─────────────────────────────────────────────────────────────────────────────────── */

static void answer_status(struct supervisor *s)
{
    struct report_worker workers[SLOTS_MOST];
    struct buf json = {0};
    uint64_t now = clock_now_ms();
    for (unsigned i = 0; i < s->child_count; i++) {
        const struct child *c = s->children[i];
        workers[i] = (struct report_worker){
            .pid = (int)c->pid,
            .up_ms = c->pid != 0 ? now - c->started_ms : 0,
            .restarts = c->restarts,
            .partitions = tags_count(&s->tags, i),
            .is_responding = c->pid != 0 && c->asked == s->serial,
            .json = c->status.data,
            .len = c->status.len,
            .refused = c->pid != 0 && c->refused.edition > c->runs ? c->refused.why : NULL,
        };
    }
    struct report report = {.config = s->config,
                            .redis = s->url.shown,
                            .up_ms = now - s->started_ms,
                            .versions = reloads_versions(s->reloads),
                            .workers = workers,
                            .count = s->child_count};
    report_write(&report, &json);
    loop_timer_stop(s->patience_timer);
    for (size_t i = 0; i < s->asker_count; i++)
        control_answer(s->askers[i], json.data, json.len);
    s->asker_count = 0;
    buf_fini(&json);
}

/* All have answered, or nobody is left who could. */
static void answer_when_told(struct supervisor *s)
{
    if (s->asker_count == 0)
        return;
    for (unsigned i = 0; i < s->child_count; i++)
        if (s->children[i]->pid != 0 && s->children[i]->asked != s->serial)
            return;
    answer_status(s);
}

static void on_patience_timer(void *context)
{
    answer_status(context);
}

static void ask_status(struct supervisor *s, struct asker *asker)
{
    s->askers = realloc(s->askers, (s->asker_count + 1) * sizeof *s->askers);
    if (s->askers == NULL)
        abort();
    s->askers[s->asker_count++] = asker;
    if (s->asker_count > 1)
        return; /* the answer is on its way */
    struct message_status question = {.serial = ++s->serial};
    for (unsigned i = 0; i < s->child_count; i++)
        if (s->children[i]->pid != 0)
            channel_send(s->children[i]->channel, MESSAGE_STATUS, &question, sizeof question);
    loop_timer_start(s->patience_timer, PATIENCE_MS);
    answer_when_told(s);
}

static void on_question(void *context, struct asker *asker, const char *question)
{
    static const char unknown[] = "{\"error\":\"unknown question\"}";
    struct supervisor *s = context;
    if (strcmp(question, "status") == 0)
        ask_status(s, asker);
    else if (strcmp(question, "reload") == 0)
        reloads_look(s->reloads, asker);
    else if (strncmp(question, "rollback ", 9) == 0)
        reloads_roll_back(s->reloads, question + 9, asker);
    else
        control_answer(asker, unknown, sizeof unknown - 1);
}

/* ── stopping ───────────────────────────────────────────────────────────────────────────────── */

static void check_done(struct supervisor *s)
{
    if (!s->is_stopping)
        return;
    for (unsigned i = 0; i < s->child_count; i++)
        if (s->children[i]->pid != 0)
            return;
    s->is_done = true;
    loop_stop(s->loop);
}

static void stop(struct supervisor *s)
{
    if (s->is_stopping)
        return;
    s->is_stopping = true;
    loop_timer_start(s->stop_timer, STOP_MS);
    for (unsigned i = 0; i < s->child_count; i++) {
        loop_timer_stop(s->children[i]->timer);
        s->children[i]->is_due = false;
        if (s->children[i]->pid != 0)
            channel_send(s->children[i]->channel, MESSAGE_STOP, NULL, 0);
    }
    check_done(s);
}

static void on_stop_timer(void *context)
{
    struct supervisor *s = context;
    for (unsigned i = 0; i < s->child_count; i++) {
        struct child *c = s->children[i];
        if (c->pid == 0)
            continue;
        log_line(LOG_WARN, "worker_late", "a worker did not stop in time and is killed", "worker",
                 log_number(i + 1), NULL);
        c->is_late = true;
        kill(c->pid, SIGKILL);
    }
}

static void on_signal(void *context, int number)
{
    struct supervisor *s = context;
    log_line(LOG_INFO, "stopping", "committing what is computed and giving the lease back",
             "signal", number == SIGINT ? "SIGINT" : "SIGTERM", NULL);
    stop(s);
}

/* ── other rules ────────────────────────────────────────────────────────────────────────────── */

static void send_coming(struct supervisor *s, struct child *c)
{
    struct buf bytes = {0};
    edition_write(s->coming, &bytes);
    channel_send(c->channel, MESSAGE_RULES, bytes.data, bytes.len);
    buf_fini(&bytes);
}

/* What a worker has loaded and runs is what a successor is to run. */
static void on_loaded(struct supervisor *s, struct child *c, const char *body, size_t len)
{
    child_take_edition(c, body, len);
    if (s->coming != NULL && c->runs == s->coming->number) {
        edition_destroy(s->edition);
        s->edition = s->coming;
        s->coming = NULL;
    }
    reloads_told(s->reloads);
}

static void send_edition(void *context, const struct edition *edition)
{
    struct supervisor *s = context;
    edition_destroy(s->coming);
    s->coming = edition_copy(edition);
    for (unsigned i = 0; i < s->child_count; i++) {
        s->children[i]->misses = 0;
        if (s->children[i]->pid != 0)
            send_coming(s, s->children[i]);
    }
}

/* A life has ended, or not begun, without what was sent. The next gets it as well; but who asked is
 * told, and the edit that would mend it may come. */
static void miss_coming(struct supervisor *s, struct child *c)
{
    if (s->coming == NULL || c->runs >= s->coming->number || ++c->misses < MISSES_MOST)
        return;
    c->refused = (struct message_refused){.edition = s->coming->number};
    snprintf(c->refused.why, sizeof c->refused.why, "it ended %u times before it had loaded them",
             c->misses);
}

static void write_refusal(const struct child *c, struct buf *out)
{
    buf_printf(out, "%s{\"worker\":%u,\"message\":", out->len > 0 ? "," : "", c->number + 1);
    escape_json(out, c->refused.why, strlen(c->refused.why));
    buf_append_text(out, "}");
}

static bool is_everywhere(void *context, uint64_t number, struct buf *refusals)
{
    const struct supervisor *s = context;
    for (unsigned i = 0; i < s->child_count; i++) {
        const struct child *c = s->children[i];
        /* Where one has ended, the next begins with s->edition. */
        if ((c->pid != 0 ? c->runs : s->edition->number) >= number)
            continue;
        if (c->refused.edition < number)
            return false;
        write_refusal(c, refusals);
    }
    return true;
}

static void on_refused(struct supervisor *s, struct child *c, const char *body)
{
    memcpy(&c->refused, body, sizeof c->refused);
    reloads_told(s->reloads);
}

static void on_hangup(void *context, int number)
{
    struct supervisor *s = context;
    (void)number;
    reloads_look(s->reloads, NULL);
}

/* ── workers begin ──────────────────────────────────────────────────────────────────────────── */

static void on_due(void *context)
{
    struct child *c = context;
    struct supervisor *s = c->supervisor;
    c->is_due = true;
    loop_stop(s->loop);
}

static struct child *add_child(struct supervisor *s)
{
    assert(s->child_count < SLOTS_MOST);
    struct child *c = calloc(1, sizeof *c);
    if (c == NULL)
        abort();
    c->supervisor = s;
    c->number = s->child_count;
    c->slot = &s->slots->list[c->number];
    c->backoff = (struct backoff){.least_ms = BACKOFF_LEAST_MS, .most_ms = BACKOFF_MOST_MS};
    c->timer = loop_timer_open(s->loop, on_due, c);
    s->children[s->child_count++] = c;
    on_due(c);
    return c;
}

/* What is blamed in the partition first: then it cannot come to that event before it knows. */
static void give(struct supervisor *s, struct child *c, const struct tag *tag)
{
    struct message_tag head = {.edition = s->edition->number, .later = tag->later};
    char name[PARTITION_NAME];
    partition_name_of(tag->bytes, tag->len, name);
    for (size_t i = 0; i < s->blames.count; i++)
        if (strcmp(s->blames.list[i].partition, name) == 0)
            channel_send(c->channel, MESSAGE_BLAME, &s->blames.list[i], sizeof(struct blame));
    channel_send_parts(c->channel, MESSAGE_TAKE, &head, sizeof head, tag->bytes, tag->len);
}

static unsigned cores(void)
{
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return count < 1 ? 1 : count > SLOTS_MOST ? SLOTS_MOST : (unsigned)count;
}

static void on_found(struct supervisor *s, const char *body, size_t len)
{
    struct message_tag head;
    memcpy(&head, body, sizeof head);
    body += sizeof head;
    len -= sizeof head;
    if (s->is_stopping || tags_find(&s->tags, body, len) != NULL)
        return; /* who has it has been told; and nobody begins any more */
    if (s->config->workers == 0 && s->tags.count >= s->child_count && s->child_count < cores())
        add_child(s);
    enum message_later later =
        s->is_scanned && head.edition <= s->scanned ? LATER_ALL : (enum message_later)head.later;
    const struct tag *tag = tags_add(&s->tags, body, len, later, s->child_count);
    struct child *c = s->children[tag->worker];
    if (c->pid != 0)
        give(s, c, tag); /* one that is to be forked gets it then */
}

static void on_scanned(struct supervisor *s, const char *body)
{
    struct message_scanned all;
    memcpy(&all, body, sizeof all);
    if (!s->is_scanned || all.edition > s->scanned)
        s->scanned = all.edition;
    s->is_scanned = true;
}

static void on_blamed(struct supervisor *s, const char *body)
{
    struct blame blame;
    memcpy(&blame, body, sizeof blame);
    blames_forget(&s->blames, &blame);
}

static void on_message(void *context, int type, const char *body, size_t len)
{
    struct child *c = context;
    struct supervisor *s = c->supervisor;
    struct message_status head;
    switch (type) {
    case MESSAGE_LOADED:
        on_loaded(s, c, body, len);
        break;
    case MESSAGE_REFUSED:
        on_refused(s, c, body);
        break;
    case MESSAGE_FOUND:
        on_found(s, body, len);
        break;
    case MESSAGE_SCANNED:
        on_scanned(s, body);
        break;
    case MESSAGE_BLAMED:
        on_blamed(s, body);
        break;
    case MESSAGE_STATUS:
        memcpy(&head, body, sizeof head);
        c->asked = head.serial;
        c->status.len = 0;
        buf_append(&c->status, body + sizeof head, len - sizeof head);
        answer_when_told(s);
        break;
    default:
        assert(!"a message that a worker does not send");
    }
}

static void on_gone(void *context)
{
    (void)context; /* its process has ended or is about to: SIGCHLD says how */
}

/* ── forking ────────────────────────────────────────────────────────────────────────────────── */

/* Gives all memory back, and, but for what is shared, all that is open. */
static void dismantle(struct supervisor *s)
{
    for (unsigned i = 0; i < s->child_count; i++) {
        child_fini(s->children[i]);
        free(s->children[i]);
    }
    loop_signal_close(s->term);
    loop_signal_close(s->interrupt);
    loop_signal_close(s->hangup);
    loop_signal_close(s->ended);
    loop_timer_close(s->tick_timer);
    loop_timer_close(s->stop_timer);
    loop_timer_close(s->patience_timer);
    loop_destroy(s->loop);
    edition_destroy(s->coming);
    tags_fini(&s->tags);
    blames_fini(&s->blames);
    free(s->askers);
    free(s);
}

/* In the child: nothing of the supervisor is left but the slots, the token and the channel's end.
 */
static _Noreturn void become_worker(struct supervisor *s, unsigned number, int fd,
                                    const sigset_t *signals)
{
    char token[OWNER_TOKEN];
    memcpy(token, s->token, sizeof token);
    struct process_options options = {
        .config = s->config,
        .edition = s->edition,
        .slots = s->slots,
        .number = number,
        .fd = fd,
        .token = token,
    };
    loop_after_fork(s->loop);
    control_socket_leave(s->socket);
    reloads_leave(s->reloads);
    dismantle(s);
    if (fd > FIRST_FD)
        close_range(FIRST_FD, (unsigned)fd - 1, 0);
    close_range((unsigned)fd + 1, ~0U, 0);
    sigprocmask(SIG_SETMASK, signals, NULL);
    exit(process_run(&options));
}

static void retry_later(struct child *c)
{
    uint32_t random = 0;
    (void)!getrandom(&random, sizeof random, GRND_NONBLOCK);
    loop_timer_start(c->timer, backoff_next_ms(&c->backoff, random));
}

static void give_up_fork(struct supervisor *s, struct child *c)
{
    miss_coming(s, c);
    retry_later(c);
    reloads_told(s->reloads);
}

static void begin_child(struct supervisor *s, struct child *c)
{
    static const struct channel_callbacks callbacks = {.on_message = on_message,
                                                       .on_gone = on_gone};
    struct error error;
    int ends[2];
    sigset_t all, before;
    c->is_due = false;
    if (channel_pair(ends, &error) != 0) {
        log_line(LOG_ERROR, "no_worker", error.text, NULL);
        give_up_fork(s, c);
        return;
    }
    memset(c->slot, 0, sizeof *c->slot);
    fflush(NULL);
    /* A signal that comes to the child before the loop is its own would be told to ours. */
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        become_worker(s, c->number, ends[1], &before);
    }
    int cause = errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        log_line(LOG_ERROR, "no_worker", "cannot fork a worker; trying again", "cause",
                 strerror(cause), NULL);
        give_up_fork(s, c);
        return;
    }
    child_begin(c, pid, channel_open(s->loop, ends[0], &callbacks, c), clock_now_ms());
    if (s->coming != NULL)
        send_coming(s, c);
    for (size_t i = 0; i < s->tags.count; i++)
        if (s->tags.list[i].worker == c->number)
            give(s, c, &s->tags.list[i]);
}

/* ── workers end ────────────────────────────────────────────────────────────────────────────── */

static void add_blame(struct supervisor *s, const struct blame *blame)
{
    char id[64];
    blames_add(&s->blames, blame);
    snprintf(id, sizeof id, "%.0f-%llu", blame->ms, (unsigned long long)blame->seq);
    log_line(LOG_ERROR, "blamed", blame->message, "rule", blame->rule, "version", blame->version,
             "stream", blame->stream, "id", id, "reason", blame->reason, NULL);
}

static void look_for_blame(struct supervisor *s, const struct child *c, int wait_status)
{
    const struct note *note = &c->slot->note;
    const struct message_rule *rule = child_rule(c, note_rule(note));
    /* The kill may have come when that rule was back already, and another had begun. */
    bool is_hang =
        c->is_hanging && note_rule(note) == c->watch.rule && note->mark.serial == c->watch.serial;
    struct death death = {
        .note = note,
        .rule = rule != NULL ? rule->name : "",
        .version = rule != NULL ? rule->version : "",
        .signal = WIFSIGNALED(wait_status) ? WTERMSIG(wait_status) : 0,
        .hang_ms = is_hang ? s->config->limits.hard_ms : 0,
    };
    struct blame blame;
    bool is_ours =
        death.signal == SIGKILL && ((c->is_hanging && !is_hang) || c->is_stuck || c->is_late);
    if (!is_ours && evidence_judge(&s->suspects, &death, &blame))
        add_blame(s, &blame);
}

static void tell_end(const struct child *c, int wait_status)
{
    char how[96];
    const struct message_rule *rule = child_rule(c, note_rule(&c->slot->note));
    bool is_told = c->slot->is_told && wait_status == 0;
    child_tell_end(wait_status, how, sizeof how);
    log_line(is_told ? LOG_INFO : LOG_ERROR, "worker_ended", "a worker ended; another takes over",
             "worker", log_number(c->number + 1), "pid", log_number(c->pid), "how", how, "rule",
             rule != NULL ? rule->name : "", NULL);
}

static void on_end(struct supervisor *s, struct child *c, int wait_status)
{
    channel_read(c->channel); /* what it said last */
    channel_close(c->channel);
    c->channel = NULL;
    look_for_blame(s, c, wait_status);
    bool is_well = wait_status == 0 && c->slot->is_told;
    if (c->slot->is_fatal || (s->is_stopping && !is_well && !c->is_late))
        s->status = EXIT_FAILURE;
    if (!s->is_stopping && !c->slot->is_fatal)
        tell_end(c, wait_status);
    c->pid = 0;
    miss_coming(s, c);
    if (c->slot->is_fatal) {
        stop(s);
    } else if (!s->is_stopping) {
        c->restarts++;
        if (c->slot->commits > 0 || is_well) {
            backoff_reset(&c->backoff);
            on_due(c);
        } else {
            retry_later(c);
        }
    }
    answer_when_told(s);
    reloads_told(s->reloads);
    check_done(s);
}

/* Only our own: an embedded redis-server is somebody else's to wait for. */
static void on_child_signal(void *context, int number)
{
    struct supervisor *s = context;
    (void)number;
    for (unsigned i = 0; i < s->child_count; i++) {
        struct child *c = s->children[i];
        int status;
        if (c->pid != 0 && waitpid(c->pid, &status, WNOHANG) == c->pid)
            on_end(s, c, status);
    }
}

/* ── watching ───────────────────────────────────────────────────────────────────────────────── */

static void look_at(struct supervisor *s, struct child *c)
{
    const struct slot *slot = c->slot;
    enum watch_verdict verdict =
        watch_look(&c->watch, note_rule(&slot->note), slot->note.mark.serial, slot->beats,
                   child_cpu_ms(c), (uint64_t)s->config->limits.hard_ms);
    if (verdict == WATCH_FINE || c->is_hanging || c->is_stuck)
        return;
    c->is_hanging = verdict == WATCH_HANG;
    c->is_stuck = verdict == WATCH_STUCK;
    if (c->is_stuck)
        log_line(LOG_ERROR, "worker_stuck",
                 "a worker used CPU for long and did nothing, outside of every rule; it is killed",
                 "worker", log_number(c->number + 1), NULL);
    kill(c->pid, SIGKILL);
}

static void tick(void *context)
{
    struct supervisor *s = context;
    loop_timer_start(s->tick_timer, s->tick_ms);
    s->slots->beats++;
    log_flush_held(clock_now_ms());
    for (unsigned i = 0; i < s->child_count; i++)
        if (s->children[i]->pid != 0)
            look_at(s, s->children[i]);
}

/* ── life ───────────────────────────────────────────────────────────────────────────────────── */

/* Often enough that no worker ever takes us for stopped, and that a rule that hangs is not left
 * much longer than it may. */
static uint64_t tick_of(const struct config *config)
{
    int64_t tick = config->lease_ms / 15 < config->limits.hard_ms / 5 ? config->lease_ms / 15
                                                                      : config->limits.hard_ms / 5;
    return (uint64_t)(tick < TICK_LEAST_MS  ? TICK_LEAST_MS
                      : tick > TICK_MOST_MS ? TICK_MOST_MS
                                            : tick);
}

static void work(struct supervisor *s)
{
    s->term = loop_signal_open(s->loop, SIGTERM, on_signal, s);
    s->interrupt = loop_signal_open(s->loop, SIGINT, on_signal, s);
    s->hangup = loop_signal_open(s->loop, SIGHUP, on_hangup, s);
    s->ended = loop_signal_open(s->loop, SIGCHLD, on_child_signal, s);
    log_line(LOG_INFO, "started", "tidemill runs", "group", s->config->group, "rules",
             log_number((long long)reloads_versions(s->reloads)->facts.rule_count), NULL);
    reloads_watch(s->reloads);
    for (int64_t i = 0; i < (s->config->workers > 0 ? s->config->workers : 1); i++)
        add_child(s);
    tick(s);
    while (!s->is_done) {
        for (unsigned i = 0; i < s->child_count; i++)
            if (s->children[i]->is_due)
                begin_child(s, s->children[i]);
        loop_run(s->loop);
    }
    log_flush_held(UINT64_MAX);
    if (s->status == EXIT_SUCCESS)
        log_line(LOG_INFO, "stopped", "tidemill has stopped", NULL);
}

static struct slots *share_memory(struct error *error)
{
    void *memory = mmap(NULL, sizeof(struct slots), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory != MAP_FAILED)
        return memory;
    error_set(error, ERROR_SYSTEM, "no memory to share with workers: %s", strerror(errno));
    return NULL;
}

int supervisor_run(const struct config *config, struct edition *edition, struct findings *findings,
                   int *status, struct error *error)
{
    static const struct reloads_callbacks callbacks = {.send = send_edition,
                                                       .is_everywhere = is_everywhere};
    struct redis_url url;
    int failed = redis_url_parse(config->redis, &url, error);
    struct slots *slots = failed == 0 ? share_memory(error) : NULL;
    if (slots == NULL) {
        edition_destroy(edition);
        return failed != 0 ? failed : ERROR_SYSTEM;
    }
    struct supervisor *s = calloc(1, sizeof *s);
    if (s == NULL)
        abort();
    s->config = config;
    s->url = url;
    s->slots = slots;
    s->loop = loop_create();
    s->reloads = reloads_create(s->loop, config, edition, findings, &callbacks, s);
    s->edition = edition_copy(reloads_versions(s->reloads)->current);
    s->tick_ms = tick_of(config);
    s->started_ms = clock_now_ms();
    owner_make_token(s->token);
    s->tick_timer = loop_timer_open(s->loop, tick, s);
    s->stop_timer = loop_timer_open(s->loop, on_stop_timer, s);
    s->patience_timer = loop_timer_open(s->loop, on_patience_timer, s);
    failed = control_socket_open(s->loop, config->control,
                                 config_origin_of(config, "control") != ORIGIN_DEFAULT, on_question,
                                 s, &s->socket, error);
    if (failed == 0)
        work(s);
    *status = s->status;
    control_socket_close(s->socket);
    edition_destroy(s->edition);
    reloads_destroy(s->reloads);
    dismantle(s);
    munmap(slots, sizeof *slots);
    return failed;
}
