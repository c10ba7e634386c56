/* selection.c: see selection.h. */
#include "cli/selection.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE_LETTERS = 50 };

/* One stream of letters being walked, newest first. */
struct walk {
    struct client *client;
    const struct partitions *partitions;
    size_t partition;
    bool is_inbox;
    char next[44]; /* "+", then "(" and the ID before which the next page ends */
};

static const struct buf *walk_key(const struct walk *w)
{
    const struct keys *keys = &w->partitions->list[w->partition];
    return w->is_inbox ? &keys->inbox : &keys->dlq;
}

static int next_page(struct walk *w, const struct reply **page, struct error *error)
{
    char count[16];
    const struct buf *key = walk_key(w);
    snprintf(count, sizeof count, "%d", PAGE_LETTERS);
    const char *argv[] = {"XREVRANGE", key->data, w->next, "-", "COUNT", count};
    size_t lens[] = {9, key->len, strlen(w->next), 1, 5, strlen(count)};
    const struct reply *reply;
    int code = client_call_argv(w->client, 6, argv, lens, &reply, error);
    if (code != 0)
        return code;
    if (reply->type != REPLY_ARRAY)
        return error_set(error, ERROR_REPLY, "cannot read %s: Redis says %s", key->data,
                         reply->type == REPLY_ERROR ? reply->text : "something unexpected");
    *page = reply;
    return 0;
}

static void add_place(struct selection *s, const struct letter_view *l, size_t partition)
{
    if (s->count == s->room) {
        s->room = s->room == 0 ? 64 : s->room * 2;
        s->list = realloc(s->list, s->room * sizeof *s->list);
        if (s->list == NULL)
            abort();
    }
    struct letter_place *place = &s->list[s->count];
    size_t len;
    const char *reason = letter_view_field(l, "reason", &len);
    *place = (struct letter_place){.partition = partition, .is_retrying = l->is_retrying};
    place->is_unverified = len == sizeof "unverified" - 1 && memcmp(reason, "unverified", len) == 0;
    snprintf(place->id, sizeof place->id, "%s", l->id->text);
    for (uint32_t i = 0; i < l->fields->count; i++)
        place->size_bytes += l->fields->elements[i]->len;
    if (letter_view_parse_id(letter_view_id(l)->text, &place->ms, &place->sequence))
        s->count++;
}

/* Walks one stream to its beginning, or until `most` are found. */
static int find_in(struct walk *w, const struct config *config, int64_t most, struct selection *s,
                   struct error *error)
{
    size_t limit = most > 0 ? s->count + (size_t)most : SIZE_MAX;
    const struct reply *page = NULL;
    struct letter_view l;
    snprintf(w->next, sizeof w->next, "+");
    do {
        int code = next_page(w, &page, error);
        if (code != 0)
            return code;
        for (uint32_t i = 0; i < page->count && s->count < limit; i++) {
            if (!letter_view_read(&l, &w->partitions->list[w->partition], page->elements[i],
                                  w->is_inbox))
                return error_set(error, ERROR_REPLY, "%s holds something that is no letter",
                                 walk_key(w)->data);
            if (letter_view_is_wanted(&l, config))
                add_place(s, &l, w->partition);
            snprintf(w->next, sizeof w->next, "(%s", l.id->text);
        }
    } while (page->count == PAGE_LETTERS && s->count < limit);
    return 0;
}

int selection_find(struct client *client, const struct config *config,
                   const struct partitions *partitions, int64_t most, struct selection *out,
                   struct error *error)
{
    for (size_t i = 0; i < partitions->count * 2; i++) {
        struct walk w = {
            .client = client, .partitions = partitions, .partition = i / 2, .is_inbox = i % 2 == 1};
        int code = find_in(&w, config, most, out, error);
        if (code != 0)
            return code;
    }
    return 0;
}

