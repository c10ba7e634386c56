/* explain.c: why rules decided as they did, from the records that the engine made when it did.
 * Nothing is computed again: what is not in a record is not known.
 *
 * A record has an ID of the time at which it was committed, so no index is needed: the one of an
 * entry stands behind the entry's own time, less what its ID may have been ahead of Redis' clock
 * (`future`). The walk goes to the end all the same: entries that are tried again have later
 * records, too. */
#include "base/terminal.h"
#include "base/utc.h"
#include "cli/cli.h"
#include "cli/decision_view.h"
#include "cli/letter_view.h"
#include "cli/output.h"
#include "cli/partitions.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PAGE_RECORDS = 100, ID_LEN = 48 };

struct explain {
    const struct config *config;
    struct client *client;
    struct partitions partitions;
    struct decision_show show;
    const char *stream; /* NULL: the latest, by rule and key */
    unsigned long long ms, sequence;
    struct buf out;
    size_t shown;
};

/* -- Reading records -- */

/* A walk through one partition's records, in one direction. */
struct walk {
    const struct keys *keys;
    bool is_backward;
    char next[ID_LEN]; /* where the next page begins */
    bool is_over;
};

static int next_page(struct explain *e, struct walk *w, const struct reply **page,
                     struct error *error)
{
    char count[16];
    const struct buf *key = &w->keys->decisions;
    snprintf(count, sizeof count, "%d", PAGE_RECORDS);
    const char *verb = w->is_backward ? "XREVRANGE" : "XRANGE", *end = w->is_backward ? "-" : "+";
    const char *argv[] = {verb, key->data, w->next, end, "COUNT", count};
    size_t lens[] = {strlen(verb), key->len, strlen(w->next), 1, 5, strlen(count)};
    int code = client_call_argv(e->client, 6, argv, lens, page, error);
    if (code != 0)
        return code;
    if ((*page)->type != REPLY_ARRAY)
        return error_set(error, ERROR_REPLY, "cannot read %s: Redis says %s", key->data,
                         (*page)->type == REPLY_ERROR ? (*page)->text : "something unexpected");
    w->is_over = (*page)->count < PAGE_RECORDS;
    if ((*page)->count > 0)
        snprintf(w->next, sizeof w->next, "(%s",
                 (*page)->elements[(*page)->count - 1]->elements[0]->text);
    return 0;
}

static int read_record(const struct walk *w, const struct reply *entry, struct decision_view *v,
                       struct error *error)
{
    if (decision_view_read(v, w->keys, entry))
        return 0;
    return error_set(error, ERROR_FORMAT, "%s holds something that is no record of decisions",
                     w->keys->decisions.data);
}

static void part_from_last(struct explain *e, bool is_first)
{
    buf_append_text(&e->out, is_first || e->config->is_json ? "" : "\n\n");
}

static void show(struct explain *e, const struct decision_view *v, struct buf *out)
{
    const struct reply *stream = reply_field(v->fields, "stream");
    bool is_named = stream != NULL && stream->type == REPLY_STRING;
    e->show.codec = is_named ? config_stream_codec(e->config, stream->text, stream->len) : 0;
    if (e->config->is_json) {
        decision_view_append_json(v, &e->show, out);
        return;
    }
    decision_view_append_text(v, &e->show, out);
}

/* -- One entry -- */

/* Redis' hash tag of a name: what stands between its first braces. */
static const char *tag_of(const char *name, size_t *len)
{
    const char *open = strchr(name, '{'), *close = open == NULL ? NULL : strchr(open, '}');
    *len = close == NULL ? 0 : (size_t)(close - open - 1);
    return *len > 0 ? open + 1 : NULL;
}

/* Untagged streams form one partition, or one each, named after them (the setting `partition`). */
static bool may_have(const struct keys *keys, const char *stream)
{
    size_t len;
    const char *tag = tag_of(stream, &len);
    if (tag == NULL && keys->tag.len == 0)
        return true;
    if (tag == NULL) {
        tag = stream;
        len = strlen(stream);
    }
    return keys->tag.len == len && memcmp(keys->tag.data, tag, len) == 0;
}

