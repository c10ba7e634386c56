/* probe.c: see probe.h. What XINFO says is of a moment ago: conclusions only where time cannot have
 * changed them. */
#include "worker/probe.h"

#include "base/log.h"
#include "redis/command.h"

#include <stdio.h>
#include <stdlib.h>

enum { STREAMS_A_LOOK = 64 };

struct look {
    struct probe *probe;
    struct partition *partition;
    size_t first, count;                     /* of the partition's sources */
    unsigned list_version;                   /* of their list */
    struct stream_id before[STREAMS_A_LOOK]; /* their positions when XINFO was sent */
};

struct probe {
    struct control *control;
    char group[128];
    size_t next; /* where the next look begins */
    size_t under_way;
};

struct probe *probe_create(struct control *control, const char *group)
{
    struct probe *p = calloc(1, sizeof *p);
    if (p == NULL)
        abort();
    p->control = control;
    snprintf(p->group, sizeof p->group, "%s", group);
    return p;
}

void probe_destroy(struct probe *p)
{
    free(p);
}

bool probe_has_unknown(struct partition *partition)
{
    const struct owner *o = partition_owner(partition);
    for (size_t i = 0; i < o->source_count; i++)
        if (!o->sources[i]->is_known)
            return true;
    return false;
}

static void tell_lost(struct source *s, int64_t lost, bool is_exact)
{
    if (lost <= 0)
        return;
    s->lost += (uint64_t)lost;
    log_line(LOG_ERROR, "entries_lost",
             "entries were trimmed before they were read; raise the producers' MAXLEN, or catch up "
             "faster",
             "stream", s->name, is_exact ? "lost" : "lost_at_least", log_number(lost), NULL);
}

/* True when the position of the source must be written again (its count was corrected). */
static bool judge_count(struct source *s, const struct reply *info, struct stream_id last)
{
    const struct reply *added = reply_field(info, "entries-added"),
                       *length = reply_field(info, "length");
    if (added == NULL || length == NULL)
        return false;
    s->added = reply_number(added, -1);
    if (s->sent_count > 0)
        return false;
    int64_t total = s->added, removed = total - reply_number(length, 0);
    if (stream_id_compare(last, s->committed) == 0) { /* at the tail: exact */
        bool is_wrong = s->read != total;
        if (s->read >= 0 && s->read < total)
            tell_lost(s, total - s->read, true);
        s->read = total;
        return is_wrong;
    }
    /* What we have read and not committed yet is not lost, though it may be trimmed by now. */
    int64_t lost = s->read < 0 ? 0 : removed - s->read - (int64_t)s->ahead;
    if (lost <= 0)
        return false;
    tell_lost(s, lost, false);
    s->read += lost;
    return true;
}

/* What one stream's XINFO STREAM says. Returns whether positions must be written again. */
static bool judge(struct look *look, struct source *s, size_t number, const struct reply *info,
                  bool *must_recover)
{
    if (reply_is_error(info, "WRONGTYPE")) {
        *must_recover |= !s->is_left_out;
        return false;
    }
    if (s->is_left_out) { /* the other type is gone */
        *must_recover = true;
        return false;
    }
    if (info->type != REPLY_ARRAY)
        return false;
    const struct reply *id = reply_field(info, "last-generated-id");
    struct stream_id last = {0};
    if (id == NULL || !stream_id_parse(id->text, id->len, &last))
        return false;
    if (stream_id_compare(last, look->before[number]) < 0) {
        *must_recover = true; /* made anew: the acquire sees it and says so */
        return false;
    }
    if (!s->has_group) {
        char text[STREAM_ID_TEXT];
        struct link *link = control_link(look->probe->control);
        stream_id_format(s->committed, text);
        command_append(link_out(link), "XGROUP", "CREATE", s->name, look->probe->group, text, NULL);
        link_expect(link, NULL, NULL, NULL, 0);
        link_flush(link);
        s->has_group = true;
        return true; /* the commit that follows puts its count right */
    }
    return judge_count(s, info, last);
}

static void end_look(struct look *look)
{
    look->probe->under_way--;
    free(look);
}

static void on_info(void *context, const struct reply *const *replies, size_t count)
{
    struct look *look = context;
    struct probe *p = look->probe;
    struct owner *o = partition_owner(look->partition);
    bool must_recover = false, is_dirty = false;
    struct partition *partition = look->partition;
    for (size_t i = 0; i < count && look->list_version == o->list_version; i++) {
        struct source *s = o->sources[look->first + i];
        if (s->number != 0 && s->is_known && partition_phase(partition) == PARTITION_OWNED)
            is_dirty |= judge(look, s, i, replies[i], &must_recover);
    }
    end_look(look);
    control_end(p->control);
    if (must_recover)
        partition_recover(partition, "stream_changed",
                          "a stream was made anew or its type changed");
    else if (is_dirty)
        pipeline_commit_sources(partition_pipeline(partition));
}

static void begin(void *context)
{
    struct look *look = context;
    struct owner *o = partition_owner(look->partition);
    struct talk *talk = control_talk(look->probe->control);
    struct buf *out = talk_begin(talk, control_link(look->probe->control));
    if (look->first >= o->source_count)
        look->first = 0;
    look->list_version = o->list_version;
    look->count = o->source_count - look->first < STREAMS_A_LOOK ? o->source_count - look->first
                                                                 : STREAMS_A_LOOK;
    for (size_t i = 0; i < look->count; i++) {
        const struct source *s = o->sources[look->first + i];
        look->before[i] = s->committed;
        command_append(out, "XINFO", "STREAM", s->name, NULL);
        talk_expect(talk, "XINFO STREAM");
    }
    talk_send(talk, on_info, look);
}

static void lost(void *context)
{
    end_look(context);
}

void probe_add(struct probe *p, struct partition *partition)
{
    size_t sources = partition_owner(partition)->source_count;
    if (partition_phase(partition) != PARTITION_OWNED || sources == 0)
        return;
    struct look *look = calloc(1, sizeof *look);
    if (look == NULL)
        abort();
    *look = (struct look){.probe = p, .partition = partition, .first = p->next % sources};
    p->next = look->first + STREAMS_A_LOOK >= sources ? 0 : look->first + STREAMS_A_LOOK;
    p->under_way++;
    control_add(p->control, &(struct control_job){.begin = begin, .lost = lost, .context = look});
}