/* Letters waiting for their retry are few and there for a moment: the inbox is read whole. */
static int look_up_retrying(struct walk *w, unsigned long long ms, unsigned long long sequence,
                            struct selection *out, struct error *error)
{
    static const struct config any = {.redis = NULL};
    size_t before = out->count, kept = before;
    int code = find_in(w, &any, 0, out, error);
    for (size_t i = before; i < out->count; i++) {
        if (out->list[i].ms == ms && out->list[i].sequence == sequence)
            out->list[kept++] = out->list[i];
    }
    out->count = kept;
    return code;
}

/* The letter with this ID in a dlq. */
static int look_up(struct walk *w, const char *id, struct selection *out, struct error *error)
{
    const struct buf *key = walk_key(w);
    const char *argv[] = {"XRANGE", key->data, id, id};
    size_t lens[] = {6, key->len, strlen(id), strlen(id)};
    const struct reply *reply;
    struct letter_view l;
    int code = client_call_argv(w->client, 4, argv, lens, &reply, error);
    if (code != 0)
        return code;
    if (reply->type != REPLY_ARRAY)
        return error_set(error, ERROR_REPLY, "cannot read %s: Redis says %s", key->data,
                         reply->type == REPLY_ERROR ? reply->text : "something unexpected");
    if (reply->count == 1 &&
        letter_view_read(&l, &w->partitions->list[w->partition], reply->elements[0], false))
        add_place(out, &l, w->partition);
    return 0;
}

int selection_find_id(struct client *client, const struct partitions *partitions, const char *id,
                      struct selection *out, struct error *error)
{
    unsigned long long ms, sequence;
    char exact[44];
    size_t before = out->count;
    int code = 0;
    if (!letter_view_parse_id(id, &ms, &sequence))
        return error_set(error, ERROR_USAGE,
                         "%s is no ID of a letter, such as 1700000000000-0; see tidemill dlq list",
                         id);
    snprintf(exact, sizeof exact, "%llu-%llu", ms, sequence);
    for (size_t i = 0; code == 0 && i < partitions->count; i++) {
        struct walk w = {.client = client, .partitions = partitions, .partition = i};
        code = look_up(&w, exact, out, error);
    }
    for (size_t i = 0; code == 0 && out->count == before && i < partitions->count; i++) {
        struct walk w = {
            .client = client, .partitions = partitions, .partition = i, .is_inbox = true};
        code = look_up_retrying(&w, ms, sequence, out, error);
    }
    if (code != 0)
        return code;
    if (out->count == before)
        return error_set(error, ERROR_REPLY, "there is no letter %s", exact);
    if (out->count > before + 1)
        return error_set(error, ERROR_USAGE,
                         "several partitions have a letter %s; choose one with --tag", exact);
    return 0;
}

static int compare_id(const struct letter_place *x, const struct letter_place *y)
{
    if (x->ms != y->ms)
        return x->ms < y->ms ? -1 : 1;
    return (x->sequence > y->sequence) - (x->sequence < y->sequence);
}

static int compare_partition(const struct letter_place *x, const struct letter_place *y)
{
    return (x->partition > y->partition) - (x->partition < y->partition);
}

static int newest_first(const void *a, const void *b)
{
    int order = compare_id(b, a);
    return order != 0 ? order : compare_partition(a, b);
}

static int by_partition(const void *a, const void *b)
{
    int order = compare_partition(a, b);
    return order != 0 ? order : compare_id(a, b);
}

void selection_sort(struct selection *s, enum selection_order order)
{
    size_t kept = 0;
    if (s->count < 2)
        return;
    qsort(s->list, s->count, sizeof s->list[0],
          order == SELECTION_BY_PARTITION ? by_partition : newest_first);
    for (size_t i = 1; i < s->count; i++) {
        if (by_partition(&s->list[kept], &s->list[i]) != 0)
            s->list[++kept] = s->list[i];
    }
    s->count = kept + 1;
}

void selection_fini(struct selection *s)
{
    free(s->list);
    *s = (struct selection){0};
}

const struct buf *letter_place_key(const struct letter_place *place,
                                   const struct partitions *partitions)
{
    const struct keys *keys = &partitions->list[place->partition];
    return place->is_retrying ? &keys->inbox : &keys->dlq;
}
