/* dlq_edit.c: retry and drop. Letters go in bundles, each bundle in one transaction of edit.c.
 *
 *   retry   dlq ── XRANGE ── XADD inbox * (its fields, letter = its ID), XDEL dlq
 *                            ──> the owner finds it in the inbox
 *   drop    XDEL
 *
 * (1) A letter is read and moved inside one WATCH: what another shell or the owner took meanwhile
 *     is not moved.
 * (2) A bundle shrinks when the owner is faster again and again: a small one slips between two
 *     commits. */
#include "cli/dlq.h"

#include "cli/cli.h"
#include "cli/edit.h"
#include "cli/selection.h"
#include "redis/command.h"

#include <stdio.h>
#include <string.h>

enum { BUNDLE_LETTERS = 1000, BUNDLE_BYTES = 4 * 1024 * 1024, DROP_LETTERS = 10000 };

struct bundle {
    const struct partitions *partitions;
    const struct letter_place *places; /* of one partition, in order */
    size_t count;
    struct buf commands; /* made while hearing; of this attempt */
    size_t command_count;
    size_t moved; /* in this attempt */
};

static void on_missed(void *context)
{
    struct bundle *b = context;
    b->count = b->count > 1 ? b->count / 2 : 1;
}

/* -- Retry -- */

static size_t ask_for_letters(void *context, struct buf *out)
{
    struct bundle *b = context;
    b->commands.len = 0;
    b->command_count = b->moved = 0;
    for (size_t i = 0; i < b->count; i++) {
        const struct buf *key = letter_place_key(&b->places[i], b->partitions);
        command_begin(out, 4);
        command_argument(out, "XRANGE", 6);
        command_argument(out, key->data, key->len);
        command_argument_text(out, b->places[i].id);
        command_argument_text(out, b->places[i].id);
    }
    return b->count;
}

static void append_move(struct bundle *b, const struct letter_view *l)
{
    size_t kept = 0;
    struct buf *out = &b->commands;
    for (uint32_t i = 0; i + 1 < l->fields->count; i += 2)
        kept += !reply_is_text(l->fields->elements[i], "letter");
    command_begin(out, 3 + 2 * kept + 2);
    command_argument(out, "XADD", 4);
    command_argument(out, l->keys->inbox.data, l->keys->inbox.len);
    command_argument(out, "*", 1);
    for (uint32_t i = 0; i + 1 < l->fields->count; i += 2) {
        const struct reply *field = l->fields->elements[i], *value = l->fields->elements[i + 1];
        if (reply_is_text(field, "letter"))
            continue;
        command_argument(out, field->text, field->len);
        command_argument(out, value->text, value->len);
    }
    command_argument(out, "letter", 6);
    command_argument(out, l->id->text, l->id->len);
    command_begin(out, 3);
    command_argument(out, "XDEL", 4);
    command_argument(out, l->keys->dlq.data, l->keys->dlq.len);
    command_argument(out, l->id->text, l->id->len);
    b->command_count += 2;
}

static void hear_letter(void *context, size_t index, const struct reply *reply)
{
    struct bundle *b = context;
    struct letter_view l;
    const struct keys *keys = &b->partitions->list[b->places[index].partition];
    if (reply->type != REPLY_ARRAY || reply->count != 1 ||
        !letter_view_read(&l, keys, reply->elements[0], false))
        return;
    append_move(b, &l);
    b->moved++;
}

static size_t change_letters(void *context, struct buf *out)
{
    struct bundle *b = context;
    buf_append(out, b->commands.data, b->commands.len);
    return b->command_count;
}

static const struct edit_calls retry_calls = {
    .ask = ask_for_letters, .hear = hear_letter, .change = change_letters, .on_missed = on_missed};

/* -- Drop -- */

static size_t ask_nothing(void *context, struct buf *out)
{
    struct bundle *b = context;
    (void)out;
    b->moved = 0;
    return 0;
}

static void append_drop(struct buf *out, const struct buf *key, const struct bundle *b,
                        bool is_retrying, size_t count)
{
    command_begin(out, 2 + count);
    command_argument(out, "XDEL", 4);
    command_argument(out, key->data, key->len);
    for (size_t i = 0; i < b->count; i++) {
        if (b->places[i].is_retrying == is_retrying)
            command_argument_text(out, b->places[i].id);
    }
}

static size_t drop_letters(void *context, struct buf *out)
{
    struct bundle *b = context;
    const struct keys *keys = &b->partitions->list[b->places[0].partition];
    size_t retrying = 0;
    for (size_t i = 0; i < b->count; i++)
        retrying += b->places[i].is_retrying;
    if (retrying > 0)
        append_drop(out, &keys->inbox, b, true, retrying);
    if (retrying < b->count)
        append_drop(out, &keys->dlq, b, false, b->count - retrying);
    return (retrying > 0) + (size_t)(retrying < b->count);
}

