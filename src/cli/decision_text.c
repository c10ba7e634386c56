/* decision_text.c: a record of decisions as a page for people (decision_view.h):
 *
 *     orders 1700000000000-0                  what it was about
 *     event      {"type":"purchase", …}
 *
 *     loyalty 5f1c2a09 ran in 83 µs           one paragraph a rule
 *       reason   segment is vip
 *       state    total: 10 -> 30 */
#include "base/escape.h"
#include "base/terminal.h"
#include "base/utc.h"
#include "cli/decision_inside.h"
#include "cli/entry.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_WIDTH = 10, VALUE_COLUMNS = 160, ELEMENTS_MOST = 20 };

struct page {
    const struct decision_show *show;
    struct buf *out;
};

/* -- Lines and values -- */

static void begin_line(struct page *p, const char *name)
{
    buf_printf(p->out, "  %-*s ", NAME_WIDTH, name);
}

static void end_line(struct page *p)
{
    buf_append(p->out, "\n", 1);
}

static void put_text(struct page *p, struct slice text)
{
    escape_text(p->out, text.bytes, text.len);
}

static void put_moment(struct page *p, double ms)
{
    char text[UTC_LEN];
    utc_format(ms >= 0 && ms < 1e18 ? (uint64_t)ms : 0, text);
    buf_append_text(p->out, text);
}

/* Where a text is to be cut so that it fits a line. */
static size_t cut_at(const char *text, size_t len, bool is_full)
{
    size_t columns;
    return is_full ? len : terminal_fit(text, len, VALUE_COLUMNS, &columns);
}

static void put_json(struct page *p, const struct buf *json)
{
    size_t len = cut_at(json->data, json->len, p->show->is_full);
    escape_text(p->out, json->data, len);
    if (len < json->len)
        buf_append_text(p->out, "…");
}

static void put_value(struct page *p, struct slice value)
{
    struct buf json = {0};
    decision_append_value(value, &json);
    put_json(p, &json);
    buf_fini(&json);
}

/* The field of a map that holds a value, or says why it does not: NAME_size, NAME_fault. */
static void put_kept(struct page *p, struct slice map, const char *name)
{
    char other[64];
    struct slice value = slice_find(map, name);
    if (value.len > 0 && slice_is_nil(value)) {
        buf_append_text(p->out, "nothing");
        return;
    }
    if (value.len > 0) {
        put_value(p, value);
        return;
    }
    snprintf(other, sizeof other, "%s_size", name);
    double size = slice_number(slice_find(map, other), -1);
    snprintf(other, sizeof other, "%s_fault", name);
    struct slice fault = slice_text(slice_find(map, other));
    if (size >= 0)
        buf_printf(p->out, "(%.0f bytes: too large to be kept)", size);
    else if (fault.len > 0)
        put_text(p, fault);
    else
        buf_append_text(p->out, "(not kept)");
}

/* -- What has changed -- */

static struct slice find_key(struct slice map, struct slice wanted)
{
    struct slice items, key, value;
    uint32_t count;
    if (slice_open_map(map, &items, &count))
        while (count-- > 0 && slice_next(&items, &key) && slice_next(&items, &value))
            if (slice_is_same(key, wanted))
                return value;
    return (struct slice){0};
}

static void put_side(struct page *p, struct slice value)
{
    if (value.len == 0)
        buf_append_text(p->out, "-");
    else
        put_value(p, value);
}

static bool is_map(struct slice value)
{
    struct slice items;
    uint32_t count;
    return slice_open_map(value, &items, &count);
}

static bool fits_line(struct slice value)
{
    struct buf json = {0};
    decision_append_value(value, &json);
    bool fits = cut_at(json.data, json.len, false) == json.len;
    buf_fini(&json);
    return fits;
}

static void put_changes(struct page *p, const char *name, const struct buf *path,
                        struct slice before, struct slice after);
static bool put_elements(struct page *p, const char *name, const struct buf *path,
                         struct slice before, struct slice after);

/* One that does not fit a line looks the same before and after where it is cut: then what has
 * changed inside of it is shown. */
