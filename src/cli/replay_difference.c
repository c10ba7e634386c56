/* replay_difference.c: where two versions of the rules decided differently, for people and
 * programs. */
#include "base/escape.h"
#include "base/terminal.h"
#include "cli/replay.h"
#include "cli/table.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

/* ── for people ──────────────────────────────────────────────────────────────────────────────── */

/* "1a2b3c4d", "1a2b3c4d was 5e6f7a8b", "1a2b3c4d only here". */
static void add_version(struct table *t, const struct difference_rule *rule)
{
    const char *old = rule->version[SIDE_OLD], *new = rule->version[SIDE_NEW];
    char text[128] = "-";
    if (old != NULL && new != NULL && strcmp(old, new) == 0)
        snprintf(text, sizeof text, "%.40s", new);
    else if (old != NULL && new != NULL)
        snprintf(text, sizeof text, "%.40s, was %.40s", new, old);
    else if (old != NULL || new != NULL)
        snprintf(text, sizeof text, "%.40s, only in %s", new != NULL ? new : old,
                 new != NULL ? "--rules" : "--against");
    table_add_text(t, text);
}

static void print_rules(const struct difference *d, struct buf *out)
{
    static const char *const heading[] = {"RULE",    "VERSION",  "SAME",
                                          "CHANGED", "ONLY NEW", "ONLY OLD"};
    struct table t = {.columns = sizeof heading / sizeof heading[0]};
    for (size_t i = 0; i < t.columns; i++)
        table_add_text(&t, heading[i]);
    for (size_t i = 0; i < d->rule_count; i++) {
        const struct difference_rule *rule = &d->rules[i];
        table_add_text(&t, rule->name);
        add_version(&t, rule);
        replay_table_count(&t, rule->same);
        replay_table_count(&t, rule->changed);
        replay_table_count(&t, rule->only[SIDE_NEW]);
        replay_table_count(&t, rule->only[SIDE_OLD]);
    }
    table_print(&t, out, 0, terminal_has_colour(STDOUT_FILENO));
    table_fini(&t);
}

/* One line a sample, below what it is a sample of. */
static void print_samples(const struct samples *samples, const char *mark, struct buf *out)
{
    for (size_t i = 0; i < samples->count; i++) {
        const struct difference_sample *s = &samples->list[i];
        const char *old = s->value[SIDE_OLD], *new = s->value[SIDE_NEW];
        buf_printf(out, "    %s  %s  ", s->key[0] != '\0' ? s->key : "-", s->place);
        if (mark != NULL)
            buf_printf(out, "%s %s\n", mark, new != NULL ? new : old);
        else
            buf_printf(out, "%s -> %s\n", old != NULL ? old : "(none)",
                       new != NULL ? new : "(none)");
    }
}

static void print_field(const struct difference_field *field, struct buf *out)
{
    const struct figures *f = &field->figures;
    buf_append_text(out, "  ");
    escape_text(out, field->name, field->name_len);
    buf_append_text(out, ": ");
    replay_count(out, field->changed);
    buf_append_text(out, " changed");
    if (f->count > 0) {
        buf_append_text(out, ", by ");
        replay_signed(out, figures_mean(f));
        buf_append_text(out, " in the mean, ");
        replay_signed(out, f->least);
        buf_append_text(out, " to ");
        replay_signed(out, f->most);
        buf_append_text(out, ", ");
        replay_signed(out, f->sum);
        buf_append_text(out, " in all");
    }
    if (f->count > 0 && f->count < field->changed) {
        buf_append_text(out, "; ");
        replay_count(out, field->changed - f->count);
        buf_append_text(out, " no numbers");
    }
    buf_append_text(out, "\n");
    print_samples(&field->samples, NULL, out);
}

static void print_only(const struct difference_output *o, enum difference_side side,
                       struct buf *out)
{
    if (o->only[side] == 0)
        return;
    buf_append_text(out, "  ");
    replay_count(out, o->only[side]);
    buf_append_text(out, side == SIDE_NEW ? " only new\n" : " only old\n");
    print_samples(&o->samples[side], side == SIDE_NEW ? "+" : "-", out);
}

static void print_output(const struct difference_rule *rule, const struct difference_output *o,
                         bool is_coloured, struct buf *out)
{
    buf_append_text(out, is_coloured ? "\n\033[1m" : "\n");
    buf_printf(out, "%s: %s ", rule->name[0] != '\0' ? rule->name : "-", replay_kind_name(o->kind));
    escape_text(out, o->name, o->name_len);
    buf_append_text(out, is_coloured ? "\033[0m\n" : "\n");
    for (size_t i = 0; i < o->field_count; i++)
        print_field(&o->fields[i], out);
    print_only(o, SIDE_NEW, out);
    print_only(o, SIDE_OLD, out);
}

