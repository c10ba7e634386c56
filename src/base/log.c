/* log.c: see log.h. A line is built in a buffer of its thread and leaves in one write. */
#include "base/log.h"

#include "base/clock.h"
#include "base/escape.h"
#include "base/limiter.h"
#include "base/terminal.h"
#include "base/utc.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PAIRS_MOST = 2 * 24, NUMBERS = 16, NUMBER_LEN = 24, LINE_KEEP = 4096 };

static const struct {
    const char *name;
    const char *colour;
} levels[] = {
    [LOG_DEBUG] = {"debug", "\033[2m"},
    [LOG_INFO] = {"info", "\033[32m"},
    [LOG_WARN] = {"warn", "\033[33m"},
    [LOG_ERROR] = {"error", "\033[31m"},
};

static const char *const formats[] = {[LOG_TEXT] = "text", [LOG_JSON] = "json"};

/* The one log of the process. The lock guards the limiter only: name lookups and loaders log from
 * threads of their own. */
static struct {
    enum log_level least;
    enum log_format format;
    bool is_coloured;
    struct limiter limiter;
    pthread_mutex_t lock;
    char key[16], value[NUMBER_LEN]; /* on every line; key "": none */
} the_log = {.least = LOG_INFO, .format = LOG_TEXT, .lock = PTHREAD_MUTEX_INITIALIZER};

void log_configure(enum log_level least, enum log_format format)
{
    the_log.least = least;
    the_log.format = format;
    the_log.is_coloured = format == LOG_TEXT && terminal_has_colour(STDERR_FILENO);
}

bool log_level_parse(const char *text, enum log_level *level)
{
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        if (strcmp(text, levels[i].name) == 0) {
            *level = (enum log_level)i;
            return true;
        }
    }
    return false;
}

bool log_format_parse(const char *text, enum log_format *format)
{
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        if (strcmp(text, formats[i]) == 0) {
            *format = (enum log_format)i;
            return true;
        }
    }
    return false;
}

void log_name_process(const char *key, const char *value)
{
    snprintf(the_log.key, sizeof the_log.key, "%s", key);
    snprintf(the_log.value, sizeof the_log.value, "%s", value);
    the_log.limiter = (struct limiter){0};
}

bool log_is_on(enum log_level level)
{
    return level >= the_log.least;
}

/* Quotes where a reader, human or awk, could not tell where the value ends. */
static bool needs_quotes(const char *value)
{
    if (value[0] == '\0' || !escape_is_utf8(value, strlen(value)))
        return true;
    for (const char *p = value; *p != '\0'; p++) {
        if ((unsigned char)*p <= ' ' || *p == '"' || *p == '=' || *p == '\\' || *p == 0x7f)
            return true;
    }
    return false;
}

static void compose_text_pair(struct buf *out, const char *key, const char *value)
{
    buf_printf(out, " %s=", key);
    if (needs_quotes(value))
        escape_quoted(out, value, strlen(value));
    else
        escape_text(out, value, strlen(value));
}

static void compose_json_pair(struct buf *out, const char *key, const char *value)
{
    buf_append(out, ",", 1);
    escape_json(out, key, strlen(key));
    buf_append(out, ":", 1);
    escape_json(out, value, strlen(value));
}

void log_compose(struct buf *out, enum log_format format, uint64_t wall_ms, enum log_level level,
                 const char *kind, const char *message, const char *const *pairs,
                 uint64_t held_back)
{
    void (*pair)(struct buf *, const char *, const char *) =
        format == LOG_JSON ? compose_json_pair : compose_text_pair;
    char time[UTC_LEN];
    utc_format(wall_ms, time);
    if (format == LOG_JSON) {
        buf_printf(out, "{\"time\":\"%s\",\"level\":\"%s\",\"kind\":", time, levels[level].name);
        escape_json(out, kind, strlen(kind));
        buf_append_text(out, ",\"message\":");
        escape_json(out, message, strlen(message));
    } else {
        buf_printf(out, "%s %-5s %s  ", time, levels[level].name, kind);
        escape_text(out, message, strlen(message));
    }
    for (size_t i = 0; pairs[i] != NULL; i += 2)
        pair(out, pairs[i], pairs[i + 1]);
    if (held_back > 0)
        pair(out, "held_back", log_number((long long)held_back));
    buf_append_text(out, format == LOG_JSON ? "}\n" : "\n");
}

