/* status.c: see status.h. */
#include "worker/status.h"

#include "base/escape.h"
#include "base/version.h"

#include <unistd.h>

static void add_text(struct buf *json, const char *name, const char *text)
{
    buf_printf(json, "\"%s\":", name);
    escape_json(json, text, strlen(text));
}

static void add_number(struct buf *json, const char *name, uint64_t number)
{
    buf_printf(json, "\"%s\":%llu", name, (unsigned long long)number);
}

/* The least of the partitions that are owned here. */
static void add_watermark(const struct status *s, struct buf *json, const char *rule)
{
    double least_ms = 0, most_lag_ms = 0, ms, lag_ms;
    bool has_one = false;
    for (size_t i = 0; i < s->partition_count; i++) {
        struct partition *p = s->partitions[i];
        if (p == NULL || partition_phase(p) != PARTITION_OWNED ||
            !pipeline_watermark(partition_pipeline(p), rule, &ms, &lag_ms))
            continue;
        least_ms = !has_one || ms < least_ms ? ms : least_ms;
        most_lag_ms = !has_one || lag_ms > most_lag_ms ? lag_ms : most_lag_ms;
        has_one = true;
    }
    if (has_one)
        buf_printf(json, "\"watermark\":%.0f,\"watermark_lag_ms\":%.0f", least_ms, most_lag_ms);
    else
        buf_append_text(json, "\"watermark\":null,\"watermark_lag_ms\":null");
}

static void add_shadow(struct buf *json, const struct rule_info *rule)
{
    const struct {
        const char *name;
        uint64_t number;
    } rows[] = {
        {"shadow_effects", rule->shadow.effects},
        {"shadow_same", rule->shadow.same},
        {"shadow_different", rule->shadow.different},
        {"shadow_only_would", rule->shadow.only_would},
        {"shadow_only_did", rule->shadow.only_did},
    };
    buf_append_text(json, ",");
    add_text(json, "shadow_of", rule->shadow_of);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        buf_append_text(json, ",");
        add_number(json, rows[i].name, rows[i].number);
    }
}

static void add_rules(struct status *s, struct buf *json)
{
    buf_append_text(json, "\"rules\":[");
    for (size_t i = 0; i < rulebook_count(s->book); i++) {
        struct rule_info rule;
        rulebook_rule(s->book, i, &rule);
        buf_append_text(json, i > 0 ? ",{" : "{");
        add_text(json, "name", rule.name);
        buf_append_text(json, ",");
        add_text(json, "version", rule.version);
        buf_append_text(json, ",");
        add_text(json, "file", rule.file);
        buf_append_text(json, ",\"streams\":[");
        for (size_t k = 0; k < rule.stream_count; k++) {
            buf_append_text(json, k > 0 ? "," : "");
            escape_json(json, rule.streams[k], strlen(rule.streams[k]));
        }
        buf_append_text(json, "],");
        add_number(json, "events", rule.events);
        buf_append_text(json, ",");
        add_number(json, "failed", rule.failed);
        buf_append_text(json, ",");
        add_number(json, "skipped", rule.skipped);
        buf_append_text(json, ",");
        add_number(json, "late", rule.late);
        buf_append_text(json, ",");
        add_number(json, "fed_back", rule.fed_back);
        buf_printf(json, ",\"failing\":%s,", rule.is_failing ? "true" : "false");
        add_watermark(s, json, rule.name);
        if (rule.shadow_of != NULL)
            add_shadow(json, &rule);
        buf_append_text(json, "}");
    }
    buf_append_text(json, "]");
}

void status_begin(struct status *s, struct buf *json)
{
    buf_append_text(json, "{");
    add_text(json, "group", s->config->group);
    buf_append_text(json, ",");
    add_text(json, "redis", s->url);
    buf_printf(json, ",\"connected\":%s,", s->is_connected ? "true" : "false");
    add_number(json, "pid", (uint64_t)getpid());
    buf_append_text(json, ",");
    add_text(json, "version", TIDEMILL_VERSION);
    buf_append_text(json, ",");
    add_number(json, "up_ms", s->up_ms);
    buf_append_text(json, ",");
    add_rules(s, json);
    buf_append_text(json, ",\"partitions\":[");
}

static void add_streams(struct buf *json, const struct owner *o)
{
    bool is_first = true;
    buf_append_text(json, "\"streams\":[");
    for (size_t i = 0; i < o->source_count; i++) {
        const struct source *source = o->sources[i];
        char id[STREAM_ID_TEXT];
        if (source->number == 0)
            continue;
        stream_id_format(source->committed, id);
        buf_append_text(json, is_first ? "{" : ",{");
        add_text(json, "name", source->name);
        buf_append_text(json, ",");
        add_text(json, "position", id);
        buf_printf(json, ",\"read\":%lld,\"lag\":", (long long)source->read);
        if (source->read >= 0 && source->added >= 0)
            buf_printf(
                json, "%lld,",
                (long long)(source->added > source->read ? source->added - source->read : 0));
        else
            buf_append_text(json, "null,");
        add_number(json, "lost", source->lost);
        buf_printf(json, ",\"left_out\":%s}", source->is_left_out ? "true" : "false");
        is_first = false;
    }
    buf_append_text(json, "]");
}

void status_add_partition(struct status *s, struct buf *json, struct partition *p,
                          double events_per_s)
{
    struct pipeline_counts counts;
    const struct owner *o = partition_owner(p);
    enum partition_phase phase = partition_phase(p);
    pipeline_count(partition_pipeline(p), &counts);
    buf_append_text(json, s->written++ > 0 ? ",{" : "{");
    add_text(json, "name", partition_name(p));
    buf_append_text(json, ",");
    add_text(json, "state",
             phase == PARTITION_OWNED     ? "owner"
             : phase == PARTITION_LOOKING ? "standby"
                                          : "connecting");
    buf_append_text(json, ",");
    add_text(json, "fence", o->fence);
    buf_printf(json, ",\"events_per_s\":%.0f", events_per_s);
    const struct {
        const char *name;
        uint64_t number;
    } rows[] = {
        {"events", counts.events},           {"fired", counts.fired},
        {"effects", counts.effects},         {"letters", counts.letters},
        {"commits", counts.commits},         {"cuts", counts.cuts},
        {"lookups", counts.lookups},         {"state_keys", counts.state_keys},
        {"state_bytes", counts.state_bytes},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        buf_append_text(json, ",");
        add_number(json, rows[i].name, rows[i].number);
    }
    buf_append_text(json, ",");
    if (counts.is_stopped) {
        add_text(json, "stopped_by", counts.stopped_by);
        buf_append_text(json, ",");
    }
    add_streams(json, o);
    buf_append_text(json, "}");
}

void status_end(struct status *s, struct buf *json)
{
    (void)s;
    buf_append_text(json, "]}");
}