static void put_change(struct page *p, const char *name, const struct buf *path,
                       struct slice before, struct slice after)
{
    bool is_long = before.len > 0 && after.len > 0 && !(fits_line(before) && fits_line(after));
    if (is_long && is_map(before) && is_map(after)) {
        put_changes(p, name, path, before, after);
        return;
    }
    if (is_long && put_elements(p, name, path, before, after))
        return;
    begin_line(p, name);
    put_text(p, (struct slice){path->data, path->len});
    buf_append_text(p->out, ": ");
    put_side(p, before);
    buf_append_text(p->out, " -> ");
    put_side(p, after);
    end_line(p);
}

static void put_field_change(struct page *p, const char *name, const struct buf *path,
                             struct slice key, struct slice before, struct slice after)
{
    struct buf inner = {0};
    struct slice text = slice_text(key);
    if (path->len > 0) {
        buf_append(&inner, path->data, path->len);
        buf_append_text(&inner, ".");
    }
    if (text.len > 0)
        buf_append(&inner, text.bytes, text.len);
    else
        decision_append_value(key, &inner);
    put_change(p, name, &inner, before, after);
    buf_fini(&inner);
}

/* The fields of a map that the other side has not, or not the same. */
static void put_changes(struct page *p, const char *name, const struct buf *path,
                        struct slice before, struct slice after)
{
    struct slice items, key, value;
    uint32_t count;
    if (slice_open_map(before, &items, &count))
        while (count-- > 0 && slice_next(&items, &key) && slice_next(&items, &value)) {
            struct slice now = find_key(after, key);
            if (!slice_is_same(value, now))
                put_field_change(p, name, path, key, value, now);
        }
    if (slice_open_map(after, &items, &count))
        while (count-- > 0 && slice_next(&items, &key) && slice_next(&items, &value))
            if (find_key(before, key).len == 0)
                put_field_change(p, name, path, key, (struct slice){0}, value);
}

/* Two arrays side by side; past the end of one its elements are empty. */
struct pairs {
    struct slice before, after; /* what is left of each */
    uint32_t count;             /* of the longer one */
};

static bool open_pairs(struct pairs *two, struct slice before, struct slice after)
{
    uint32_t after_count;
    if (!slice_open_array(before, &two->before, &two->count) ||
        !slice_open_array(after, &two->after, &after_count))
        return false;
    two->count = after_count > two->count ? after_count : two->count;
    return true;
}

/* True: they differ. */
static bool next_pair(struct pairs *two, struct slice *before, struct slice *after)
{
    *before = *after = (struct slice){0};
    (void)slice_next(&two->before, before);
    (void)slice_next(&two->after, after);
    return !slice_is_same(*before, *after);
}

/* The elements that differ, counted from 1 as Lua does. False: they are no arrays, or too many do
 * (one that was put in at the front has moved all others). */
static bool put_elements(struct page *p, const char *name, const struct buf *path,
                         struct slice before, struct slice after)
{
    struct pairs two;
    struct slice was, is;
    uint32_t different = 0;
    if (!open_pairs(&two, before, after))
        return false;
    for (uint32_t i = 0; i < two.count; i++)
        different += next_pair(&two, &was, &is);
    if (different > ELEMENTS_MOST)
        return false;
    (void)open_pairs(&two, before, after);
    for (uint32_t i = 1; i <= two.count; i++) {
        if (!next_pair(&two, &was, &is))
            continue;
        struct buf inner = {0};
        buf_printf(&inner, "%.*s[%" PRIu32 "]", (int)path->len, path->data, i);
        put_change(p, name, &inner, was, is);
        buf_fini(&inner);
    }
    return true;
}

/* A map with before and after, of which each may be nil. */
static void put_difference(struct page *p, const char *name, struct slice map)
{
    struct slice before = slice_find(map, "before"), after = slice_find(map, "after");
    bool are_maps = before.len > 0 && after.len > 0 && (is_map(before) || slice_is_nil(before)) &&
                    (is_map(after) || slice_is_nil(after));
    bool is_same = before.len > 0 && slice_is_same(before, after);
    if (are_maps && !is_same && !p->show->is_full) {
        put_changes(p, name, &(struct buf){0}, before, after);
        return;
    }
    begin_line(p, name);
    if (is_same) {
        buf_append_text(p->out, "unchanged: ");
        put_value(p, after);
    } else {
        put_kept(p, map, "before");
        buf_append_text(p->out, " -> ");
        put_kept(p, map, "after");
    }
    end_line(p);
}

