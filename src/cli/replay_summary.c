/* replay_summary.c: a replay in figures: rules, what they did and how much, what was asked and what
 * was missing. */
#include "base/escape.h"
#include "base/terminal.h"
#include "cli/replay.h"
#include "cli/table.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

/* Of rule `number`; 0: of no rule. */
static uint64_t count_of(const struct tally *tally, size_t number, bool is_letters)
{
    uint64_t count = 0;
    const struct tally_rule *rule = &tally->rules[number];
    for (size_t i = 0; i < rule->output_count; i++)
        if ((rule->outputs[i].kind == TALLY_LETTER) == is_letters)
            count += rule->outputs[i].count;
    return count;
}

static const char *name_of(const struct run *run, size_t number)
{
    return number == 0 ? "" : rulebook_rule_name(run->book, (uint32_t)number);
}

/* ── for people ──────────────────────────────────────────────────────────────────────────────── */

static void add_number(struct table *t, double number)
{
    struct buf text = {0};
    replay_number(&text, number);
    table_add(t, text.data, text.len);
    buf_fini(&text);
}

static void print(struct table *t, struct buf *out)
{
    table_print(t, out, 0, terminal_has_colour(STDOUT_FILENO));
    table_fini(t);
}

static void add_heading(struct table *t, const char *const *names)
{
    for (t->columns = 0; names[t->columns] != NULL;)
        t->columns++;
    for (size_t i = 0; i < t->columns; i++)
        table_add_text(t, names[i]);
}

static void print_rules(struct run *run, const struct tally *tally, struct buf *out)
{
    static const char *const heading[] = {"RULE", "VERSION", "EVENTS",  "FAILED", "SKIPPED",
                                          "LATE", "EFFECTS", "LETTERS", NULL};
    struct table t = {0};
    add_heading(&t, heading);
    for (size_t i = 0; i < rulebook_count(run->book); i++) {
        struct rule_info rule;
        rulebook_rule(run->book, i, &rule);
        table_add_text(&t, rule.name);
        table_add_text(&t, rule.version);
        replay_table_count(&t, rule.events);
        replay_table_count(&t, rule.failed);
        replay_table_count(&t, rule.skipped);
        replay_table_count(&t, rule.late);
        replay_table_count(&t, count_of(tally, i + 1, false));
        replay_table_count(&t, count_of(tally, i + 1, true));
    }
    print(&t, out);
}

/* The first row of an output says what it is, the others only their field. */
static void add_output(struct table *t, const char *rule, const struct tally_output *o)
{
    size_t rows = o->field_count > 0 ? o->field_count : 1;
    for (size_t i = 0; i < rows; i++) {
        table_add_text(t, i == 0 ? rule[0] != '\0' ? rule : "-" : " ");
        table_add_text(t, i == 0 ? replay_kind_name(o->kind) : " ");
        if (i == 0)
            table_add(t, o->name, o->name_len);
        else
            table_add_text(t, " ");
        if (i == 0)
            replay_table_count(t, o->count);
        else
            table_add_text(t, " ");
        if (o->field_count == 0) {
            for (int column = 0; column < 5; column++)
                table_add_text(t, " ");
            continue;
        }
        const struct tally_field *field = &o->fields[i];
        table_add(t, field->name, field->name_len);
        if (field->figures.count == 0) {
            for (int column = 0; column < 4; column++)
                table_add_text(t, "-");
            continue;
        }
        add_number(t, field->figures.sum);
        add_number(t, figures_mean(&field->figures));
        add_number(t, field->figures.least);
        add_number(t, field->figures.most);
    }
}

static void print_outputs(const struct run *run, const struct tally *tally, struct buf *out)
{
    static const char *const heading[] = {"RULE", "WHAT", "NAME", "COUNT", "FIELD",
                                          "SUM",  "MEAN", "MIN",  "MAX",   NULL};
    struct table t = {0};
    add_heading(&t, heading);
    for (size_t i = 0; i <= tally->rule_count; i++)
        for (size_t k = 0; k < tally->rules[i].output_count; k++)
            add_output(&t, name_of(run, i), &tally->rules[i].outputs[k]);
    if (t.cells == t.columns) {
        table_fini(&t);
        return;
    }
    buf_append_text(out, "\n");
    print(&t, out);
}

static void print_lookups(const struct run *run, struct buf *out)
{
    const struct lookups *l = &run->lookups;
    if (l->total == 0)
        return;
    buf_append_text(out, "\nlookups asked today's Redis, not that of then: ");
    for (size_t i = 0; i < l->count_used; i++) {
        buf_append_text(out, i > 0 ? ", " : "");
        replay_count(out, l->counts[i].count);
        buf_printf(out, " %s", l->counts[i].name);
    }
    buf_append_text(out, "\n");
}

