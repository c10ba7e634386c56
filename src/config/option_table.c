/* option_table.c: the rows of options.h. A new option is one row here and one field in config.h. */
#include "config/options.h"

#include "config/config.h"

#include <stdlib.h>
#include <string.h>

#define RUN COMMAND_BIT(COMMAND_RUN)
#define CHECK COMMAND_BIT(COMMAND_CHECK)
#define TEST COMMAND_BIT(COMMAND_TEST)
#define SEND COMMAND_BIT(COMMAND_SEND)
#define TAIL COMMAND_BIT(COMMAND_TAIL)
#define DLQ COMMAND_BIT(COMMAND_DLQ)
#define STATE COMMAND_BIT(COMMAND_STATE)
#define TIMERS COMMAND_BIT(COMMAND_TIMERS)
#define SHADOW COMMAND_BIT(COMMAND_SHADOW)
#define EXPLAIN COMMAND_BIT(COMMAND_EXPLAIN)
#define STATUS COMMAND_BIT(COMMAND_STATUS)
#define REPLAY COMMAND_BIT(COMMAND_REPLAY)
#define ASK (STATUS | COMMAND_BIT(COMMAND_RELOAD) | COMMAND_BIT(COMMAND_ROLLBACK))
#define AT(field) .at = offsetof(struct config, field)
#define AT_STREAM(field) .home = HOME_STREAM, .at = offsetof(struct config_stream, field)
#define AT_OUTPUT(field) .home = HOME_OUTPUT, .at = offsetof(struct config_output, field)

enum { DAY_MS = 24 * 3600 * 1000 };

static const char *group_complaint(const char *text)
{
    size_t len = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-");
    return len >= 1 && len <= 64 && text[len] == '\0'
               ? NULL
               : "must be 1 to 64 of the characters A-Z a-z 0-9 _ . -";
}

static const char *empty_complaint(const char *text)
{
    return text[0] != '\0' ? NULL : "must not be empty";
}

static const char *from_complaint(const char *text)
{
    const char *complaint = "must be start, end or an entry ID such as 1700000000000-0";
    if (strcmp(text, "start") == 0 || strcmp(text, "end") == 0)
        return NULL;
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 20)
        return complaint;
    if (text[digits] == '\0')
        return NULL;
    size_t more = strspn(text + digits + 1, "0123456789");
    return text[digits] == '-' && more > 0 && more <= 20 && text[digits + 1 + more] == '\0'
               ? NULL
               : complaint;
}

static const char *http_complaint(const char *text)
{
    const char *complaint = "must be off or ADDRESS:PORT such as 127.0.0.1:9464";
    if (strcmp(text, "off") == 0)
        return NULL;
    const char *colon = strrchr(text, ':');
    if (colon == NULL || colon == text)
        return complaint;
    size_t digits = strspn(colon + 1, "0123456789");
    return digits >= 1 && digits <= 5 && colon[1 + digits] == '\0' && atoi(colon + 1) <= 65535
               ? NULL
               : complaint;
}

static const char *tag_complaint(const char *text)
{
    bool is_braced = text[0] != '\0' && text[0] == '{' && text[strlen(text) - 1] == '}';
    return !is_braced ? NULL : "must be the text between the braces, without them";
}