/* -- Parts of a decision -- */

static void put_state(struct page *p, struct slice state, bool has_failed)
{
    if (state.len == 0)
        return;
    if (!has_failed) {
        put_difference(p, "state", state);
        return;
    }
    begin_line(p, "state");
    buf_append_text(p->out, "stayed ");
    put_kept(p, state, "before");
    end_line(p);
}

static void put_window(struct page *p, struct slice window)
{
    if (window.len == 0)
        return;
    begin_line(p, "window");
    put_text(p, slice_text(slice_find(window, "kind")));
    buf_append_text(p->out, ", ");
    put_moment(p, slice_number(slice_find(window, "start"), 0));
    buf_append_text(p->out, " to ");
    put_moment(p, slice_number(slice_find(window, "stop"), 0));
    end_line(p);
    put_difference(p, "", window);
}

static void put_words(struct page *p, struct slice words)
{
    struct slice items, word;
    uint32_t count;
    if (!slice_open_array(words, &items, &count))
        return;
    for (uint32_t i = 0; i < count && slice_next(&items, &word); i++) {
        struct slice text = slice_text(word);
        bool is_plain = text.len > 0 && memchr(text.bytes, ' ', text.len) == NULL;
        buf_append_text(p->out, i > 0 ? " " : "");
        if (is_plain)
            put_text(p, text);
        else
            escape_quoted(p->out, text.bytes, text.len);
    }
}

static void put_reason(struct page *p, struct slice reason)
{
    begin_line(p, "reason");
    put_text(p, slice_text(reason));
    end_line(p);
}

static void put_lookup(struct page *p, struct slice lookup)
{
    struct slice refusal = slice_find(lookup, "error");
    begin_line(p, "lookup");
    put_words(p, slice_find(lookup, "command"));
    buf_append_text(p->out, refusal.len > 0 ? " -> error: " : " -> ");
    if (refusal.len > 0)
        put_text(p, slice_text(refusal));
    else
        put_kept(p, lookup, "answer");
    end_line(p);
}

static void put_effect(struct page *p, struct slice effect)
{
    struct slice stream = slice_find(effect, "stream"), json = slice_find(effect, "json");
    begin_line(p, stream.len > 0 ? "emit" : "write");
    if (stream.len > 0) {
        put_text(p, slice_text(stream));
        buf_append_text(p->out, " ");
    }
    if (json.len > 0)
        put_text(p, slice_text(json));
    else if (stream.len > 0)
        put_kept(p, effect, "event");
    else
        put_words(p, slice_find(effect, "command"));
    end_line(p);
}

static void put_timer(struct page *p, struct slice timer)
{
    struct slice set = slice_find(timer, "set");
    begin_line(p, "timer");
    put_text(p, slice_text(set.len > 0 ? set : slice_find(timer, "cancel")));
    if (set.len == 0) {
        buf_append_text(p->out, " cancelled");
    } else {
        buf_append_text(p->out, " set, due ");
        put_moment(p, slice_number(slice_find(timer, "due"), 0));
        if (slice_find(timer, "payload").len > 0) {
            buf_append_text(p->out, ", payload ");
            put_kept(p, timer, "payload");
        }
    }
    end_line(p);
}

/* All of a list, and how many more there were. */
static void put_list(struct page *p, struct slice decision, const char *name,
                     void (*put)(struct page *p, struct slice item))
{
    char count_name[32];
    struct slice items, item;
    uint32_t count;
    if (!slice_open_array(slice_find(decision, name), &items, &count))
        return;
    for (uint32_t i = 0; i < count && slice_next(&items, &item); i++)
        put(p, item);
    snprintf(count_name, sizeof count_name, "%s_count", name);
    double all = slice_number(slice_find(decision, count_name), count);
    if (all > count) {
        begin_line(p, "");
        buf_printf(p->out, "and %.0f more %s that were not kept\n", all - count, name);
    }
}

/* Lines stay lines. */
static void put_block(struct page *p, const char *name, struct slice text)
{
    while (text.len > 0) {
        const char *feed = memchr(text.bytes, '\n', text.len);
        size_t line = feed == NULL ? text.len : (size_t)(feed - text.bytes);
        begin_line(p, name);
        escape_text(p->out, text.bytes, line);
        end_line(p);
        line += feed != NULL;
        text.bytes += line;
        text.len -= line;
        name = "";
    }
}

