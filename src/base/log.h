/* log.h: one line, one fact, key=value, as text or JSON, on stderr.
 *
 * What can repeat is held back: of one kind (the `event` word of the call) at most one line a
 * second is written; the next line that is written says how many were not (`held_back=N`). When a
 * kind falls silent, log_flush_held says it. Kinds are literal strings, compared by content. Every
 * line is one write(2): lines of several processes do not mix. */
#ifndef TIDEMILL_BASE_LOG_H
#define TIDEMILL_BASE_LOG_H

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_format { LOG_TEXT, LOG_JSON };

/* Until it is called: info, text. Colour only when stderr is a terminal. */
void log_configure(enum log_level least, enum log_format format);

/* Parses "debug|info|warn|error" and "text|json"; false when it is neither. */
bool log_level_parse(const char *text, enum log_level *level);
bool log_format_parse(const char *text, enum log_format *format);

/* From now on every line of this process carries this pair (copied), as that of a worker: and what
 * was held back before is forgotten, since the process that it was forked from tells of it. */
void log_name_process(const char *key, const char *value);

bool log_is_on(enum log_level level);

/* One line. `kind` is a short_snake_case word, `message` one sentence in lower case. Then pairs of
 * key and value, all const char *, ended by NULL: log_line(LOG_WARN, "link_lost", "connection to
 * Redis lost", "url", url, "cause", why, NULL). Control characters and invalid UTF-8 in values are
 * escaped. Never held back. */
void log_line(enum log_level level, const char *kind, const char *message, ...)
    __attribute__((sentinel));

/* The same, but at most one line of its kind a second (see above). */
void log_repeat(enum log_level level, const char *kind, const char *message, ...)
    __attribute__((sentinel));

/* Writes one line for every kind that held something back and whose second is over: call it from a
 * tick of a second or so, and with UINT64_MAX before leaving. `now_ms` is that of clock_now_ms. */
void log_flush_held(uint64_t now_ms);

/* What log_line writes, with its line feed, without colour: pure, so that specs can read it.
 * `pairs` are keys and values, ended by NULL; `held_back` 0 adds nothing. */
void log_compose(struct buf *out, enum log_format format, uint64_t wall_ms, enum log_level level,
                 const char *kind, const char *message, const char *const *pairs,
                 uint64_t held_back);

/* Formats an integer into a rotating set of 16 thread-local buffers: for values of log lines. */
const char *log_number(long long value);

#endif