/* clang-format off */
const struct option option_table[] = {
    /* Where and who. */
    {.name = "redis", .flag = "--redis", .environment = "REDIS_URL", .path = "redis",
     .type = OPTION_TEXT, .placeholder = "URL", .standard = "redis://127.0.0.1:6379",
     .section = SECTION_COMMON,
     .commands = RUN | SEND | TAIL | DLQ | STATE | TIMERS | SHADOW | EXPLAIN | REPLAY,
     .complaint = empty_complaint, AT(redis),
     .help = "the Redis to work on: redis://[USER:PASSWORD@]HOST[:PORT][/DB] or "
             "unix://[USER:PASSWORD@]/PATH[?db=DB]"},
    {.name = "group", .flag = "--group", .environment = "TIDEMILL_GROUP", .path = "group",
     .type = OPTION_TEXT, .placeholder = "NAME", .standard = "tidemill",
     .section = SECTION_COMMON, .commands = RUN | DLQ | STATE | TIMERS | SHADOW | EXPLAIN | ASK,
     .complaint = group_complaint, AT(group),
     .help = "the name of this deployment of rules, and of the consumer group that shows its "
             "position"},
    {.name = "config", .flag = "--config", .environment = "TIDEMILL_CONFIG", .type = OPTION_PATH,
     .placeholder = "FILE", .section = SECTION_COMMON, .commands = COMMAND_ALL,
     .complaint = empty_complaint, AT(file),
     .help = "the settings file; default tidemill.lua, if there is one"},
    {.name = "log_level", .flag = "--log-level", .environment = "TIDEMILL_LOG_LEVEL",
     .path = "log_level", .type = OPTION_CHOICE, .placeholder = "LEVEL", .standard = "info",
     .choices = "debug|info|warn|error", .section = SECTION_COMMON, .commands = COMMAND_ALL,
     AT(log_level),
     .help = "the least important lines that are logged"},
    {.name = "log_format", .flag = "--log-format", .environment = "TIDEMILL_LOG_FORMAT",
     .path = "log_format", .type = OPTION_CHOICE, .placeholder = "FORMAT", .standard = "text",
     .choices = "text|json", .section = SECTION_COMMON, .commands = COMMAND_ALL, AT(log_format),
     .help = "how lines are logged on standard error"},
    {.name = "help", .flag = "--help", .type = OPTION_SWITCH, .section = SECTION_COMMON,
     .commands = COMMAND_ALL, AT(wants_help),
     .help = "show this help"},
    {.name = "version", .flag = "--version", .type = OPTION_SWITCH, .section = SECTION_COMMON,
     .commands = COMMAND_ALL, AT(wants_version),
     .help = "show the version"},

    /* run, check, status. */
    {.name = "rules", .flag = "--rules", .environment = "TIDEMILL_RULES", .path = "rules",
     .type = OPTION_PATH, .placeholder = "DIR", .standard = "rules", .commands = RUN | CHECK | TEST | REPLAY,
     .complaint = empty_complaint, AT(rules),
     .help = "the folder of the rules, one Lua file each"},
    {.name = "from", .flag = "--from", .environment = "TIDEMILL_FROM", .path = "from",
     .type = OPTION_TEXT, .placeholder = "WHERE", .standard = "end", .commands = RUN,
     .complaint = from_complaint, AT(from),
     .help = "where to begin streams that this group has never read: start, end or an entry ID"},
    {.name = "embedded", .flag = "--embedded", .environment = "TIDEMILL_EMBEDDED",
     .path = "embedded", .type = OPTION_PATH, .placeholder = "DIR", .commands = RUN,
     .complaint = empty_complaint, AT(embedded),
     .help = "start a private redis-server with its data in DIR and work on that: for trying "
             "things out"},
    {.name = "allow_eviction", .flag = "--allow-eviction",
     .environment = "TIDEMILL_ALLOW_EVICTION", .path = "allow_eviction", .type = OPTION_SWITCH,
     .commands = RUN, AT(allow_eviction),
     .help = "run on a Redis that may evict any key when its memory is full, and so lose state "
             "and position"},
    {.name = "control", .flag = "--control", .environment = "TIDEMILL_CONTROL", .path = "control",
     .type = OPTION_PATH, .placeholder = "PATH", .commands = RUN | ASK,
     .complaint = empty_complaint, AT(control),
     .help = "the unix socket over which a running engine answers; default by group, in your "
             "runtime directory"},
    {.name = "workers", .flag = "--workers", .environment = "TIDEMILL_WORKERS", .path = "workers",
     .type = OPTION_INTEGER, .placeholder = "N", .least = 1, .most = 256, .commands = RUN,
     AT(workers),
     .help = "how many worker processes share the partitions; default: as many as there are "
             "partitions, up to the cores"},
    {.name = "record", .flag = "--record", .environment = "TIDEMILL_RECORD", .path = "record",
     .type = OPTION_SHARE, .placeholder = "SHARE", .standard = "0", .commands = RUN, AT(record),
     .help = "keep why rules decided as they did, of this share of the events: 1 is all, 0.01 one "
             "in a hundred; see tidemill explain"},
    {.name = "http", .flag = "--http", .environment = "TIDEMILL_HTTP", .path = "http",
     .type = OPTION_TEXT, .placeholder = "ADDR:PORT", .standard = "off", .commands = RUN,
     .complaint = http_complaint, AT(http), .is_hidden = true,
     .help = "where metrics, health and console are served; off: nowhere"},

    /* test. */
    {.name = "test_coverage", .flag = "--coverage", .type = OPTION_SWITCH, .commands = TEST,
     AT(test.wants_coverage),
     .help = "print which lines of the rules ran"},

    /* send. */
    {.name = "send_strict", .flag = "--strict", .type = OPTION_SWITCH, .commands = SEND,
     AT(send.is_strict),
     .help = "stop at the first line that is no event"},
    {.name = "send_maxlen", .flag = "--maxlen", .type = OPTION_INTEGER, .placeholder = "N",
     .least = 1, .most = INT64_C(1000000000000), .commands = SEND, AT(send.maxlen),
     .help = "keep about N entries in the stream, dropping the oldest"},
    {.name = "send_codec", .flag = "--codec", .type = OPTION_CHOICE, .placeholder = "CODEC",
     .standard = "msgpack", .choices = "msgpack|json|fields", .least = CODEC_MSGPACK,
     .commands = SEND, AT(send.codec),
     .help = "how an event is written: as one msgpack map, as its JSON text, or as fields of the "
             "entry"},
    {.name = "send_field", .flag = "--field", .type = OPTION_TEXT, .placeholder = "NAME",
     .standard = "data", .commands = SEND, .complaint = empty_complaint, AT(send.field),
     .help = "the field that holds the event, with msgpack and json"},

    /* tail. */
    {.name = "tail_from", .flag = "--from", .type = OPTION_TEXT, .placeholder = "WHERE",
     .standard = "end", .commands = TAIL, .complaint = from_complaint, AT(tail.from),
     .help = "where to begin: start, end (what arrives from now on) or behind an entry ID"},
    {.name = "tail_count", .flag = "--count", .type = OPTION_INTEGER, .placeholder = "N",
     .least = 1, .most = INT64_MAX, .commands = TAIL, AT(count),
     .help = "stop after N entries"},
    {.name = "tail_no_follow", .flag = "--no-follow", .type = OPTION_SWITCH, .commands = TAIL,
     AT(tail.no_follow),
     .help = "stop at the end of the stream instead of waiting for more; without --from it "
             "begins at the start"},

    /* replay. */
    {.name = "replay_from", .flag = "--from", .type = OPTION_TEXT, .placeholder = "WHEN",
     .commands = REPLAY, AT(replay.from),
     .help = "begin at this entry ID, ms, or moment (2026-11-22, 2026-11-22T15:04:05Z); default "
             "start"},
    {.name = "replay_to", .flag = "--to", .type = OPTION_TEXT, .placeholder = "WHEN",
     .commands = REPLAY, AT(replay.to),
     .help = "end with it, and let time pass up to there; default end: all that is there now, up to "
             "the time of Redis, or of a file's last event"},
    {.name = "replay_last", .flag = "--last", .type = OPTION_DURATION, .placeholder = "TIME",
     .least = 1, .most = INT64_C(36500) * DAY_MS, .commands = REPLAY, AT(replay.last_ms),
     .help = "instead: only the last 7d, 12h, 30m before the end"},
    {.name = "replay_stream", .flag = "--stream", .type = OPTION_TEXT, .placeholder = "NAME",
     .commands = REPLAY, .complaint = empty_complaint, AT(replay.stream),
     .help = "only this stream, or those that match a glob; also the stream of events in a file that "
             "do not say theirs"},
    {.name = "replay_file", .flag = "--file", .type = OPTION_TEXT, .placeholder = "FILE",
     .commands = REPLAY, .complaint = empty_complaint, AT(replay.file),
     .help = "read events from JSON lines instead of Redis; -: from standard input"},
    {.name = "replay_summary", .flag = "--summary", .type = OPTION_SWITCH, .commands = REPLAY,
     AT(replay.is_summary),
     .help = "print figures instead of every effect"},
    {.name = "replay_against", .flag = "--against", .type = OPTION_TEXT, .placeholder = "DIR",
     .commands = REPLAY, .complaint = empty_complaint, AT(replay.against),
     .help = "the rules folder of another version, which --rules is compared with"},
    {.name = "replay_samples", .flag = "--samples", .type = OPTION_INTEGER, .placeholder = "N",
     .standard = "3", .least = 0, .most = 1000, .commands = REPLAY, AT(replay.samples),
     .help = "with --against: how many examples of each difference are shown"},

    /* dlq, state, timers. */
    {.name = "dlq_rule", .flag = "--rule", .type = OPTION_TEXT, .placeholder = "RULE",
     .commands = DLQ, AT(dlq.rule),
     .help = "only letters of this rule"},
    {.name = "dlq_reason", .flag = "--reason", .type = OPTION_TEXT, .placeholder = "REASON",
     .choices = "decode|schema|key|error|dead|time|memory|output|state|hang|crash|late|future|"
                "refused|unverified|upgrade|migrate",
     .commands = DLQ, AT(dlq.reason),
     .help = "only letters with this reason"},
    {.name = "dlq_count", .flag = "--count", .type = OPTION_INTEGER, .placeholder = "N",
     .standard = "100", .least = 0, .most = INT64_MAX, .commands = DLQ, AT(count),
     .help = "list the newest N letters; 0: all"},
    {.name = "dlq_all", .flag = "--all", .type = OPTION_SWITCH, .commands = DLQ, AT(dlq.is_all),
     .help = "retry or drop every letter that --rule and --reason select"},
    {.name = "dlq_yes", .flag = "--yes", .type = OPTION_SWITCH, .commands = DLQ, AT(dlq.is_sure),
     .help = "needed by drop --all without --rule or --reason: nothing ever asks back"},
    {.name = "state_match", .flag = "--match", .type = OPTION_TEXT, .placeholder = "GLOB",
     .commands = STATE, AT(match),
     .help = "list only keys that match, for instance user:*"},
    {.name = "state_count", .flag = "--count", .type = OPTION_INTEGER, .placeholder = "N",
     .least = 1, .most = INT64_MAX, .commands = STATE, AT(count),
     .help = "list at most N keys"},
    {.name = "state_version", .flag = "--state-version", .type = OPTION_INTEGER, .placeholder = "N",
     .least = 1, .most = INT32_MAX, .commands = STATE, AT(state_version),
     .help = "set: the rule's state.version that this state is of; default: that of the state that "
             "was there, else 1"},
    {.name = "check_format", .flag = "--format", .type = OPTION_CHOICE, .placeholder = "FORMAT",
     .standard = "text", .choices = "text|json", .commands = CHECK, AT(check.format),
     .help = "text: lines for people; json: one array of {file, line, column, end_column, "
             "severity, message}, for editors and CI"},
    {.name = "timers_rule", .flag = "--rule", .type = OPTION_TEXT, .placeholder = "RULE",
     .commands = TIMERS, .complaint = empty_complaint, AT(timers.rule),
     .help = "only timers of this rule"},
    {.name = "timers_key", .flag = "--key", .type = OPTION_TEXT, .placeholder = "KEY",
     .commands = TIMERS, AT(timers.key),
     .help = "only timers of this key; \"\" is that of rules without a key"},
    {.name = "timers_name", .flag = "--name", .type = OPTION_TEXT, .placeholder = "NAME",
     .commands = TIMERS, .complaint = empty_complaint, AT(timers.name),
     .help = "only timers of this name"},
    {.name = "timers_count", .flag = "--count", .type = OPTION_INTEGER, .placeholder = "N",
     .standard = "100", .least = 0, .most = INT64_MAX, .commands = TIMERS, AT(count),
     .help = "list the earliest N timers; 0: all"},
    {.name = "timers_yes", .flag = "--yes", .type = OPTION_SWITCH, .commands = TIMERS,
     AT(timers.is_sure),
     .help = "needed by drop without --rule, --key and --name: nothing ever asks back"},
    {.name = "shadow_different", .flag = "--different", .type = OPTION_SWITCH, .commands = SHADOW,
     AT(shadow.is_different),
     .help = "show only records of what is not the same"},
    {.name = "shadow_count", .flag = "--count", .type = OPTION_INTEGER, .placeholder = "N",
     .standard = "100", .least = 0, .most = INT64_MAX, .commands = SHADOW, AT(count),
     .help = "show the newest N records; 0: all"},
    {.name = "explain_rule", .flag = "--rule", .type = OPTION_TEXT, .placeholder = "RULE",
     .commands = EXPLAIN, .complaint = empty_complaint, AT(explain.rule),
     .help = "only what this rule decided"},
    {.name = "explain_key", .flag = "--key", .type = OPTION_TEXT, .placeholder = "KEY",
     .commands = EXPLAIN, AT(explain.key),
     .help = "only what was decided for this key; \"\" is that of rules without a key"},
    {.name = "explain_count", .flag = "--count", .type = OPTION_INTEGER, .placeholder = "N",
     .standard = "10", .least = 0, .most = INT64_MAX, .commands = EXPLAIN, AT(count),
     .help = "without an ID: the newest N records; 0: all"},
    {.name = "explain_full", .flag = "--full", .type = OPTION_SWITCH, .commands = EXPLAIN,
     AT(explain.is_full),
     .help = "show states, events and answers whole, not only what has changed or fits a line"},
    {.name = "tag", .flag = "--tag", .type = OPTION_TEXT, .placeholder = "TAG",
     .commands = DLQ | STATE | TIMERS | SHADOW | EXPLAIN, .complaint = tag_complaint, AT(tag),
     .help = "only the partition whose streams carry the hash tag {TAG}, with \"\" that of streams "
             "without one; default: all"},
    {.name = "json", .flag = "--json", .type = OPTION_SWITCH, .commands = DLQ | STATE | TIMERS | SHADOW | EXPLAIN | STATUS | REPLAY, AT(is_json),
     .help = "print JSON, one object a line"},

    /* Settings without a flag: what a deployment decides once. */
    {.name = "partition", .path = "partition", .type = OPTION_CHOICE, .placeholder = "\"stream\"",
     .choices = "stream", .least = 1, .section = SECTION_SETTINGS, .commands = RUN, AT(partition),
     .help = "make every stream without a hash tag a partition of its own; default: they form "
             "one together, so that a rule may join them"},
    {.name = "stream_codec", .path = "streams.*.codec", .type = OPTION_CHOICE,
     .placeholder = "CODEC", .standard = "auto", .choices = "auto|msgpack|json|fields",
     .section = SECTION_SETTINGS, .commands = RUN, AT_STREAM(codec),
     .help = "how the entries of a stream are written; auto looks at each"},
    {.name = "output_maxlen", .path = "outputs.*.maxlen", .type = OPTION_INTEGER,
     .placeholder = "N", .least = 1, .most = INT64_C(1000000000000), .section = SECTION_SETTINGS,
     .commands = RUN, AT_OUTPUT(maxlen),
     .help = "keep about N entries in a stream that rules write to; default: never trimmed"},
    {.name = "output_codec", .path = "outputs.*.codec", .type = OPTION_CHOICE,
     .placeholder = "CODEC", .standard = "msgpack", .choices = "msgpack|json",
     .least = CODEC_MSGPACK, .section = SECTION_SETTINGS, .commands = RUN, AT_OUTPUT(codec),
     .help = "how the field data of a written entry holds its table"},
    {.name = "batch_events", .path = "batch_events", .type = OPTION_INTEGER, .placeholder = "N",
     .standard = "1000", .least = 1, .most = 100000, .section = SECTION_SETTINGS, .commands = RUN,
     AT(batch_events),
     .help = "the most events whose effects commit together"},
    {.name = "batch_ms", .path = "batch_ms", .type = OPTION_DURATION, .placeholder = "MS",
     .standard = "20", .least = 1, .most = 10000, .section = SECTION_SETTINGS, .commands = RUN,
     AT(batch_ms),
     .help = "the most running time of rules in one batch"},
    {.name = "lease_ms", .path = "lease_ms", .type = OPTION_DURATION, .placeholder = "MS",
     .standard = "5000", .least = 100, .most = DAY_MS, .section = SECTION_SETTINGS,
     .commands = RUN, AT(lease_ms),
     .help = "how long after a crash a standby takes over; at least three times limits.hard_ms"},
    {.name = "dlq_maxlen", .path = "dlq_maxlen", .type = OPTION_INTEGER, .placeholder = "N",
     .standard = "100000", .least = 1, .most = INT64_C(1000000000000),
     .section = SECTION_SETTINGS, .commands = RUN, AT(dlq_maxlen),
     .help = "keep about N dead letters in each partition, dropping the oldest"},
    {.name = "shadow_maxlen", .path = "shadow_maxlen", .type = OPTION_INTEGER, .placeholder = "N",
     .standard = "10000", .least = 1, .most = INT64_C(1000000000000),
     .section = SECTION_SETTINGS, .commands = RUN, AT(shadow_maxlen),
     .help = "keep about N records of each shadow rule in each partition, dropping the oldest"},
    {.name = "record_maxlen", .path = "record_maxlen", .type = OPTION_INTEGER, .placeholder = "N",
     .standard = "100000", .least = 1, .most = INT64_C(1000000000000),
     .section = SECTION_SETTINGS, .commands = RUN, AT(record_maxlen),
     .help = "keep about N records of decisions in each partition, dropping the oldest"},
    {.name = "future", .path = "future", .type = OPTION_DURATION, .placeholder = "TIME",
     .standard = "1h", .least = 1, .most = INT64_C(3650) * DAY_MS, .section = SECTION_SETTINGS,
     .commands = RUN, AT(future_ms),
     .help = "an entry whose ID is further ahead of Redis' clock is a dead letter"},
    {.name = "state_cache_mb", .path = "state_cache_mb", .type = OPTION_INTEGER,
     .placeholder = "MB", .standard = "16", .least = 0, .most = 65536,
     .section = SECTION_SETTINGS, .commands = RUN, AT(state_cache_mb),
     .help = "how much recently used state is kept in memory"},

    {.name = "failing_in_a_row", .path = "failing.in_a_row", .type = OPTION_INTEGER,
     .placeholder = "N", .standard = "100", .least = 1, .most = 1000000000,
     .section = SECTION_SETTINGS, .commands = RUN, AT(failing.in_a_row),
     .help = "a rule that fails on so many events in a row is reported as failing"},
    {.name = "failing_percent", .path = "failing.percent", .type = OPTION_INTEGER,
     .placeholder = "N", .standard = "50", .least = 1, .most = 100, .section = SECTION_SETTINGS,
     .commands = RUN, AT(failing.percent),
     .help = "so is one that fails on more than so many percent of its last 1,000 events; 100: "
             "none is"},

    /* Limits. */
    {.name = "rule_ms", .path = "limits.rule_ms", .type = OPTION_DURATION, .placeholder = "MS",
     .standard = "50", .least = 1, .most = 60000, .section = SECTION_LIMITS, .commands = RUN,
     AT(limits.rule_ms),
     .help = "running time of one rule on one event"},
    {.name = "hard_ms", .path = "limits.hard_ms", .type = OPTION_DURATION, .placeholder = "MS",
     .standard = "1000", .least = 10, .most = 600000, .section = SECTION_LIMITS, .commands = RUN,
     AT(limits.hard_ms),
     .help = "how much CPU time one rule may use on one event before its worker is killed; the event "
             "becomes a dead letter"},
    {.name = "load_ms", .path = "limits.load_ms", .type = OPTION_DURATION, .placeholder = "MS",
     .standard = "5000", .least = 10, .most = 600000, .section = SECTION_LIMITS, .commands = RUN,
     AT(limits.load_ms),
     .help = "time to load the rules folder"},
    {.name = "vm_mb", .path = "limits.vm_mb", .type = OPTION_INTEGER, .placeholder = "MB",
     .standard = "256", .least = 16, .most = 65536, .section = SECTION_LIMITS, .commands = RUN,
     AT(limits.vm_mb),
     .help = "memory of the rules of one worker"},
    {.name = "effects", .path = "limits.effects", .type = OPTION_INTEGER, .placeholder = "N",
     .standard = "1000", .least = 1, .most = 1000000, .section = SECTION_LIMITS, .commands = RUN,
     AT(limits.effects),
     .help = "effects of one rule on one event"},
    {.name = "effect_kb", .path = "limits.effect_kb", .type = OPTION_INTEGER, .placeholder = "KB",
     .standard = "1024", .least = 1, .most = 262144, .section = SECTION_LIMITS, .commands = RUN,
     AT(limits.effect_kb),
     .help = "bytes of the effects of one rule on one event"},
    {.name = "event_kb", .path = "limits.event_kb", .type = OPTION_INTEGER, .placeholder = "KB",
     .standard = "1024", .least = 1, .most = 262144, .section = SECTION_LIMITS, .commands = RUN,
     AT(limits.event_kb),
     .help = "bytes of one event; a larger one is a dead letter"},
    {.name = "event_depth", .path = "limits.event_depth", .type = OPTION_INTEGER,
     .placeholder = "N", .standard = "32", .least = 1, .most = 200, .section = SECTION_LIMITS,
     .commands = RUN, AT(limits.event_depth),
     .help = "maps and arrays inside each other in one event"},
    {.name = "event_elements", .path = "limits.event_elements", .type = OPTION_INTEGER,
     .placeholder = "N", .standard = "65536", .least = 16, .most = 16777216,
     .section = SECTION_LIMITS, .commands = RUN, AT(limits.event_elements),
     .help = "values of one event in all"},
    {.name = "state_kb", .path = "limits.state_kb", .type = OPTION_INTEGER, .placeholder = "KB",
     .standard = "64", .least = 1, .most = 65536, .section = SECTION_LIMITS, .commands = RUN,
     AT(limits.state_kb),
     .help = "packed state of one key of one rule"},
};
/* clang-format on */

const size_t option_count = sizeof option_table / sizeof option_table[0];
_Static_assert(sizeof option_table / sizeof option_table[0] <= CONFIG_OPTIONS_MOST,
               "make CONFIG_OPTIONS_MOST larger");