static void count_dropped(void *context, size_t index, const struct reply *reply)
{
    struct bundle *b = context;
    (void)index;
    b->moved += (size_t)reply_number(reply, 0);
}

static const struct edit_calls drop_calls = {.ask = ask_nothing,
                                             .hear = NULL,
                                             .change = drop_letters,
                                             .settle = count_dropped,
                                             .on_missed = on_missed};

/* -- All bundles -- */

/* How many letters from `first` on go together: one partition, bounded in number and bytes. */
static size_t bundle_size(const struct selection *s, size_t first, size_t most)
{
    size_t count = 0, bytes = 0;
    while (first + count < s->count && count < most && (count == 0 || bytes < BUNDLE_BYTES) &&
           s->list[first + count].partition == s->list[first].partition)
        bytes += s->list[first + count++].size_bytes;
    return count;
}

static int move_all(struct dlq *d, const struct selection *s, const struct edit_calls *calls,
                    size_t most, size_t *total, struct error *error)
{
    struct edit edit = {.client = d->client};
    struct bundle b = {.partitions = &d->partitions};
    int code = 0;
    for (size_t done = 0; code == 0 && done < s->count; done += b.count) {
        b.places = &s->list[done];
        b.count = bundle_size(s, done, most);
        code = edit_apply(&edit, &d->partitions.list[b.places[0].partition], calls, &b, error);
        if (code == 0)
            *total += b.moved;
    }
    buf_fini(&b.commands);
    return code;
}

static int select_letters(struct dlq *d, struct selection *s, char **ids, int count,
                          struct error *error)
{
    int code = 0;
    if (count == 0)
        code = selection_find(d->client, d->config, &d->partitions, 0, s, error);
    for (int i = 0; code == 0 && i < count; i++)
        code = selection_find_id(d->client, &d->partitions, ids[i], s, error);
    return code;
}

static bool is_retryable(const struct letter_place *place)
{
    return !place->is_retrying && !place->is_unverified;
}

/* Takes out what cannot be retried. Named letters of that kind are reported; returns how many there
 * were. */
static size_t leave_out(struct selection *s, bool is_named)
{
    size_t kept = 0, left = 0;
    for (size_t i = 0; i < s->count; i++) {
        const struct letter_place *place = &s->list[i];
        struct error error;
        if (is_retryable(place)) {
            s->list[kept++] = *place;
            continue;
        }
        left += is_named || place->is_unverified;
        if (!is_named)
            continue;
        if (place->is_unverified)
            error_set(&error, ERROR_REPLY,
                      "letter %llu-%llu cannot be retried: unverified means that nobody knows "
                      "whether a write of these "
                      "events was refused; look at the range of entries it names, then drop it",
                      place->ms, place->sequence);
        else
            error_set(&error, ERROR_REPLY, "letter %llu-%llu is being retried already", place->ms,
                      place->sequence);
        cli_fail(&error);
    }
    s->count = kept;
    return left;
}

static int conclude(const char *done, size_t total, const struct selection *s, int code,
                    struct error *error)
{
    if (code != 0 && total == 0)
        return cli_fail(error);
    if (code != 0) {
        struct error whole;
        error_set(&whole, error->code, "%s (%zu letters were %s before)", error->text, total, done);
        return cli_fail(&whole);
    }
    printf("%zu letter%s %s\n", total, total == 1 ? "" : "s", done);
    if (total < s->count)
        printf("%zu had gone meanwhile\n", s->count - total);
    return fflush(stdout) == 0 ? EXIT_FINE : EXIT_FAILED;
}

int dlq_retry(struct dlq *d, char **ids, int count)
{
    struct selection s = {0};
    struct error error;
    size_t total = 0, left = 0;
    int code = select_letters(d, &s, ids, count, &error);
    if (code == 0) {
        left = leave_out(&s, count > 0);
        selection_sort(&s, SELECTION_BY_PARTITION);
        code = move_all(d, &s, &retry_calls, BUNDLE_LETTERS, &total, &error);
    }
    if (code == 0 && left > 0 && count > 0 && s.count == 0) {
        selection_fini(&s);
        return EXIT_FAILED;
    }
    int status = conclude("handed back to be retried", total, &s, code, &error);
    if (code == 0 && left > 0 && count == 0)
        fprintf(stderr,
                "tidemill: %zu unverified letters were left: they can be looked at and dropped, "
                "not retried\n",
                left);
    selection_fini(&s);
    return left > 0 && count > 0 ? EXIT_FAILED : status;
}

int dlq_drop(struct dlq *d, char **ids, int count)
{
    struct selection s = {0};
    struct error error;
    size_t total = 0;
    int code = select_letters(d, &s, ids, count, &error);
    if (code == 0) {
        selection_sort(&s, SELECTION_BY_PARTITION);
        code = move_all(d, &s, &drop_calls, DROP_LETTERS, &total, &error);
    }
    int status = conclude("dropped", total, &s, code, &error);
    selection_fini(&s);
    return status;
}