static int find_in(struct explain *e, const struct keys *keys, struct error *error)
{
    struct walk w = {.keys = keys};
    unsigned long long ahead = (unsigned long long)e->config->future_ms;
    const struct reply *page;
    struct decision_view v;
    snprintf(w.next, sizeof w.next, "%llu", e->ms > ahead ? e->ms - ahead : 0);
    while (!w.is_over) {
        int code = next_page(e, &w, &page, error);
        for (uint32_t i = 0; code == 0 && i < page->count; i++) {
            code = read_record(&w, page->elements[i], &v, error);
            if (code != 0 || !decision_view_is_of(&v, e->stream, e->ms, e->sequence) ||
                !decision_view_has(&v, e->show.rule, e->show.key))
                continue;
            part_from_last(e, e->shown++ == 0);
            show(e, &v, &e->out);
        }
        if (code != 0)
            return code;
    }
    return 0;
}

/* The oldest record that any of them keeps; false: there is none. */
static int find_first(struct explain *e, bool *is_some, unsigned long long *first_ms,
                      struct error *error)
{
    *is_some = false;
    for (size_t i = 0; i < e->partitions.count; i++) {
        const struct reply *reply;
        unsigned long long ms, sequence;
        const struct buf *key = &e->partitions.list[i].decisions;
        const char *argv[] = {"XRANGE", key->data, "-", "+", "COUNT", "1"};
        size_t lens[] = {6, key->len, 1, 1, 5, 1};
        int code = client_call_argv(e->client, 6, argv, lens, &reply, error);
        if (code != 0)
            return code;
        if (reply->type != REPLY_ARRAY || reply->count == 0 ||
            !letter_view_parse_id(reply->elements[0]->elements[0]->text, &ms, &sequence))
            continue;
        if (!*is_some || ms < *first_ms)
            *first_ms = ms;
        *is_some = true;
    }
    return 0;
}

static int has_entry(struct explain *e, bool *has, struct error *error)
{
    char id[ID_LEN];
    const struct reply *reply;
    snprintf(id, sizeof id, "%llu-%llu", e->ms, e->sequence);
    int code = client_call(e->client, &reply, error, "XRANGE", e->stream, id, id, NULL);
    *has = code == 0 && reply->type == REPLY_ARRAY && reply->count > 0;
    return code;
}

/* What is known of why there is no record. */
static int explain_nothing(struct explain *e, struct error *error)
{
    bool is_some, has;
    unsigned long long first_ms = 0;
    char first[UTC_LEN];
    int code = find_first(e, &is_some, &first_ms, error);
    if (code == 0)
        code = has_entry(e, &has, error);
    if (code != 0)
        return code;
    utc_format(first_ms, first);
    if (!is_some)
        return error_set(error, ERROR_REPLY,
                         "group %s has no records of decisions: run with --record 1 (or set record "
                         "in the settings), and what is processed from then on can be explained",
                         e->config->group);
    if (e->show.rule != NULL || e->show.key != NULL)
        return error_set(error, ERROR_REPLY,
                         "there is no record of %s %llu-%llu with such a decision; look at all of "
                         "it without --rule and --key",
                         e->stream, e->ms, e->sequence);
    if (!has)
        return error_set(error, ERROR_REPLY,
                         "there is no record of %s %llu-%llu, and the stream %s has no such entry; "
                         "the first record that is kept was made on %s",
                         e->stream, e->ms, e->sequence, e->stream, first);
    if (e->ms < first_ms)
        return error_set(error, ERROR_REPLY,
                         "there is no record of %s %llu-%llu: the first that is kept was made on "
                         "%s; record_maxlen says how many are kept",
                         e->stream, e->ms, e->sequence, first);
    return error_set(error, ERROR_REPLY,
                     "there is no record of %s %llu-%llu, though the entry is there: it is not "
                     "among the share that is recorded (the setting record), no rule reads the "
                     "stream, or its turn has not come yet",
                     e->stream, e->ms, e->sequence);
}

static int explain_entry(struct explain *e, struct error *error)
{
    int code = 0;
    for (size_t i = 0; code == 0 && i < e->partitions.count; i++)
        if (may_have(&e->partitions.list[i], e->stream))
            code = find_in(e, &e->partitions.list[i], error);
    if (code == 0 && e->shown == 0)
        code = explain_nothing(e, error);
    return code == 0 ? output_write(&e->out, error) : code;
}

/* -- The latest -- */

/* One that matched, as it will be printed. */
struct found {
    unsigned long long ms, sequence;
    struct buf text;
};

struct found_list {
    struct found *list;
    size_t count;
};

static void keep(struct found_list *f, struct found one)
{
    if ((f->count & (f->count - 1)) == 0) {
        f->list = realloc(f->list, (f->count == 0 ? 1 : 2 * f->count) * sizeof *f->list);
        if (f->list == NULL)
            abort();
    }
    f->list[f->count++] = one;
}