static void print_text(struct run *run, const struct tally *tally, double seconds, struct buf *out)
{
    uint64_t events = run->shared->events;
    print_rules(run, tally, out);
    print_outputs(run, tally, out);
    print_lookups(run, out);
    if (run->plan->says.len > 0) {
        buf_append_text(out, "\n");
        buf_append(out, run->plan->says.data, run->plan->says.len);
    }
    buf_append_text(out, "\n");
    replay_count(out, events);
    buf_append_text(out, events == 1 ? " event and " : " events and ");
    replay_count(out, run->shared->fired);
    buf_printf(out, " timers and windows in %.2f s (", seconds);
    replay_count(out, seconds > 0 ? (uint64_t)((double)events / seconds) : 0);
    buf_append_text(out, " events a second)\n");
}

/* ── for programs ────────────────────────────────────────────────────────────────────────────── */

static void write_field(struct buf *out, const struct tally_field *field)
{
    const struct figures *f = &field->figures;
    buf_append_text(out, "{\"name\":");
    escape_json(out, field->name, field->name_len);
    buf_printf(out, ",\"numbers\":%" PRIu64 ",\"others\":%" PRIu64, f->count, field->others);
    replay_json_figures(out, f);
    buf_append_text(out, "}");
}

static void write_outputs(struct buf *out, const struct tally_rule *rule)
{
    buf_append_text(out, "\"outputs\":[");
    for (size_t i = 0; i < rule->output_count; i++) {
        const struct tally_output *o = &rule->outputs[i];
        buf_printf(out, "%s{\"what\":\"%s\",\"name\":", i > 0 ? "," : "",
                   replay_kind_name(o->kind));
        escape_json(out, o->name, o->name_len);
        buf_printf(out, ",\"count\":%" PRIu64 ",\"fields\":[", o->count);
        for (size_t k = 0; k < o->field_count; k++) {
            buf_append_text(out, k > 0 ? "," : "");
            write_field(out, &o->fields[k]);
        }
        buf_append_text(out, "]}");
    }
    buf_append_text(out, "]");
}

static void write_rule(struct run *run, const struct tally *tally, size_t number, struct buf *out)
{
    struct rule_info rule = {.name = "", .version = ""};
    if (number > 0)
        rulebook_rule(run->book, number - 1, &rule);
    buf_append_text(out, "{\"rule\":");
    escape_json(out, rule.name, strlen(rule.name));
    buf_append_text(out, ",\"version\":");
    escape_json(out, rule.version, strlen(rule.version));
    buf_printf(out,
               ",\"events\":%" PRIu64 ",\"failed\":%" PRIu64 ",\"skipped\":%" PRIu64
               ",\"late\":%" PRIu64 ",\"effects\":%" PRIu64 ",\"letters\":%" PRIu64 ",",
               rule.events, rule.failed, rule.skipped, rule.late, count_of(tally, number, false),
               count_of(tally, number, true));
    write_outputs(out, &tally->rules[number]);
    buf_append_text(out, "}");
}

static void write_json(struct run *run, const struct tally *tally, double seconds, struct buf *out)
{
    bool has_some = false;
    buf_printf(out, "{\"events\":%" PRIu64 ",\"fired\":%" PRIu64 ",\"seconds\":%.3f,\"rules\":[",
               run->shared->events, run->shared->fired, seconds);
    for (size_t i = 0; i <= tally->rule_count; i++) {
        if (i == 0 && tally->rules[0].output_count == 0)
            continue; /* what is of no rule */
        buf_append_text(out, has_some ? "," : "");
        write_rule(run, tally, i, out);
        has_some = true;
    }
    buf_append_text(out, "],\"lookups\":{");
    for (size_t i = 0; i < run->lookups.count_used; i++) {
        const struct lookup_count *c = &run->lookups.counts[i];
        buf_append_text(out, i > 0 ? "," : "");
        escape_json(out, c->name, strlen(c->name));
        buf_printf(out, ":%" PRIu64, c->count);
    }
    buf_append_text(out, "},\"says\":");
    replay_json_lines(out, &run->plan->says);
    buf_append_text(out, "}\n");
}

void replay_summary(struct run *run, const struct tally *tally, double seconds, bool is_json,
                    struct buf *out)
{
    if (is_json)
        write_json(run, tally, seconds, out);
    else
        print_text(run, tally, seconds, out);
}
