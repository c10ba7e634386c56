/* owner.c: see owner.h. An acquire is two steps: look (WATCH, GET, HGETALL, XINFO …), and take
 * (MULTI … EXEC). */
#include "stream/owner.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "redis/command.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#define LAYOUT "1"

static void *must(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

static void random_hex(char *text, size_t digits)
{
    unsigned char bytes[32];
    assert(digits <= 2 * sizeof bytes);
    ssize_t got = getrandom(bytes, digits / 2, 0);
    assert(got == (ssize_t)(digits / 2));
    for (size_t i = 0; i < digits / 2; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
}

void owner_make_token(char token[OWNER_TOKEN])
{
    random_hex(token, 32);
}

void owner_init(struct owner *o, const struct owner_options *options)
{
    *o = (struct owner){.options = *options, .verified = -1, .talk = talk_create()};
    if (options->token != NULL)
        snprintf(o->token, sizeof o->token, "%s", options->token);
    else
        owner_make_token(o->token);
    random_hex(o->nonce, OWNER_NONCE);
}

void owner_fini(struct owner *o)
{
    talk_destroy(o->talk);
    for (size_t i = 0; i < o->source_count; i++)
        source_destroy(o->sources[i]);
    free(o->sources);
    free(o->patterns);
    free(o->clocks);
    arena_fini(&o->clock_texts);
    buf_fini(&o->ctl_fields);
    arena_fini(&o->scratch);
    *o = (struct owner){0};
}

static int compare_sources(const void *left, const void *right)
{
    const struct source *a = *(struct source *const *)left, *b = *(struct source *const *)right;
    size_t shared = a->name_len < b->name_len ? a->name_len : b->name_len;
    int order = memcmp(a->name, b->name, shared);
    return order != 0 ? order : (a->name_len > b->name_len) - (a->name_len < b->name_len);
}

struct source *owner_add_source(struct owner *o, const char *name, size_t len, uint32_t number)
{
    struct source *s = source_create(name, len, number);
    o->sources = must(realloc(o->sources, (o->source_count + 1) * sizeof *o->sources));
    o->sources[o->source_count++] = s;
    qsort(o->sources, o->source_count, sizeof *o->sources, compare_sources);
    o->list_version++;
    return s;
}

void owner_drop_unread(struct owner *o)
{
    size_t kept = 0;
    for (size_t i = 0; i < o->source_count; i++) {
        if (o->sources[i]->is_unread)
            source_destroy(o->sources[i]);
        else
            o->sources[kept++] = o->sources[i];
    }
    if (kept != o->source_count)
        o->list_version++;
    o->source_count = kept;
}

struct source *owner_find_source(const struct owner *o, const char *name, size_t len)
{
    for (size_t i = 0; i < o->source_count; i++)
        if (o->sources[i]->name_len == len && memcmp(o->sources[i]->name, name, len) == 0)
            return o->sources[i];
    return NULL;
}

void owner_explain_refusal(const struct owner *o, const struct reply *error, const char *command,
                           struct error *out)
{
    const char *user = o->options.user[0] != '\0' ? o->options.user : "default";
    char word[64];
    size_t len = strcspn(command, " ");
    snprintf(word, sizeof word, "%.*s", (int)len, command);
    for (char *c = word; *c != '\0'; c++)
        *c = *c >= 'A' && *c <= 'Z' ? (char)(*c + 32) : *c;
    const char *key = command[len] != '\0' ? command + len + 1 : "";
    const char *prefix = key[0] == ':' ? o->options.keys->prefix.data : "";
    if (strstr(error->text, "one of the keys") != NULL || strstr(error->text, "access") != NULL)
        error_set(out, ERROR_FATAL_REPLY,
                  "Redis: %s (%s); grant the key with: ACL SETUSER %s ~%s%s (the engine needs ~%s* "
                  "and every stream that its rules "
                  "read or write)",
                  error->text, command, user, prefix, key[0] == ':' ? key + 1 : key,
                  o->options.keys->prefix.data);
    else
        error_set(out, ERROR_FATAL_REPLY,
                  "Redis: %s (%s); grant the command with: ACL SETUSER %s +%s ~%s*", error->text,
                  command, user, word, o->options.keys->prefix.data);
}

/* ── looking
 * ──────────────────────────────────────────────────────────────────────────────────────────────────────────
 */

enum {
    LOOK_WATCH,
    LOOK_LEASE,
    LOOK_CTL,
    LOOK_TIME,
    LOOK_DLQ,
    LOOK_SOURCES
}; /* then two replies a source: XINFO STREAM, XINFO GROUPS */

static void on_look(void *context, const struct reply *const *replies, size_t count);
static void take(struct owner *o, const struct reply *const *look);

static void finish(struct owner *o, int outcome, const struct error *why)
{
    void (*done)(void *, int, const struct error *) = o->done;
    o->done = NULL;
    if (done != NULL)
        done(o->context, outcome, why);
}

void owner_cancel(struct owner *o)
{
    talk_cancel(o->talk);
    o->done = NULL;
}

void owner_acquire(struct owner *o, struct link *link,
                   void (*done)(void *context, int outcome, const struct error *why), void *context)
{
    o->link = link;
    o->done = done;
    o->context = context;
    const struct keys *k = o->options.keys;
    struct buf *out = talk_begin(o->talk, link);
    char what[512];
    if (fault_is("read_before_watch"))
        command_append(out, "PING", NULL);
    else
        command_append(out, "WATCH", k->lease.data, k->ctl.data, NULL);
    snprintf(what, sizeof what, "WATCH %s", k->ctl.data);
    talk_expect(o->talk, what);
    command_append(out, "GET", k->lease.data, NULL);
    snprintf(what, sizeof what, "GET %s", k->lease.data);
    talk_expect(o->talk, what);
    command_append(out, "HGETALL", k->ctl.data, NULL);
    snprintf(what, sizeof what, "HGETALL %s", k->ctl.data);
    talk_expect(o->talk, what);
    command_append(out, "TIME", NULL);
    talk_expect(o->talk, "TIME");
    command_append(out, "XLEN", k->dlq.data, NULL); /* an error when something else stands there */
    snprintf(what, sizeof what, "XLEN %s", k->dlq.data);
    talk_expect(o->talk, what);
    for (size_t i = 0; i < o->source_count; i++) {
        const char *name = o->sources[i]->name;
        command_append(out, "XINFO", "STREAM", name, NULL);
        snprintf(what, sizeof what, "XINFO|STREAM %s", name);
        talk_expect(o->talk, what);
        command_append(out, "XINFO", "GROUPS", name, NULL);
        snprintf(what, sizeof what, "XINFO|GROUPS %s", name);
        talk_expect(o->talk, what);
    }
    talk_send(o->talk, on_look, o);
}

/* What the errors among the replies mean, or OWNER_MINE when there are none that matter. */
static int judge(const struct owner *o, const struct reply *const *replies, size_t count,
                 struct error *why)
{
    for (size_t i = 0; i < count; i++) {
        const struct reply *r = replies[i];
        if (r->type != REPLY_ERROR)
            continue;
        if (reply_means_later(r)) {
            error_set(why, ERROR_REPLY, "%s", r->text);
            return OWNER_LATER;
        }
        if (reply_is_error(r, "NOPERM")) {
            owner_explain_refusal(o, r, talk_what(o->talk, i), why);
            return OWNER_FATAL;
        }
        bool is_about_source = i >= LOOK_SOURCES;
        if (is_about_source &&
            (reply_is_error(r, "WRONGTYPE") || strstr(r->text, "no such key") != NULL))
            continue;
        error_set(why, ERROR_FATAL_REPLY, "Redis refuses %s: %s", talk_what(o->talk, i), r->text);
        return OWNER_FATAL;
    }
    return OWNER_MINE;
}

static void unwatch(struct owner *o)
{
    command_append(link_out(o->link), "UNWATCH", NULL);
    link_expect(o->link, NULL, NULL, NULL, 0);
    link_flush(o->link);
}

static void on_look(void *context, const struct reply *const *replies, size_t count)
{
    struct owner *o = context;
    struct error why = {0};
    int outcome = judge(o, replies, count, &why);
    const struct reply *lease = replies[LOOK_LEASE];
    if (outcome == OWNER_MINE && lease->type == REPLY_STRING && !reply_is_text(lease, o->token))
        outcome = OWNER_TAKEN;
    const struct reply *layout =
        outcome == OWNER_MINE ? reply_field(replies[LOOK_CTL], "layout") : NULL;
    if (layout != NULL && !reply_is_text(layout, LAYOUT)) {
        outcome = OWNER_FATAL;
        error_set(&why, ERROR_FATAL_REPLY,
                  "%s was written by another version of tidemill (layout %s, this one knows " LAYOUT
                  "); run that version, or use another --group",
                  o->options.keys->ctl.data, layout->text);
    }
    if (outcome != OWNER_MINE) {
        unwatch(o);
        finish(o, outcome, &why);
        return;
    }
    take(o, replies);
}

/* ── positions
 * ────────────────────────────────────────────────────────────────────────────────────────────────────────
 */

/* Of XINFO STREAM. exists: the key is a stream. */
struct stream_facts {
    bool exists;
    struct stream_id last;
    int64_t added; /* -1: Redis 6.2 does not tell */
};

/* Of XINFO GROUPS, for our group. */
struct group_facts {
    bool exists;
    struct stream_id delivered;
    int64_t read, pending;
};

static struct stream_facts read_stream(const struct reply *info)
{
    struct stream_facts facts = {.added = -1};
    if (info->type != REPLY_ARRAY)
        return facts;
    facts.exists = true;
    const struct reply *last = reply_field(info, "last-generated-id");
    if (last != NULL && last->type == REPLY_STRING)
        (void)stream_id_parse(last->text, last->len, &facts.last);
    const struct reply *added = reply_field(info, "entries-added");
    if (added != NULL)
        facts.added = reply_number(added, -1);
    return facts;
}

static struct group_facts read_group(const struct reply *groups, const char *name)
{
    struct group_facts facts = {.read = -1};
    for (uint32_t i = 0; groups->type == REPLY_ARRAY && i < groups->count; i++) {
        const struct reply *g = groups->elements[i], *found = reply_field(g, "name");
        if (found == NULL || !reply_is_text(found, name))
            continue;
        const struct reply *id = reply_field(g, "last-delivered-id"),
                           *read = reply_field(g, "entries-read"),
                           *pending = reply_field(g, "pending");
        facts.exists = true;
        if (id != NULL && id->type == REPLY_STRING)
            (void)stream_id_parse(id->text, id->len, &facts.delivered);
        facts.read = read != NULL ? reply_number(read, -1) : -1;
        facts.pending = pending != NULL ? reply_number(pending, 0) : 0;
    }
    return facts;
}

static void place_at(struct source *s, struct stream_id id, const struct stream_facts *facts)
{
    s->committed = id;
    if (id.ms == 0 && id.seq == 0)
        s->read = 0;
    else
        s->read = stream_id_compare(id, facts->last) == 0 ? facts->added : -1;
}

/* --from, for a stream that this group has never read. */
static void place_from(const struct owner *o, struct source *s, const struct stream_facts *facts)
{
    struct stream_id from = facts->last;
    if (strcmp(o->options.from, "start") == 0)
        from = (struct stream_id){0};
    else if (strcmp(o->options.from, "end") != 0)
        (void)stream_id_parse(o->options.from, strlen(o->options.from), &from);
    if (stream_id_compare(from, facts->last) > 0)
        from = facts->last;
    place_at(s, from, facts);
}

static const struct reply *ctl_field(const struct reply *ctl, const char *kind, const char *name)
{
    char field[1024];
    snprintf(field, sizeof field, "%s:%s", kind, name);
    return reply_field(ctl, field);
}

static void place_source(struct owner *o, struct source *s, const struct reply *ctl,
                         const struct stream_facts *facts, const struct group_facts *group,
                         bool is_lost)
{
    const struct reply *offset = ctl_field(ctl, "offset", s->name),
                       *read = ctl_field(ctl, "read", s->name);
    char text[STREAM_ID_TEXT];
    if (offset != NULL && stream_id_parse(offset->text, offset->len, &s->committed)) {
        s->read = read != NULL ? reply_number(read, -1) : -1;
        if (stream_id_compare(s->committed, facts->last) >
            0) { /* also where another type stands: what we read is gone */
            stream_id_format(s->committed, text);
            log_line(
                LOG_WARN, "stream_made_anew",
                "the stream ends before our position: it was made anew and is read from its start",
                "stream", s->name, "position", text, NULL);
            place_at(s, (struct stream_id){0}, facts);
        }
        return;
    }
    if (!group->exists && !is_lost) {
        if (s->is_later || (s->pattern != NULL && ctl_field(ctl, "since", s->pattern) != NULL))
            place_at(s, (struct stream_id){0}, facts);
        else
            place_from(o, s, facts);
        return;
    }
    place_at(s, group->delivered, facts);
    if (s->read < 0 && group->read >= 0)
        s->read = group->read;
    stream_id_format(s->committed, text);
    if (is_lost && (o->has_owned || !group->exists))
        log_line(
            LOG_ERROR, "position_lost",
            "the engine's position was lost (FLUSHALL, eviction, DEL?); going on from the group's",
            "stream", s->name, "position", text, "ctl", o->options.keys->ctl.data, NULL);
    else
        log_line(LOG_WARN, "group_found",
                 "a consumer group of this name exists; going on from its last-delivered ID",
                 "stream", s->name, "group", o->options.group, "position", text, NULL);
    if (group->pending > 0)
        log_line(LOG_WARN, "group_pending",
                 "other consumers of the group have entries pending that were never acknowledged; "
                 "tidemill does not process them: "
                 "let those consumers finish, or read them with XPENDING and XCLAIM",
                 "stream", s->name, "group", o->options.group, "pending",
                 log_number(group->pending), NULL);
}

/* ── taking
 * ───────────────────────────────────────────────────────────────────────────────────────────────────────────
 */

static void add_ctl(struct owner *o, const char *kind, const char *name, const char *value)
{
    char field[1024];
    snprintf(field, sizeof field, "%s%s%s", kind, *name != '\0' ? ":" : "", name);
    command_argument_text(&o->ctl_fields, field);
    command_argument_text(&o->ctl_fields, value);
    o->ctl_field_count++;
}

/* How the one before ended (owner.h). From now on ctl has a note: `-` while all goes well, which a
 * clean end deletes (worker.c). */
static void read_note(struct owner *o, const struct reply *ctl, const struct reply *lease)
{
    const struct reply *fence = reply_field(ctl, "fence"), *note = reply_field(ctl, "note");
    const char *nonce = fence != NULL ? strchr(fence->text, ':') : NULL;
    bool is_own = nonce != NULL && strncmp(nonce + 1, o->nonce, OWNER_NONCE) == 0;
    o->before = is_own                           ? OWNER_MYSELF
                : reply_is_text(lease, o->token) ? OWNER_SIBLING
                                                 : OWNER_STRANGER;
    snprintf(o->note, sizeof o->note, "%s", note != NULL ? note->text : "");
    if (note == NULL)
        add_ctl(o, "note", "", "-");
}

static void read_ctl(struct owner *o, const struct reply *ctl)
{
    const struct reply *fence = reply_field(ctl, "fence"), *commits = reply_field(ctl, "commits"),
                       *edits = reply_field(ctl, "edits"),
                       *unverified = reply_field(ctl, "unverified");
    unsigned long long epoch = fence != NULL ? strtoull(fence->text, NULL, 10) : 0;
    char nonce[17 - OWNER_NONCE];
    random_hex(nonce, 16 - OWNER_NONCE);
    snprintf(o->fence, sizeof o->fence, "%llu:%s%s", epoch + 1, o->nonce, nonce);
    bool is_held = fence != NULL && o->held_fence[0] != '\0' && reply_is_text(fence, o->held_fence);
    o->commits = commits != NULL ? reply_number(commits, 0) : 0;
    o->edits = edits != NULL ? reply_number(edits, 0) : 0;
    o->has_unverified = unverified != NULL;
    o->unverified[0] = '\0';
    /* A commit whose reply we saw whole is verified, also when the field still stands; unless
     * another owner was there in between (it has told of the field), or Redis has lost its tail, so
     * that this is another commit of the same number. */
    o->is_continued = is_held && o->commits == o->verified;
    if (!o->is_continued)
        o->verified = -1;
    if (unverified != NULL && !o->is_continued)
        snprintf(o->unverified, sizeof o->unverified, "%s", unverified->text);
}

static const char *keep_text(struct owner *o, const char *text, size_t len)
{
    char *kept = arena_alloc(&o->clock_texts, len + 1);
    memcpy(kept, text, len);
    kept[len] = '\0';
    return kept;
}

static void read_clock(struct owner *o, const struct reply *field, const struct reply *value)
{
    static const char seen[] = "seen:", watermark[] = "watermark:", shadow[] = "shadow:";
    const char *rule = NULL, *end = field->text + field->len, *stream = end;
    if (strncmp(field->text, seen, sizeof seen - 1) == 0) {
        rule = field->text + sizeof seen - 1;
        bool is_shadow = strncmp(rule, shadow, sizeof shadow - 1) == 0; /* no live rule's name */
        const char *name = rule + (is_shadow ? sizeof shadow - 1 : 0);
        stream = memchr(name, ':', (size_t)(end - name));
    } else if (strncmp(field->text, watermark, sizeof watermark - 1) == 0) {
        rule = field->text + sizeof watermark - 1;
    }
    char *rest;
    double ms = strtod(value->text, &rest);
    if (rule == NULL || stream == NULL || rest == value->text || *rest != '\0' || !isfinite(ms))
        return;
    bool has_stream = stream < end;
    o->clocks[o->clock_count++] = (struct owner_clock){
        .rule = keep_text(o, rule, (size_t)(stream - rule)),
        .stream = has_stream ? keep_text(o, stream + 1, (size_t)(end - stream - 1)) : "",
        .ms = ms,
    };
}

static void read_clocks(struct owner *o, const struct reply *ctl)
{
    o->clock_count = 0;
    arena_reset(&o->clock_texts, 1 << 16);
    if (ctl->type != REPLY_ARRAY || ctl->count == 0)
        return;
    o->clocks = must(realloc(o->clocks, ctl->count / 2 * sizeof *o->clocks + 1));
    for (uint32_t i = 0; i + 1 < ctl->count; i += 2)
        if (ctl->elements[i]->type == REPLY_STRING && ctl->elements[i + 1]->type == REPLY_STRING)
            read_clock(o, ctl->elements[i], ctl->elements[i + 1]);
}

static void resolve(struct owner *o, const struct reply *const *look)
{
    const struct reply *ctl = look[LOOK_CTL];
    bool any_group = false;
    for (size_t i = 0; i < o->source_count; i++)
        any_group |= read_group(look[LOOK_SOURCES + 2 * i + 1], o->options.group).exists;
    bool is_lost = reply_field(ctl, "fence") == NULL && (o->has_owned || any_group);
    for (size_t i = 0; i < o->source_count; i++) {
        struct source *s = o->sources[i];
        const struct reply *info = look[LOOK_SOURCES + 2 * i];
        struct stream_facts facts = read_stream(info);
        struct group_facts group = read_group(look[LOOK_SOURCES + 2 * i + 1], o->options.group);
        s->is_left_out = reply_is_error(info, "WRONGTYPE");
        if (s->is_left_out)
            log_repeat(LOG_ERROR, "no_stream",
                       "the key of a stream holds another type; it is left out until that changes",
                       "stream", s->name, NULL);
        s->is_known = true;
        if (o->before != OWNER_MYSELF)
            s->last_then = facts.last;
        if (s->number == 0) { /* the inbox: always from its start, since done letters are deleted */
            s->committed = (struct stream_id){0};
            continue;
        }
        place_source(o, s, ctl, &facts, &group, is_lost);
        s->has_group = group.exists;
        char text[STREAM_ID_TEXT];
        stream_id_format(s->committed, text);
        add_ctl(o, "offset", s->name, text);
        add_ctl(o, "read", s->name, log_number(s->read));
    }
    for (size_t i = 0; i < o->pattern_count; i++)
        if (ctl_field(ctl, "since", o->patterns[i]) == NULL)
            add_ctl(o, "since", o->patterns[i], log_number((long long)o->redis_ms));
}

static void on_taken(void *context, const struct reply *const *replies, size_t count);

static void create_groups(struct owner *o, struct buf *out, const struct reply *const *look)
{
    for (size_t i = 0; i < o->source_count; i++) {
        struct source *s = o->sources[i];
        if (s->number == 0 || s->has_group || look[LOOK_SOURCES + 2 * i]->type != REPLY_ARRAY)
            continue;
        char id[STREAM_ID_TEXT];
        stream_id_format(s->committed, id);
        command_append(out, "XGROUP", "CREATE", s->name, o->options.group, id, NULL);
        char what[512];
        snprintf(what, sizeof what, "XGROUP|CREATE %s", s->name);
        talk_expect(o->talk, what);
        s->has_group = true;
    }
}

static void take(struct owner *o, const struct reply *const *look)
{
    const struct keys *k = o->options.keys;
    const struct reply *time = look[LOOK_TIME];
    if (time->type == REPLY_ARRAY && time->count == 2)
        o->redis_ms = (uint64_t)(reply_number(time->elements[0], 0) * 1000 +
                                 reply_number(time->elements[1], 0) / 1000);
    o->ctl_fields.len = 0;
    o->ctl_field_count = 0;
    read_note(o, look[LOOK_CTL], look[LOOK_LEASE]);
    read_ctl(o, look[LOOK_CTL]);
    read_clocks(o, look[LOOK_CTL]);
    resolve(o, look);
    add_ctl(o, "layout", "", LAYOUT);
    add_ctl(o, "fence", "", o->fence);
    add_ctl(o, "commits", "", log_number(o->commits));
    add_ctl(o, "edits", "", log_number(o->edits));

    struct buf commands = {0};
    char what[512];
    fault_pause("between_read_and_take");
    if (fault_is("read_before_watch"))
        command_append(&commands, "WATCH", k->lease.data, k->ctl.data, NULL);
    command_append(&commands, "MULTI", NULL);
    command_append(&commands, "SET", k->lease.data, o->token, "PX",
                   log_number((long long)o->options.lease_ms), NULL);
    command_begin(&commands, 2 + 2 * o->ctl_field_count);
    command_argument_text(&commands, "HSET");
    command_argument_text(&commands, k->ctl.data);
    buf_append(&commands, o->ctl_fields.data, o->ctl_fields.len);
    /* What is looked at ends here: talk_begin gives its memory back. */
    struct buf groups = {0};
    struct talk *talk = o->talk;
    o->talk = talk_create();
    struct buf *out = talk_begin(o->talk, o->link);
    if (fault_is("read_before_watch"))
        talk_expect(o->talk, "WATCH");
    talk_expect(o->talk, "MULTI");
    snprintf(what, sizeof what, "SET %s", k->lease.data);
    talk_expect(o->talk, what);
    snprintf(what, sizeof what, "HSET %s", k->ctl.data);
    talk_expect(o->talk, what);
    create_groups(o, &groups, look);
    talk_destroy(talk);
    buf_append(out, commands.data, commands.len);
    buf_append(out, groups.data, groups.len);
    command_append(out, "EXEC", NULL);
    talk_expect(o->talk, "EXEC");
    buf_fini(&commands);
    buf_fini(&groups);
    o->acquired_us = clock_now_us();
    talk_send(o->talk, on_taken, o);
}

static void on_taken(void *context, const struct reply *const *replies, size_t count)
{
    struct owner *o = context;
    const struct reply *exec = replies[count - 1];
    struct error why = {0};
    bool is_later = reply_means_later(exec);
    for (size_t i = 0; i + 1 < count && !is_later; i++) {
        if (replies[i]->type != REPLY_ERROR)
            continue;
        is_later = reply_means_later(replies[i]);
        if (is_later)
            break;
        if (reply_is_error(replies[i], "NOPERM"))
            owner_explain_refusal(o, replies[i], talk_what(o->talk, i), &why);
        else
            error_set(&why, ERROR_FATAL_REPLY, "Redis refuses %s: %s", talk_what(o->talk, i),
                      replies[i]->text);
        finish(o, OWNER_FATAL, &why);
        return;
    }
    if (exec->type == REPLY_ERROR) {
        if (is_later)
            error_set(&why, ERROR_REPLY, "%s", exec->text);
        else
            owner_explain_refusal(o, exec, "EXEC", &why);
        finish(o, is_later ? OWNER_LATER : OWNER_FATAL, &why);
        return;
    }
    if (exec->type !=
        REPLY_ARRAY) { /* somebody was faster, or a rest of our own past has just landed */
        error_set(&why, ERROR_REPLY, "the partition changed while it was being taken");
        finish(o, OWNER_LATER, &why);
        return;
    }
    for (uint32_t i = 0; i < 2 && i < exec->count; i++) {
        if (exec->elements[i]->type == REPLY_ERROR) {
            error_set(&why, ERROR_FATAL_REPLY, "Redis refuses %s: %s", talk_what(o->talk, i + 1),
                      exec->elements[i]->text);
            finish(o, OWNER_FATAL, &why);
            return;
        }
    }
    o->has_owned = true;
    snprintf(o->held_fence, sizeof o->held_fence, "%s", o->fence);
    finish(o, OWNER_MINE, &why);
}