static int find_latest_in(struct explain *e, const struct keys *keys, size_t most,
                          struct found_list *all, struct error *error)
{
    struct walk w = {.keys = keys, .is_backward = true, .next = "+"};
    const struct reply *page;
    struct decision_view v;
    size_t count = 0;
    while (!w.is_over && count < most) {
        int code = next_page(e, &w, &page, error);
        for (uint32_t i = 0; code == 0 && i < page->count && count < most; i++) {
            struct found one = {0};
            code = read_record(&w, page->elements[i], &v, error);
            if (code != 0 || !decision_view_has(&v, e->show.rule, e->show.key) ||
                !letter_view_parse_id(v.id->text, &one.ms, &one.sequence))
                continue;
            show(e, &v, &one.text);
            keep(all, one);
            count++;
        }
        if (code != 0)
            return code;
    }
    return 0;
}

static int newest_first(const void *left, const void *right)
{
    const struct found *a = left, *b = right;
    if (a->ms != b->ms)
        return a->ms < b->ms ? 1 : -1;
    return a->sequence < b->sequence ? 1 : a->sequence > b->sequence ? -1 : 0;
}

static int tell_none(struct explain *e, struct error *error)
{
    bool is_some;
    unsigned long long first_ms;
    int code = find_first(e, &is_some, &first_ms, error);
    if (code != 0)
        return code;
    if (!is_some)
        return explain_nothing(e, error);
    if (e->show.rule != NULL && strchr(e->show.rule, ':') == NULL)
        return error_set(error, ERROR_REPLY,
                         "no record that is kept has such a decision (in shadow mode the rule is "
                         "shadow:%s)",
                         e->show.rule);
    return error_set(error, ERROR_REPLY, "no record that is kept has such a decision");
}

static int explain_latest(struct explain *e, struct error *error)
{
    size_t most = e->config->count > 0 ? (size_t)e->config->count : SIZE_MAX;
    struct found_list all = {0};
    int code = 0;
    for (size_t i = 0; code == 0 && i < e->partitions.count; i++)
        code = find_latest_in(e, &e->partitions.list[i], most, &all, error);
    if (all.count > 0)
        qsort(all.list, all.count, sizeof *all.list, newest_first);
    for (size_t i = 0; i < all.count; i++) {
        if (code == 0 && i < most) {
            part_from_last(e, i == 0);
            buf_append(&e->out, all.list[i].text.data, all.list[i].text.len);
        }
        buf_fini(&all.list[i].text);
    }
    free(all.list);
    if (code == 0 && all.count == 0)
        code = tell_none(e, error);
    return code == 0 ? output_write(&e->out, error) : code;
}

/* -- The command -- */

/* 0 when the words make sense, else an exit status. */
static int check_words(struct explain *e, int argc, char **argv)
{
    bool is_by = e->show.rule != NULL || e->show.key != NULL;
    if (argc == 0 && !is_by)
        return cli_misuse("explain", "explain needs a stream and the ID of an entry, or --rule "
                                     "and --key for the latest decisions");
    if (argc == 1)
        return cli_misuse("explain", "explain needs the ID of an entry of %s, too", argv[0]);
    if (argc == 2 && !letter_view_parse_id(argv[1], &e->ms, &e->sequence))
        return cli_misuse("explain", "\"%s\" is no ID such as 1700000000000-0", argv[1]);
    e->stream = argc == 2 ? argv[0] : NULL;
    return 0;
}

int cli_explain(const struct config *config, int argc, char **argv)
{
    struct error error;
    struct explain e = {.config = config,
                        .show = {.rule = config->explain.rule,
                                 .key = config->explain.key,
                                 .is_full = config->explain.is_full,
                                 .is_coloured = terminal_has_colour(STDOUT_FILENO)}};
    int status = check_words(&e, argc, argv);
    if (status != 0)
        return status;
    int code = client_open(config->redis, &e.client, &error);
    if (code == 0) {
        code = partitions_find(e.client, config, &e.partitions, &error);
        if (code == 0) {
            code = e.stream != NULL ? explain_entry(&e, &error) : explain_latest(&e, &error);
            partitions_fini(&e.partitions);
        }
        client_close(e.client);
    }
    buf_fini(&e.out);
    return code == 0 ? EXIT_FINE : cli_fail(&error);
}
