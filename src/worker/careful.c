/* careful.c: see careful.h. */
#include "worker/careful.h"

#include <stdio.h>
#include <string.h>

void careful_begin(struct careful *c, const char *note, enum careful_before before, uint32_t most)
{
    snprintf(c->noted, sizeof c->noted, "%s", note);
    c->sent[0] = '\0';
    c->place = 0; /* what was rehearsed is forgotten: states may be others now */
    if (before == CAREFUL_MYSELF)
        return;
    c->has_found = trail_parse(note, &c->found);
    c->left = before == CAREFUL_DEAD || c->has_found ? most : 0;
    if (before == CAREFUL_DEAD && c->has_found)
        trail_count_death(&c->found);
}

void careful_forget(struct careful *c)
{
    c->has_found = false;
    c->place = 0;
}

bool careful_is_on(const struct careful *c)
{
    return c->left > 0;
}

bool careful_has_found(const struct careful *c, const struct trail *entry)
{
    return c->has_found && trail_is_same_entry(&c->found, entry);
}

void careful_plan(const struct careful *c, const struct trail *entry,
                  const struct careful_rule *rules, uint32_t count, struct careful_plan *plan)
{
    struct trail now = *entry;
    plan->most_rules = count;
    plan->is_rehearsal = false;
    if (careful_has_found(c, entry)) {
        uint32_t at = c->place, more;
        while (at < count && trail_blames(&c->found, rules[at].name, rules[at].version))
            at++;
        for (more = at + 1; more < count; more++)
            if (!trail_blames(&c->found, rules[more].name, rules[more].version))
                break;
        now = at < count ? trail_at_rule(&c->found, rules[at].name, rules[at].version)
                         : trail_at_rest(&c->found);
        if (more < count) {
            plan->most_rules = at + 1;
            plan->is_rehearsal = true;
        }
    }
    trail_format(&now, plan->note);
    plan->may_run = strcmp(plan->note, c->noted) == 0;
}

void careful_survived(struct careful *c, uint32_t rules)
{
    c->place = rules;
}

void careful_rest_note(const struct careful *c, char note[TRAIL_NOTE])
{
    /* Rules that are blamed already stay so, also when the entry has to wait. */
    if (c->has_found && c->found.blamed[0] != '\0') {
        struct trail rest = trail_at_rest(&c->found);
        trail_format(&rest, note);
        return;
    }
    snprintf(note, TRAIL_NOTE, "%s", TRAIL_NONE);
}

void careful_sent(struct careful *c, const char *note)
{
    snprintf(c->sent, sizeof c->sent, "%s", note);
}

void careful_landed(struct careful *c, const struct trail *entry)
{
    if (c->sent[0] != '\0')
        memcpy(c->noted, c->sent, sizeof c->noted);
    c->sent[0] = '\0';
    if (entry == NULL)
        return;
    if (careful_has_found(c, entry))
        careful_forget(c);
    if (c->left > 0)
        c->left--;
}
