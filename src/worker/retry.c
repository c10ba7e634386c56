/* retry.c: see retry.h. */
#include "worker/retry.h"

#include "base/clock.h"
#include "codec/msgpack.h"
#include "redis/command.h"
#include "rules/timers.h"

#include <stdio.h>
#include <stdlib.h>

static const struct reply *field(const struct retry *r, const char *name)
{
    static const struct reply empty = {.type = REPLY_STRING, .text = ""};
    const struct reply *value = reply_field(r->letter, name);
    return value != NULL && value->type == REPLY_STRING ? value : &empty;
}

/* How often it failed, as far as that is plausible: anybody may write to the inbox. */
static uint16_t attempts_before(const struct retry *r)
{
    long long attempts = reply_number(field(r, "attempts"), 1);
    return attempts < 1 ? 1 : attempts > 60000 ? 60000 : (uint16_t)attempts;
}

/* The raw entry: a msgpack array of field, value, … as replies. NULL when it is none. */
static const struct reply *unpack_event(struct retry *r, uint32_t *size)
{
    static const struct msgpack_limits limits = {.depth = 1, .elements = 1 << 20};
    const struct reply *packed = field(r, "event");
    struct tokens tokens = {0};
    struct reply *fields = NULL;
    if (packed->len == 0 ||
        msgpack_tokens(packed->text, packed->len, &limits, &tokens, NULL) != 0 ||
        tokens.list[0].type != TOKEN_ARRAY || tokens.list[0].len % 2 != 0)
        goto out;
    uint32_t count = tokens.list[0].len;
    fields = arena_alloc(&r->arena, sizeof *fields);
    *fields = (struct reply){.type = REPLY_ARRAY, .count = count};
    fields->elements = arena_alloc(&r->arena, (count + 1) * sizeof *fields->elements);
    *size = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct token *t = &tokens.list[i + 1];
        struct reply *text = arena_alloc(&r->arena, sizeof *text);
        *text = (struct reply){
            .type = REPLY_STRING, .len = t->type == TOKEN_STRING ? t->len : 0, .text = ""};
        if (text->len > 0)
            text->text = t->bytes;
        *size += (uint32_t)text->len;
        fields->elements[i] = text;
    }
out:
    tokens_fini(&tokens);
    return fields;
}

/* What names a letter that is of no entry: `timer` or `window`; NULL: it is of an entry. */
static const char *fired_field(const struct retry *r)
{
    return field(r, "timer")->len > 0 ? "timer" : field(r, "window")->len > 0 ? "window" : NULL;
}

static void give_up(struct retry *r, const char *why)
{
    snprintf(r->hopeless, sizeof r->hopeless, "%s", why);
}

static void init_fired(struct retry *r, const char *kind, uint32_t rule)
{
    const struct reply *name = field(r, kind), *key = field(r, "key"), *id = field(r, "id"),
                       *payload = field(r, "payload");
    long long due_ms = reply_number(id, -1);
    if (rule == 0 || due_ms < 0 || due_ms > 1LL << 53) {
        give_up(r, rule == 0 ? "cannot be tried again: it does not say of which rule it is"
                             : "cannot be tried again: its due time was not kept");
        return;
    }
    r->is_fired = true;
    r->fired = (struct fired){
        .entry = {.ms = (double)due_ms, .only = (uint16_t)rule, .attempts = attempts_before(r)},
        .key = key->text,
        .name = name->text,
        .payload = payload->len > 0 ? payload->text : NULL,
        .key_len = (uint32_t)key->len,
        .name_len = (uint32_t)name->len,
        .payload_len = (uint32_t)payload->len,
        .kind = kind[0] == 't' ? TIMER_WALL : TIMER_WINDOW};
}

static void init_event(struct retry *r, struct rulebook *book, uint32_t rule)
{
    const struct reply *stream = field(r, "stream"), *id = field(r, "id");
    const struct reply *fields = unpack_event(r, &r->entry.size);
    struct stream_id at = {0};
    if (fields == NULL || stream->len == 0 || !stream_id_parse(id->text, id->len, &at)) {
        give_up(r, "cannot be tried again: the raw event was not kept");
        return;
    }
    r->is_event = true;
    r->entry.ms = (double)at.ms;
    r->entry.seq = at.seq;
    r->entry.fields = fields;
    r->entry.stream = rulebook_stream(book, stream->text, stream->len);
    r->entry.only = (uint16_t)rule;
    r->entry.attempts = attempts_before(r);
}

void retry_init(struct retry *r, struct rulebook *book, const struct batch_entry *inbox_entry,
                const char *refusal)
{
    *r = (struct retry){.letter = inbox_entry->fields};
    const struct reply *rule = field(r, "rule");
    if (refusal != NULL) {
        give_up(r, refusal);
        return;
    }
    if (reply_is_text(field(r, "reason"), "refused")) {
        r->is_command = field(r, "payload")->len > 0;
        r->command = *field(r, "payload");
        if (!r->is_command)
            give_up(r, "the refused command was not kept");
        return;
    }
    uint32_t number = rulebook_rule_number(book, rule->text, rule->len);
    if (rule->len > 0 && number == 0)
        snprintf(r->hopeless, sizeof r->hopeless,
                 "cannot be tried again: no rule named '%.64s' is loaded", rule->text);
    else if (fired_field(r) != NULL)
        init_fired(r, fired_field(r), number);
    else
        init_event(r, book, number);
}

void retry_fini(struct retry *r)
{
    arena_fini(&r->arena);
    *r = (struct retry){0};
}

void retry_describe(const struct retry *r, struct letter *letter)
{
    letter->stream = field(r, "stream")->text;
    letter->id = field(r, "id")->text;
    letter->rule = field(r, "rule")->text;
    letter->version = field(r, "version")->text;
    letter->traceback = "";
    letter->key = field(r, "key")->text;
    letter->key_len = field(r, "key")->len;
    letter->payload = field(r, "payload")->text;
    letter->payload_len = field(r, "payload")->len;
    const char *kind = fired_field(r);
    if (kind != NULL && kind[0] == 't') {
        letter->timer = field(r, kind)->text;
        letter->timer_len = field(r, kind)->len;
    } else if (kind != NULL) {
        letter->window = field(r, kind)->text;
        letter->window_len = field(r, kind)->len;
    }
    letter->at_ms = clock_wall_ms();
    letter->attempts = attempts_before(r) + 1u;
}

void retry_add_removal(const struct retry *r, struct commit *commit, const struct keys *keys,
                       int64_t dlq_maxlen, struct stream_id inbox_id)
{
    char id[STREAM_ID_TEXT];
    stream_id_format(inbox_id, id);
    command_append(commit_add_command(commit, "XDEL :inbox"), "XDEL", keys->inbox.data, id, NULL);
    if (r->is_event || r->is_fired || r->is_command)
        return;
    struct letter letter = {.reason = field(r, "reason")->text, .message = r->hopeless};
    retry_describe(r, &letter);
    struct retry kept = {.letter = r->letter};
    uint32_t size;
    letter.fields = unpack_event(&kept, &size);
    letter_append(commit_add_command(commit, "XADD :dlq"), keys->dlq.data, dlq_maxlen, &letter);
    retry_fini(&kept);
}
