/* transaction.c: see transaction.h. */
#include "worker/transaction.h"

#include "base/log.h"
#include "redis/command.h"

#include <stdio.h>
#include <stdlib.h>

enum { HASH_PAIRS = 512 };

/* What the commands are called that only tell of rules. */
#define SHADOW_RECORDS "XADD :shadow:*"
#define DECISIONS "XADD :decisions"

void transaction_fini(struct transaction *t)
{
    buf_fini(&t->fields);
    buf_fini(&t->range);
    buf_fini(&t->timers);
}

uint32_t transaction_add_effects(struct commit *commit, struct bridge *bridge)
{
    uint32_t count;
    const struct effect *effects = bridge_effects(bridge, &count);
    for (uint32_t i = 0; i < count; i++)
        commit_add_effect(commit, bridge_effect_bytes(bridge, &effects[i]), effects[i].len);
    return count;
}

uint32_t transaction_add_letters(struct commit *commit, struct bridge *bridge)
{
    uint32_t count, shadow_count;
    const struct buf *letters = bridge_letters(bridge, &count);
    const struct buf *records = bridge_shadow_records(bridge, &shadow_count);
    commit_add_commands(commit, letters->data, letters->len, count, "XADD :dlq");
    commit_add_commands(commit, records->data, records->len, shadow_count, SHADOW_RECORDS);
    return count;
}

void transaction_add_decisions(struct commit *commit, struct bridge *bridge)
{
    uint32_t count;
    const struct buf *decisions = bridge_decisions(bridge, &count);
    commit_add_commands(commit, decisions->data, decisions->len, count, DECISIONS);
}

static int compare_changes(const void *left, const void *right)
{
    const struct state_change *a = left, *b = right;
    bool a_deletes = a->len == 0, b_deletes = b->len == 0;
    if (a->rule != b->rule)
        return a->rule < b->rule ? -1 : 1;
    return a_deletes - b_deletes;
}

/* HSET or HDEL for a row of changes of one rule and kind. */
static void add_changes(struct commit *commit, const struct keys *keys, const struct rulebook *book,
                        const struct state_change *changes, size_t count)
{
    bool deletes = changes[0].len == 0;
    struct buf key = {0};
    registry_state_key(rulebook_registry(book), changes[0].rule, keys->prefix.data, &key);
    char what[512];
    snprintf(what, sizeof what, "%s %s", deletes ? "HDEL" : "HSET", key.data);
    struct buf *out = commit_add_command(commit, what);
    command_begin(out, 2 + count * (deletes ? 1 : 2));
    command_argument_text(out, deletes ? "HDEL" : "HSET");
    command_argument(out, key.data, key.len);
    for (size_t i = 0; i < count; i++) {
        command_argument(out, changes[i].key, changes[i].key_len);
        if (!deletes)
            command_argument(out, changes[i].bytes, changes[i].len);
    }
    buf_fini(&key);
}

void transaction_add_states(struct commit *commit, const struct keys *keys,
                            const struct rulebook *book, struct states *states)
{
    size_t cursor = 0, count = 0, cap = 0;
    struct state_change change, *all = NULL;
    bool is_sorted = true;
    while (states_next_change(states, &cursor, &change)) {
        if (count == cap) {
            cap = cap > 0 ? cap * 2 : 1024;
            all = realloc(all, cap * sizeof *all);
            if (all == NULL)
                abort();
        }
        all[count++] = change;
        if (count > 1 && compare_changes(&all[count - 2], &all[count - 1]) > 0)
            is_sorted = false;
    }
    if (!is_sorted)
        qsort(all, count, sizeof *all, compare_changes);
    for (size_t first = 0; first < count;) {
        size_t row = 1;
        while (first + row < count && row < HASH_PAIRS &&
               compare_changes(&all[first], &all[first + row]) == 0)
            row++;
        add_changes(commit, keys, book, all + first, row);
        first += row;
    }
    free(all);
}

void transaction_add_timers(struct transaction *t, struct commit *commit, struct bridge *bridge)
{
    struct timer_names names;
    bridge_timer_names(bridge, &names);
    t->timers.len = 0;
    uint32_t count = timers_commands(bridge_timers(bridge), &names, &t->timers);
    commit_add_commands(commit, t->timers.data, t->timers.len, count, "ZADD :timers:*");
}

/* Returns how many fields. */
static size_t add_clocks(struct buf *fields, const struct transaction_marks *marks)
{
    char name[1200], value[32];
    for (uint32_t i = 0; i < marks->seen_count; i++) {
        const struct seen *seen = &marks->seen[i];
        const char *rule = rulebook_state_name(marks->book, seen->rule);
        if (seen->stream == 0)
            snprintf(name, sizeof name, "watermark:%s", rule);
        else
            snprintf(name, sizeof name, "seen:%s:%s", rule,
                     rulebook_stream_name(marks->book, seen->stream));
        snprintf(value, sizeof value, "%.17g", seen->ms);
        command_argument_text(fields, name);
        command_argument_text(fields, value);
    }
    return marks->seen_count;
}