/* -- A decision -- */

static bool is_outcome(struct slice decision, const char *outcome)
{
    struct slice text = slice_text(slice_find(decision, "outcome"));
    return text.len == strlen(outcome) && memcmp(text.bytes, outcome, text.len) == 0;
}

/* What has become of an event on which a rule failed. */
static const char *fate_of(struct slice decision)
{
    static const char shadow[] = "shadow:";
    struct slice rule = slice_text(slice_find(decision, "rule"));
    if (rule.len > sizeof shadow - 1 && memcmp(rule.bytes, shadow, sizeof shadow - 1) == 0)
        return " (in shadow mode: no dead letter)";
    return " (a dead letter)";
}

static void put_verdict(struct page *p, struct slice decision)
{
    if (is_outcome(decision, "filtered")) {
        buf_append_text(p->out, "passed it over: ");
        put_text(p, slice_text(slice_find(decision, "why")));
    } else if (is_outcome(decision, "failed")) {
        buf_append_text(p->out, "failed: ");
        put_text(p, slice_text(slice_find(decision, "reason")));
        bool is_skipped = slice_find(decision, "skipped").len > 0;
        buf_append_text(p->out, is_skipped ? " (skipped, by its on_error)" : fate_of(decision));
    } else if (is_outcome(decision, "late")) {
        buf_append_text(p->out, "was given it too late: its windows had closed");
        buf_append_text(p->out, fate_of(decision));
    } else {
        bool is_late = slice_find(decision, "late_ms").len > 0;
        buf_append_text(p->out, is_late ? "ran on_late" : "ran");
    }
    double us = slice_number(slice_find(decision, "us"), -1);
    if (us >= 0)
        buf_printf(p->out, ", %.0f µs", us);
}

static void put_decision(struct page *p, struct slice decision)
{
    struct slice key = slice_find(decision, "key");
    double refused = slice_number(slice_find(decision, "refused"), 0);
    double late_ms = slice_number(slice_find(decision, "late_ms"), -1);
    buf_append_text(p->out, p->show->is_coloured ? "\n\033[1m" : "\n");
    put_text(p, slice_text(slice_find(decision, "rule")));
    buf_append_text(p->out, p->show->is_coloured ? "\033[0m " : " ");
    put_text(p, slice_text(slice_find(decision, "version")));
    buf_append_text(p->out, " ");
    put_verdict(p, decision);
    end_line(p);
    if (slice_text(key).len > 0)
        put_block(p, "key", slice_text(key));
    if (late_ms >= 0) {
        begin_line(p, "late");
        buf_printf(p->out, "%.0f ms behind the rule's watermark\n", late_ms);
    }
    put_block(p, "message", slice_text(slice_find(decision, "message")));
    put_block(p, "traceback", slice_text(slice_find(decision, "traceback")));
    put_list(p, decision, "reasons", put_reason);
    put_list(p, decision, "lookups", put_lookup);
    put_state(p, slice_find(decision, "state"), is_outcome(decision, "failed"));
    put_window(p, slice_find(decision, "window"));
    put_list(p, decision, "effects", put_effect);
    if (refused > 0) {
        begin_line(p, "refused");
        buf_printf(p->out, "%.0f more by Redis: dead letters\n", refused);
    }
    put_list(p, decision, "timers", put_timer);
    if (slice_find(decision, "cut").len > 0)
        put_block(p, "",
                  (struct slice){"too much to be kept: what else it did is not here",
                                 sizeof "too much to be kept: what else it did is not here" - 1});
}

/* -- The whole -- */

static void put_field(struct page *p, const char *name, struct slice value)
{
    if (value.len == 0)
        return;
    buf_printf(p->out, "%-*s ", NAME_WIDTH, name);
    put_text(p, value);
    end_line(p);
}

static void put_moment_field(struct page *p, const char *name, struct slice ms)
{
    if (ms.len == 0)
        return;
    buf_printf(p->out, "%-*s ", NAME_WIDTH, name);
    put_moment(p, strtod(ms.bytes, NULL)); /* a reply's text: NUL behind it */
    end_line(p);
}