/* A full pipe or a closed terminal must not stop the engine: what cannot be written is lost. */
static void write_line(const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t written = write(STDERR_FILENO, bytes, len);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return;
        bytes += written;
        len -= (size_t)written;
    }
}

/* Colour goes around the level's word only, and only in text: it stands behind the time and one
 * space. */
static void write_coloured(const char *bytes, size_t len, enum log_level level)
{
    enum { LEVEL_AT = UTC_LEN }; /* behind the time and a space */
    size_t word = strlen(levels[level].name);
    struct buf line = {0};
    buf_append(&line, bytes, LEVEL_AT);
    buf_append_text(&line, levels[level].colour);
    buf_append(&line, bytes + LEVEL_AT, word);
    buf_append_text(&line, "\033[0m");
    buf_append(&line, bytes + LEVEL_AT + word, len - LEVEL_AT - word);
    write_line(line.data, line.len);
    buf_fini(&line);
}

static void log_write(enum log_level level, const char *kind, const char *message,
                      const char *const *pairs, uint64_t held_back)
{
    struct buf line = {0};
    int saved = errno;
    log_compose(&line, the_log.format, clock_wall_ms(), level, kind, message, pairs, held_back);
    if (the_log.is_coloured)
        write_coloured(line.data, line.len, level);
    else
        write_line(line.data, line.len);
    buf_fini(&line);
    errno = saved;
}

/* A NULL among the values would end the list early: the count of what stands before it is then odd,
 * or a key is lost. */
static void collect_pairs(va_list arguments, const char *pairs[PAIRS_MOST + 3])
{
    size_t count = 0;
    const char *next;
    while ((next = va_arg(arguments, const char *)) != NULL) {
        assert(count < PAIRS_MOST);
        pairs[count++] = next;
    }
    assert(count % 2 == 0);
    if (the_log.key[0] != '\0') {
        pairs[count++] = the_log.key;
        pairs[count++] = the_log.value;
    }
    pairs[count] = NULL;
}

void log_line(enum log_level level, const char *kind, const char *message, ...)
{
    if (!log_is_on(level))
        return;
    const char *pairs[PAIRS_MOST + 3];
    va_list arguments;
    va_start(arguments, message);
    collect_pairs(arguments, pairs);
    va_end(arguments);
    log_write(level, kind, message, pairs, 0);
}

void log_repeat(enum log_level level, const char *kind, const char *message, ...)
{
    if (!log_is_on(level))
        return;
    uint64_t held_back = 0;
    pthread_mutex_lock(&the_log.lock);
    bool may_pass =
        limiter_may_pass(&the_log.limiter, kind, (int)level, clock_now_ms(), &held_back);
    pthread_mutex_unlock(&the_log.lock);
    if (!may_pass)
        return;
    const char *pairs[PAIRS_MOST + 3];
    va_list arguments;
    va_start(arguments, message);
    collect_pairs(arguments, pairs);
    va_end(arguments);
    log_write(level, kind, message, pairs, held_back);
}

void log_flush_held(uint64_t now_ms)
{
    static const char *const no_pairs[] = {NULL};
    for (;;) {
        const char *found;
        char kind[LIMITER_NAME_LEN];
        int level;
        uint64_t held_back;
        pthread_mutex_lock(&the_log.lock);
        bool is_found = limiter_take_held(&the_log.limiter, now_ms, &found, &level, &held_back);
        if (is_found)
            memcpy(kind, found, sizeof kind);
        pthread_mutex_unlock(&the_log.lock);
        if (!is_found)
            return;
        log_write((enum log_level)level, kind, "more lines of this kind were held back", no_pairs,
                  held_back);
    }
}

const char *log_number(long long value)
{
    static _Thread_local char numbers[NUMBERS][NUMBER_LEN];
    static _Thread_local unsigned next;
    char *text = numbers[next++ % NUMBERS];
    snprintf(text, NUMBER_LEN, "%lld", value);
    return text;
}
