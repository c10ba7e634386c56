/* config.h: everything that was decided outside the program (flags, environment, settings file,
 * defaults) as one struct.
 *
 * Flags win over the environment, the environment over the settings file, that over the defaults.
 * What exists is said once, in the table of options.c. */
#ifndef TIDEMILL_CONFIG_CONFIG_H
#define TIDEMILL_CONFIG_CONFIG_H

#include "base/arena.h"
#include "base/error.h"
#include "config/command.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CONFIG_OPTIONS_MOST = 96, CONFIG_LEASE_PER_HARD = 3 };

/* How the data of an entry is written. AUTO only where entries are read. */
enum config_codec { CODEC_AUTO, CODEC_MSGPACK, CODEC_JSON, CODEC_FIELDS };

enum config_origin { ORIGIN_DEFAULT, ORIGIN_FILE, ORIGIN_ENVIRONMENT, ORIGIN_FLAG };

enum check_format { CHECK_TEXT, CHECK_JSON };

/* Where in the settings file a mistake stands, for whoever shows it. `sentence` is the error's text
 * without file and line. */
struct config_mistake {
    const char *file, *sentence; /* NULL: the error is about something else */
    const char *text;            /* of the line; "": unknown */
    int line, column, width;     /* from 1 on, bytes; 0: unknown */
};

/* streams = { NAME = { … } } */
struct config_stream {
    const char *name;
    int codec; /* enum config_codec */
};

/* outputs = { NAME = { … } } */
struct config_output {
    const char *name;
    int64_t maxlen; /* 0: never trimmed */
    int codec;      /* CODEC_MSGPACK or CODEC_JSON */
};

struct config_limits {
    int64_t rule_ms, hard_ms,
        load_ms;                /* running time of a rule: soft, hard; of loading the folder */
    int64_t vm_mb;              /* memory of one worker's Lua */
    int64_t effects, effect_kb; /* of one rule on one event */
    int64_t event_kb, event_depth, event_elements; /* of one event */
    int64_t state_kb;                              /* of one key's state, packed */
};

struct config {
    const char *redis;    /* URL */
    const char *group;    /* [A-Za-z0-9_.-]{1,64} */
    const char *rules;    /* folder */
    const char *file;     /* the settings file that was read, or NULL */
    const char *from;     /* start, end or an entry ID: where run begins a stream that the group has
                             never read */
    const char *control;  /* path of the control socket; never NULL */
    const char *http;     /* off or ADDR:PORT */
    const char *embedded; /* folder of a private redis-server, or NULL */
    int log_level;        /* enum log_level */
    int log_format;       /* enum log_format */
    int partition; /* 1: every stream without a hash tag is a partition of its own; 0: they form one
                      together */
    bool allow_eviction;
    int64_t workers; /* 0: as many as there are partitions, up to the cores */
    int64_t batch_events, batch_ms, lease_ms, dlq_maxlen, shadow_maxlen, future_ms, state_cache_mb;
    double record; /* the share of events whose decisions are recorded */
    int64_t record_maxlen;
    struct config_limits limits;
    struct {
        int64_t in_a_row, percent; /* failed events, and of the last 1,000 */
    } failing;

    struct config_stream *streams;
    size_t stream_count;
    struct config_output *outputs;
    size_t output_count;

    struct config_mistake mistake; /* when config_load failed */

    /* Of commands other than run. */
    struct {
        int format; /* enum check_format */
    } check;
    struct {
        bool wants_coverage;
    } test;
    struct {
        bool is_strict;
        int64_t maxlen; /* 0: no trimming */
        const char *field;
        int codec;
    } send;
    struct {
        const char *from;
        bool no_follow;
    } tail;
    struct {
        const char *rule, *reason; /* NULL: any */
        bool is_all, is_sure;
    } dlq;
    struct {
        const char *rule, *key, *name; /* NULL: any */
        bool is_sure;
    } timers;
    struct {
        bool is_different;
    } shadow;
    struct {
        const char *from, *to; /* as they were written; NULL: not said */
        int64_t last_ms;       /* 0: not said */
        const char *stream;    /* a name or glob; NULL: all */
        const char *file;      /* "-": standard input; NULL: Redis */
        const char *against;   /* a folder of rules, or NULL */
        int64_t samples;
        bool is_summary;
    } replay;
    struct {
        const char *rule, *key; /* NULL: any */
        bool is_full;
    } explain;
    const char *match;     /* state list: a glob, or NULL */
    const char *tag;       /* the one partition meant, or NULL */
    int64_t count;         /* how many at most; 0: all */
    int64_t state_version; /* state set; 0: as it was */
    bool is_json;

    bool wants_help;    /* --help was given: nothing else was looked at */
    bool wants_version; /* --version, likewise */

    uint8_t origins[CONFIG_OPTIONS_MOST]; /* enum config_origin, by row of the table of options */
    struct arena memory;                  /* every string and list above */
};

/* Reads the words behind the command (`argv[0]` is the first of them), the environment and the
 * settings file. Afterwards
 * `*argc` and `argv` hold the positional arguments, whose number was checked. argv's strings must
 * outlive the config. Failure leaves the options that say how mistakes are shown (check.format),
 * and `mistake` where it is one of the settings file. Errors: ERROR_USAGE (exit status 2),
 * ERROR_SYSTEM (exit status 1: settings file not readable, or a feature that this version does not
 * have). Call config_fini in either case. */
int config_load(const struct command *command, int *argc, char **argv, struct config *config,
                struct error *error);
void config_fini(struct config *config);

/* Where the value of an option (its name in the table: "http") came from. */
enum config_origin config_origin_of(const struct config *config, const char *name);

/* What the settings say of a stream: its codec (CODEC_AUTO when nothing) ... */
int config_stream_codec(const struct config *config, const char *name, size_t len);

/* ... and of an output; NULL when nothing: one msgpack map, never trimmed. */
const struct config_output *config_output_of(const struct config *config, const char *name,
                                             size_t len);

#endif