static void put_event(struct page *p, const struct decision_view *v)
{
    struct slice raw = decision_field(v, "event"), size = decision_field(v, "size");
    struct buf event = {0};
    if (entry_append_packed(&event, p->show->codec, raw.bytes, raw.len)) {
        const char *colon = memchr(event.data, ':', event.len);
        size_t name = (size_t)(colon - event.data);
        struct buf json = {.data = event.data + name + 1, .len = event.len - name - 1};
        buf_printf(p->out, "%-*.*s ", NAME_WIDTH, (int)name - 2, event.data + 1);
        put_json(p, &json);
        end_line(p);
    } else if (size.len > 0) {
        buf_printf(p->out, "%-*s %.*s bytes: too large to be kept\n", NAME_WIDTH, "event",
                   (int)size.len, size.bytes);
    }
    buf_fini(&event);
}

/* "START-STOP" in ms as moments; what is none as it is. */
static void put_span(struct page *p, struct slice window)
{
    unsigned long long start, stop;
    char text[64], rest;
    snprintf(text, sizeof text, "%.*s", (int)window.len, window.bytes);
    if (sscanf(text, "%llu-%llu%c", &start, &stop, &rest) != 2) {
        put_text(p, window);
        return;
    }
    put_moment(p, (double)start);
    buf_append_text(p->out, " to ");
    put_moment(p, (double)stop);
}

static void put_subject(struct page *p, const struct decision_view *v)
{
    struct slice stream = decision_field(v, "stream"), timer = decision_field(v, "timer");
    bool is_entry = stream.len > 0, is_timer = timer.len > 0;
    buf_append_text(p->out, p->show->is_coloured ? "\033[1m" : "");
    put_text(p, is_entry ? stream : decision_field(v, "rule"));
    buf_append_text(p->out, is_entry ? " " : is_timer ? ": timer " : ": window ");
    if (is_entry || is_timer)
        put_text(p, is_entry ? decision_field(v, "id") : timer);
    else
        put_span(p, decision_field(v, "window"));
    buf_append_text(p->out, p->show->is_coloured ? "\033[0m\n" : "\n");
    put_field(p, "partition", (struct slice){v->keys->tag.data, v->keys->tag.len});
    if (is_timer)
        put_moment_field(p, "due", decision_field(v, "id"));
    put_moment_field(p, "recorded", decision_field(v, "at"));
    put_field(p, "attempts", decision_field(v, "attempts"));
    put_event(p, v);
}

/* Why an entry reached no rule at all. */
static void put_fault(struct page *p, const struct decision_view *v)
{
    struct slice reason = decision_field(v, "reason");
    if (reason.len == 0)
        return;
    buf_append_text(p->out, "\nNo rule was given it: ");
    put_text(p, reason);
    buf_append_text(p->out, " (a dead letter)\n");
    put_block(p, "message", decision_field(v, "message"));
}

/* What is not on the page. */
static void put_rest(struct page *p, const struct decision_view *v, uint32_t shown)
{
    struct slice left_out = decision_field(v, "left_out");
    if (left_out.len > 0)
        buf_printf(p->out, "\n%.*s more rules read it: too many for one record.\n",
                   (int)left_out.len, left_out.bytes);
    bool is_all = p->show->rule == NULL && p->show->key == NULL;
    struct slice stream = decision_field(v, "stream");
    if (!is_all || stream.len == 0 || decision_field(v, "reason").len > 0 ||
        decision_field(v, "attempts").len > 0 || left_out.len > 0)
        return;
    buf_append_text(p->out, shown > 0 ? "\nOther rules, if there were any, did not read "
                                      : "\nNo rule read ");
    put_text(p, stream);
    buf_append_text(p->out, " then.\n");
}

void decision_view_append_text(const struct decision_view *v, const struct decision_show *show,
                               struct buf *out)
{
    struct page p = {.show = show, .out = out};
    struct slice items = {0}, decision;
    uint32_t count = 0, shown = 0;
    put_subject(&p, v);
    put_fault(&p, v);
    slice_open_array(v->rules, &items, &count);
    for (; count > 0 && slice_next(&items, &decision); count--) {
        if (!decision_is_wanted(decision, show->rule, show->key))
            continue;
        put_decision(&p, decision);
        shown++;
    }
    put_rest(&p, v, shown);
}
