/* sweep.c: see sweep.h. */
#include "worker/sweep.h"

#include "redis/command.h"
#include "rules/state.h"

#include <stdio.h>
#include <string.h>

#define SWEEP_COUNT "2000" /* states looked at a second: 7 million an hour */

void sweep_init(struct sweep *s)
{
    *s = (struct sweep){.rule = 1, .cursor = "0"};
}

void sweep_fini(struct sweep *s)
{
    buf_fini(&s->commands);
}

void sweep_rest(struct sweep *s)
{
    s->is_wanted = s->is_looking = false;
    s->commands.len = s->count = 0;
}

void sweep_begin_anew(struct sweep *s)
{
    s->is_wanted = false;
    s->rule = 1;
    snprintf(s->cursor, sizeof s->cursor, "0");
}

static void next_rule(struct sweep *s, const struct rulebook *book)
{
    s->rule = s->rule % (uint32_t)rulebook_count(book) + 1;
}

void sweep_tick(struct sweep *s, const struct rulebook *book)
{
    if (rulebook_has_ttl(book, s->rule))
        s->is_wanted = true;
    else
        next_rule(s, book);
}

void sweep_begin(struct sweep *s, const struct rulebook *book, const struct keys *keys,
                 struct buf *out)
{
    struct buf key = {0};
    s->is_wanted = false;
    s->is_looking = true;
    keys_state(keys, rulebook_rule_name(book, s->rule), &key);
    command_append(out, "HSCAN", key.data, s->cursor, "COUNT", SWEEP_COUNT, NULL);
    buf_fini(&key);
}

/* Takes the expired ones of a row of fields into a command. */
static void collect_expired(struct sweep *s, const struct rulebook *book, const struct keys *keys,
                            const struct reply *rows, double now_ms)
{
    double expiry;
    uint32_t version, head, expired = 0;
    struct buf fields = {0}, name = {0};
    for (uint32_t i = 0; i + 1 < rows->count; i += 2) {
        const struct reply *key = rows->elements[i], *value = rows->elements[i + 1];
        if (!state_head(value->text, value->len, &expiry, &version, &head) || expiry == 0 ||
            expiry > now_ms)
            continue;
        command_argument(&fields, key->text, key->len);
        expired++;
    }
    if (expired > 0) {
        keys_state(keys, rulebook_rule_name(book, s->rule), &name);
        command_begin(&s->commands, 2 + expired);
        command_argument_text(&s->commands, "HDEL");
        command_argument(&s->commands, name.data, name.len);
        buf_append(&s->commands, fields.data, fields.len);
        s->count = 1;
    }
    buf_fini(&fields);
    buf_fini(&name);
}

bool sweep_take(struct sweep *s, const struct rulebook *book, const struct keys *keys,
                const struct reply *reply, double now_ms)
{
    s->is_looking = false;
    if (reply->type != REPLY_ARRAY || reply->count != 2 || reply->elements[1]->type != REPLY_ARRAY)
        return false;
    snprintf(s->cursor, sizeof s->cursor, "%s", reply->elements[0]->text);
    collect_expired(s, book, keys, reply->elements[1], now_ms);
    if (strcmp(s->cursor, "0") == 0)
        next_rule(s, book);
    return s->count > 0;
}
