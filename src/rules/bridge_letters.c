/* bridge_letters.c: what a dead letter says of an entry, or of a timer or window that fired; and
 * effects that Redis refused, which become letters. */
#include "rules/bridge_inside.h"
#include "rules/kernel_calls.h"

#include "base/clock.h"

#include <stdio.h>

/* ── letters ─────────────────────────────────────────────────────────────────────────────────── */

/* What fired instead of an entry. Its key and payload, unless the letter has others. */
static void describe_fired(const struct fired *f, struct letter *letter,
                           struct bridge_described *texts)
{
    snprintf(texts->id, sizeof texts->id, "%.0f", f->entry.ms);
    letter->stream = "";
    if (letter->key_len == 0) {
        letter->key = f->key != NULL ? f->key : "";
        letter->key_len = f->key_len;
    }
    if (letter->payload_len == 0 && f->payload != NULL) {
        letter->payload = f->payload;
        letter->payload_len = f->payload_len;
    }
    const char *name = f->name != NULL ? f->name : "";
    if (f->kind != TIMER_WINDOW) {
        letter->timer = name;
        letter->timer_len = f->name_len;
    } else if (f->start_ms == 0 && f->stop_ms == 0) {
        letter->window = name;
        letter->window_len = f->name_len;
    } else {
        snprintf(texts->window, sizeof texts->window, "%.0f-%.0f", f->start_ms, f->stop_ms);
        letter->window = texts->window;
        letter->window_len = strlen(texts->window);
    }
}

void bridge_describe(const struct bridge *b, const struct rulebook *book,
                     const struct batch_entry *entry, uint32_t rule, struct letter *letter,
                     struct bridge_described *texts)
{
    letter->fields = entry->fields;
    letter->id = texts->id;
    if (entry->stream == 0) {
        describe_fired((const struct fired *)entry, letter, texts);
    } else {
        snprintf(texts->id, sizeof texts->id, "%.0f-%llu", entry->ms,
                 (unsigned long long)entry->seq);
        letter->size = entry->size > b->options.event_bytes ? entry->size : 0;
        letter->stream = rulebook_stream_name(book, entry->stream);
    }
    letter->rule = rulebook_rule_name(book, rule);
    letter->version = rulebook_rule_version(book, rule);
    letter->traceback = letter->traceback != NULL ? letter->traceback : "";
    letter->at_ms = clock_wall_ms();
    letter->attempts = entry->attempts + 1u;
}

void bridge_letter(struct bridge *b, uint32_t i, const char *rule, const char *version,
                   const char *reason, const char *message, const char *traceback, const char *key,
                   size_t key_len, const char *payload, size_t payload_len)
{
    struct bridge_described texts;
    struct letter letter = {.reason = reason,
                            .message = message,
                            .traceback = traceback,
                            .key = key,
                            .key_len = key_len,
                            .payload = payload,
                            .payload_len = payload_len};
    bridge_describe(b, b->book, bridge_entry(b, i), 0, &letter, &texts);
    letter.rule = rule;
    letter.version = version;
    letter_append(&b->view.letters, b->dlq_key, b->options.dlq_maxlen, &letter);
    if (b->view.letter_count == b->letter_cap) {
        b->letter_cap = b->letter_cap > 0 ? b->letter_cap * 2 : 64;
        b->letters_of = must(realloc(b->letters_of, b->letter_cap * sizeof *b->letters_of));
    }
    b->letters_of[b->view.letter_count++] =
        (struct letter_of){.entry = i, .rule = rulebook_rule_number(b->book, rule, strlen(rule))};
}

uint32_t bridge_letter_entry(const struct bridge *b, uint32_t n, uint32_t *rule)
{
    assert(n < b->view.letter_count);
    *rule = b->letters_of[n].rule;
    return b->letters_of[n].entry;
}

/* ── refusals ────────────────────────────────────────────────────────────────────────────────── */

static void set_has_refusals(struct bridge *b)
{
    lua_State *L = vm_lua(b->vm);
    rulebook_push(b->book, "refuse");
    lua_pushinteger(L, b->id);
    lua_pushboolean(L, b->refusal_count > 0);
    (void)vm_call(b->vm, 2, 0, NULL);
}

void bridge_refuse(struct bridge *b, const struct batch_entry *entry, const struct effect *effect,
                   const char *command, const char *message)
{
    b->refusals = must(realloc(b->refusals, (b->refusal_count + 1) * sizeof *b->refusals));
    struct refusal *r = &b->refusals[b->refusal_count++];
    *r = (struct refusal){
        .ms = entry->ms,
        .seq = entry->seq,
        .stream = entry->stream,
        .rule = effect->rule,
        .ordinal = effect->ordinal,
        .message = must(strdup(message)),
        .command = must(malloc(effect->len)),
        .command_len = effect->len,
    };
    memcpy(r->command, command, effect->len);
    set_has_refusals(b);
}

void bridge_forget_refusals(struct bridge *b)
{
    if (b->refusal_count == 0)
        return;
    for (size_t i = 0; i < b->refusal_count; i++) {
        free(b->refusals[i].message);
        free(b->refusals[i].command);
    }
    free(b->refusals);
    b->refusals = NULL;
    b->refusal_count = 0;
    if (b->id > 0)
        set_has_refusals(b);
}

/* An effect that was refused before becomes a letter instead. */
bool bridge_is_refused(struct bridge *b, uint32_t i, uint32_t rule, uint32_t ordinal)
{
    const struct batch_entry *entry = bridge_entry(b, i);
    for (size_t k = 0; k < b->refusal_count; k++) {
        const struct refusal *r = &b->refusals[k];
        if (r->ms != entry->ms || r->seq != entry->seq || r->stream != entry->stream ||
            r->rule != rule || r->ordinal != ordinal)
            continue;
        bridge_letter(b, i, rulebook_rule_name(b->book, rule), rulebook_rule_version(b->book, rule),
                      "refused", r->message, "", "", 0, r->command, r->command_len);
        return true;
    }
    return false;
}