static void print_tail(const struct replay_compared *c, struct buf *out)
{
    buf_append_text(out, "\n");
    if (c->lookups > 0) {
        replay_count(out, c->lookups);
        buf_append_text(out, " lookups of both asked today's Redis, not that of then\n");
    }
    buf_append(out, c->says->data, c->says->len);
    replay_count(out, c->events);
    buf_printf(out, " events in %.2f s: ", c->seconds);
    if (difference_is_none(c->difference))
        buf_append_text(out, "no decision differs\n");
    else
        buf_printf(out, "%s (new) and %s (old) differ\n", c->dirs[SIDE_NEW], c->dirs[SIDE_OLD]);
}

static void print_text(const struct replay_compared *c, struct buf *out)
{
    const struct difference *d = c->difference;
    bool is_coloured = terminal_has_colour(STDOUT_FILENO);
    print_rules(d, out);
    for (size_t i = 0; i < d->rule_count; i++) {
        const struct difference_rule *rule = &d->rules[i];
        for (size_t k = 0; k < rule->output_count; k++)
            print_output(rule, &rule->outputs[k], is_coloured, out);
        if (rule->reordered > 0) {
            buf_printf(out, "\n%s: ", rule->name);
            replay_count(out, rule->reordered);
            buf_append_text(out, " of the changed want the same in another order\n");
        }
    }
    print_tail(c, out);
}

/* ── for programs ────────────────────────────────────────────────────────────────────────────── */

static void write_text(struct buf *out, const char *name, const char *text)
{
    buf_printf(out, ",\"%s\":", name);
    if (text == NULL)
        buf_append_text(out, "null");
    else
        escape_json(out, text, strlen(text));
}

static void write_samples(struct buf *out, const char *name, const struct samples *samples)
{
    buf_printf(out, ",\"%s\":[", name);
    for (size_t i = 0; i < samples->count; i++) {
        const struct difference_sample *s = &samples->list[i];
        buf_append_text(out, i > 0 ? ",{\"key\":" : "{\"key\":");
        escape_json(out, s->key, strlen(s->key));
        write_text(out, "at", s->place);
        write_text(out, "old", s->value[SIDE_OLD]);
        write_text(out, "new", s->value[SIDE_NEW]);
        buf_append_text(out, "}");
    }
    buf_append_text(out, "]");
}

static void write_field(struct buf *out, const struct difference_field *field)
{
    const struct figures *f = &field->figures;
    buf_append_text(out, "{\"name\":");
    escape_json(out, field->name, field->name_len);
    buf_printf(out, ",\"changed\":%" PRIu64 ",\"numbers\":%" PRIu64, field->changed, f->count);
    replay_json_figures(out, f);
    write_samples(out, "samples", &field->samples);
    buf_append_text(out, "}");
}

static void write_output(struct buf *out, const struct difference_output *o)
{
    buf_printf(out, "{\"what\":\"%s\",\"name\":", replay_kind_name(o->kind));
    escape_json(out, o->name, o->name_len);
    buf_printf(out, ",\"only_new\":%" PRIu64 ",\"only_old\":%" PRIu64, o->only[SIDE_NEW],
               o->only[SIDE_OLD]);
    write_samples(out, "samples_new", &o->samples[SIDE_NEW]);
    write_samples(out, "samples_old", &o->samples[SIDE_OLD]);
    buf_append_text(out, ",\"fields\":[");
    for (size_t i = 0; i < o->field_count; i++) {
        buf_append_text(out, i > 0 ? "," : "");
        write_field(out, &o->fields[i]);
    }
    buf_append_text(out, "]}");
}

static void write_rule(struct buf *out, const struct difference_rule *rule)
{
    buf_append_text(out, "{\"rule\":");
    escape_json(out, rule->name, strlen(rule->name));
    write_text(out, "new", rule->version[SIDE_NEW]);
    write_text(out, "old", rule->version[SIDE_OLD]);
    buf_printf(out,
               ",\"same\":%" PRIu64 ",\"changed\":%" PRIu64 ",\"only_new\":%" PRIu64
               ",\"only_old\":%" PRIu64 ",\"reordered\":%" PRIu64 ",\"outputs\":[",
               rule->same, rule->changed, rule->only[SIDE_NEW], rule->only[SIDE_OLD],
               rule->reordered);
    for (size_t i = 0; i < rule->output_count; i++) {
        buf_append_text(out, i > 0 ? "," : "");
        write_output(out, &rule->outputs[i]);
    }
    buf_append_text(out, "]}");
}

static void write_json(const struct replay_compared *c, struct buf *out)
{
    const struct difference *d = c->difference;
    buf_printf(out, "{\"events\":%" PRIu64 ",\"lookups\":%" PRIu64 ",\"seconds\":%.3f,\"same\":%s",
               c->events, c->lookups, c->seconds, difference_is_none(d) ? "true" : "false");
    buf_append_text(out, ",\"rules\":[");
    for (size_t i = 0; i < d->rule_count; i++) {
        buf_append_text(out, i > 0 ? "," : "");
        write_rule(out, &d->rules[i]);
    }
    buf_append_text(out, "],\"says\":");
    replay_json_lines(out, c->says);
    buf_append_text(out, "}\n");
}

void replay_difference(const struct replay_compared *compared, bool is_json, struct buf *out)
{
    if (is_json)
        write_json(compared, out);
    else
        print_text(compared, out);
}