void transaction_add_positions(struct transaction *t, struct commit *commit, struct owner *o,
                               const struct transaction_marks *marks)
{
    struct buf fields = t->fields, range = t->range; /* their memory is used again and again */
    const struct keys *keys = o->options.keys;
    size_t pairs = 0;
    fields.len = range.len = 0;
    for (size_t i = 0; i < o->source_count; i++) {
        struct source *s = o->sources[i];
        if (s->number == 0 || !s->is_known || (s->sent_count == 0 && !marks->has_new_sources))
            continue;
        char id[STREAM_ID_TEXT], name[1024];
        struct stream_id at = s->sent_count > 0 ? s->sent : s->committed;
        stream_id_format(at, id);
        snprintf(name, sizeof name, "offset:%s", s->name);
        command_argument_text(&fields, name);
        command_argument_text(&fields, id);
        snprintf(name, sizeof name, "read:%s", s->name);
        command_argument_text(&fields, name);
        command_argument_number(&fields, s->read < 0 ? -1 : s->read + (int64_t)s->sent_count);
        pairs += 2;
        if (s->sent_count > 0) {
            char before[STREAM_ID_TEXT];
            stream_id_format(s->committed, before);
            buf_printf(&range, "%s%s after %s up to %s", range.len > 0 ? ", " : "", s->name, before,
                       id);
        }
    }
    pairs += add_clocks(&fields, marks);
    if (marks->is_foreign) {
        char value[400];
        snprintf(value, sizeof value, "commit %lld: %s", (long long)o->commits + 1,
                 range.len > 0 ? buf_text(&range) : marks->what);
        command_argument_text(&fields, "unverified");
        command_argument_text(&fields, value);
        pairs++;
    }
    if (marks->note != NULL) {
        command_argument_text(&fields, "note");
        command_argument_text(&fields, marks->note);
        pairs++;
    }
    command_argument_text(&fields, "commits");
    command_argument_number(&fields, o->commits + 1);
    pairs++;
    struct buf *out = commit_add_command(commit, "HSET :ctl");
    command_begin(out, 2 + 2 * pairs);
    command_argument_text(out, "HSET");
    command_argument(out, keys->ctl.data, keys->ctl.len);
    buf_append(out, fields.data, fields.len);
    if (!marks->is_foreign && marks->has_unverified) {
        out = commit_add_command(commit, "HDEL :ctl");
        command_append(out, "HDEL", keys->ctl.data, "unverified", NULL);
    }
    t->fields = fields;
    t->range = range;
}

void transaction_add_groups(struct commit *commit, struct owner *o, bool has_new_sources,
                            bool has_entries_read)
{
    for (size_t i = 0; i < o->source_count; i++) {
        struct source *s = o->sources[i];
        if (s->number == 0 || (s->sent_count == 0 && !(has_new_sources && s->has_group)))
            continue;
        const char *verb = s->has_group ? "SETID" : "CREATE";
        char id[STREAM_ID_TEXT], what[512];
        stream_id_format(s->sent_count > 0 ? s->sent : s->committed, id);
        snprintf(what, sizeof what, "XGROUP|%s %s", verb, s->name);
        s->has_group = true; /* unless it is refused: transaction_next_fault */
        struct buf *out = commit_add_command(commit, what);
        if (has_entries_read && s->read >= 0)
            command_append(out, "XGROUP", verb, s->name, o->options.group, id, "ENTRIESREAD",
                           log_number(s->read + (long long)s->sent_count), NULL);
        else
            command_append(out, "XGROUP", verb, s->name, o->options.group, id, NULL);
    }
}

uint64_t transaction_land(struct owner *o)
{
    uint64_t events = 0;
    for (size_t i = 0; i < o->source_count; i++) {
        struct source *s = o->sources[i];
        if (s->sent_count == 0)
            continue;
        events += s->sent_count;
        s->committed = s->sent;
        s->read = s->read < 0 ? -1 : s->read + (int64_t)s->sent_count;
        s->ahead -= s->sent_count < s->ahead ? s->sent_count : s->ahead;
        s->sent_count = 0;
    }
    return events;
}

/* Records are for people: production goes on without them. */
static bool is_record(const struct owner *o, const char *what, const char *message)
{
    if (strcmp(what, SHADOW_RECORDS) != 0 && strcmp(what, DECISIONS) != 0)
        return false;
    struct buf key = {0};
    buf_printf(&key, "%s%s", o->options.keys->prefix.data, strchr(what, ':') + 1);
    log_repeat(LOG_WARN, "record_refused",
               "Redis refused a record, which is lost; delete or rename what stands at its key",
               "key", buf_text(&key), "cause", message, NULL);
    buf_fini(&key);
    return true;
}

bool transaction_next_fault(const struct commit *commit, struct owner *o, size_t *cursor,
                            struct error *why)
{
    const char *message, *what;
    while ((what = commit_complaint_next(commit, cursor, &message)) != NULL) {
        if (strncmp(what, "XGROUP|", 7) == 0) {
            /* Only a display: made anew by the next commit, or moved, if it exists. */
            const char *name = strchr(what, ' ') + 1;
            struct source *s = owner_find_source(o, name, strlen(name));
            if (s != NULL)
                s->has_group = strncmp(message, "BUSYGROUP", 9) == 0;
            continue;
        }
        if (is_record(o, what, message))
            continue;
        error_set(why, ERROR_FATAL_REPLY,
                  "Redis refused a write to one of the engine's own keys (%s): %s; delete or "
                  "rename what stands there",
                  what, message);
        return true;
    }
    return false;
}
