/* feed.c: see feed.h.
 *
 * A page is one reply of XRANGE. Each lane has the one that is being cut into batches (`now`) and
 * the one behind it (`next`). (1) A batch ends where a lane's page does, unless the lane does, too:
 * what comes next of it may come before what the others hold. (2) All pages that are missing are
 * asked for at once; their replies share an arena (a chunk), which lives until the last of its
 * pages is worked off. */
#include "replay/feed.h"

#include "redis/command.h"
#include "replay/packed.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PAGE_BYTES = 4 << 20,
    PAGES_ENTRIES = 64 * 1000, /* of all lanes together */
    PAGE_LEAST = 16,
    KEEP_BYTES = 8 << 20,
    CHUNKS_KEPT = 4
};

struct chunk {
    struct arena arena;
    unsigned references;
    struct chunk *next; /* in the list of spare ones */
};

struct page {
    struct chunk *chunk; /* NULL: there is none */
    const struct reply *entries;
    uint32_t at;
};

struct lane {
    struct page now, next;
    struct stream_id at;   /* where the next page begins */
    struct stream_id head; /* of the entry at now.at */
    bool is_over;          /* no further page */
    bool is_asked;
    struct feed_sum sum;
};

struct feed {
    struct feed_options options;
    struct lane *lanes;
    size_t lane_count;
    struct batch_entry *entries;

    /* Of Redis: */
    struct chunk *coming, *spare;
    unsigned spare_count;
    size_t asked, came;   /* pages of the post that is under way */
    size_t *order;        /* their lanes */
    double mean_bytes;    /* of an entry; 0: nothing seen yet */
    uint32_t asked_count; /* COUNT of that post */
    struct error fault;   /* code 0: none */

    /* Of a file: */
    size_t next_row;
    struct arena arena;
    uint32_t *lane_of; /* by the file's number of the stream */
};

static void *must(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

/* ── chunks and pages ────────────────────────────────────────────────────────────────────────── */

static struct chunk *chunk_take(struct feed *f)
{
    struct chunk *chunk = f->spare;
    if (chunk == NULL)
        chunk = must(calloc(1, sizeof *chunk));
    else
        f->spare = chunk->next;
    f->spare_count -= f->spare_count > 0;
    chunk->references = 1;
    return chunk;
}

static void chunk_release(struct feed *f, struct chunk *chunk)
{
    if (chunk == NULL || --chunk->references > 0)
        return;
    if (f->spare_count == CHUNKS_KEPT) {
        arena_fini(&chunk->arena);
        free(chunk);
        return;
    }
    arena_reset(&chunk->arena, KEEP_BYTES);
    chunk->next = f->spare;
    f->spare = chunk;
    f->spare_count++;
}

static struct stream_id id_of(const struct reply *entry)
{
    struct stream_id id = {0};
    if (entry->type == REPLY_ARRAY && entry->count == 2 && entry->elements[0]->type == REPLY_STRING)
        (void)stream_id_parse(entry->elements[0]->text, entry->elements[0]->len, &id);
    return id;
}

/* The smallest ID behind this one. */
static struct stream_id behind(struct stream_id id)
{
    return id.seq < UINT64_MAX ? (struct stream_id){.ms = id.ms, .seq = id.seq + 1}
                               : (struct stream_id){.ms = id.ms + 1};
}

/* ── asking Redis ────────────────────────────────────────────────────────────────────────────── */

static uint32_t entries_to_ask(const struct feed *f)
{
    size_t most = PAGES_ENTRIES / (f->lane_count + 1);
    most = most > f->options.batch_events ? f->options.batch_events : most;
    most = most < PAGE_LEAST ? PAGE_LEAST : most;
    if (f->mean_bytes > 0 && PAGE_BYTES / f->mean_bytes < (double)most)
        most = (size_t)(PAGE_BYTES / f->mean_bytes) + 1;
    return (uint32_t)most;
}

static void on_page(void *context, const struct reply *reply)
{
    struct feed *f = context;
    size_t number = f->order[f->came++];
    const struct plan_lane *plan = &f->options.partition->lanes[number];
    struct lane *lane = &f->lanes[number];
    lane->is_asked = false;
    if (reply->type != REPLY_ARRAY) {
        error_set(&f->fault, ERROR_REPLY, "cannot read %s: Redis says %s", plan->name,
                  reply->type == REPLY_ERROR ? reply->text : "something unexpected");
        return;
    }
    lane->is_over = reply->count < f->asked_count;
    if (reply->count == 0)
        return;
    lane->at = behind(id_of(reply->elements[reply->count - 1]));
    lane->is_over |= stream_id_compare(lane->at, plan->to) > 0;
    lane->next = (struct page){.chunk = f->coming, .entries = reply};
    f->coming->references++;
}

static int post(struct feed *f, struct error *error)
{
    char count[24], from[STREAM_ID_TEXT], to[STREAM_ID_TEXT];
    assert(f->asked == 0);
    f->came = 0;
    f->asked_count = entries_to_ask(f);
    snprintf(count, sizeof count, "%u", f->asked_count);
    for (size_t i = 0; i < f->lane_count; i++) {
        struct lane *lane = &f->lanes[i];
        const struct plan_lane *plan = &f->options.partition->lanes[i];
        if (lane->is_over || lane->next.chunk != NULL)
            continue;
        stream_id_format(lane->at, from);
        stream_id_format(plan->to, to);
        struct buf *out = client_out(f->options.client);
        command_begin(out, 6);
        command_argument_text(out, "XRANGE");
        command_argument(out, plan->name, plan->name_len);
        command_argument_text(out, from);
        command_argument_text(out, to);
        command_argument_text(out, "COUNT");
        command_argument_text(out, count);
        lane->is_asked = true;
        f->order[f->asked++] = i;
    }
    if (f->asked == 0)
        return 0;
    f->coming = chunk_take(f);
    client_keep_replies(f->options.client, &f->coming->arena);
    return client_post(f->options.client, f->asked, on_page, f, error);
}

static int await(struct feed *f, struct error *error)
{
    size_t entries = 0;
    int code = client_wait(f->options.client, error);
    for (size_t i = 0; i < f->came; i++) {
        const struct page *page = &f->lanes[f->order[i]].next;
        entries += page->chunk == f->coming ? page->entries->count : 0;
    }
    if (entries > 0) {
        double mean = (double)f->coming->arena.used_bytes / (double)entries;
        f->mean_bytes = f->mean_bytes == 0 ? mean : f->mean_bytes * 0.75 + mean * 0.25;
    }
    chunk_release(f, f->coming);
    f->coming = NULL;
    f->asked = 0;
    if (code == 0 && f->fault.code != 0)
        code = error_set(error, f->fault.code, "%s", f->fault.text);
    return code;
}

/* ── batches ─────────────────────────────────────────────────────────────────────────────────── */

static void note_read(struct lane *lane, struct stream_id id)
{
    lane->sum.entries++;
    lane->sum.ids = lane->sum.ids * 31 + id.ms * 0x9E3779B97F4A7C15ull + id.seq;
}

/* The next page of every lane whose page is worked off. True: some are still to come. */
static bool turn_pages(struct feed *f)
{
    bool is_waiting = false;
    for (size_t i = 0; i < f->lane_count; i++) {
        struct lane *lane = &f->lanes[i];
        if (lane->now.chunk != NULL && lane->now.at < lane->now.entries->count)
            continue;
        chunk_release(f, lane->now.chunk);
        lane->now = lane->next;
        lane->next = (struct page){0};
        if (lane->now.chunk != NULL)
            lane->head = id_of(lane->now.entries->elements[0]);
        is_waiting |= lane->now.chunk == NULL && (!lane->is_over || lane->is_asked);
    }
    return is_waiting;
}

static bool has_entry(const struct lane *lane)
{
    return lane->now.chunk != NULL && lane->now.at < lane->now.entries->count;
}

/* Lanes are sorted by name, so the first of equals is right. */
static struct lane *first_lane(struct feed *f)
{
    struct lane *first = NULL;
    for (size_t i = 0; i < f->lane_count; i++)
        if (has_entry(&f->lanes[i]) &&
            (first == NULL || stream_id_compare(f->lanes[i].head, first->head) < 0))
            first = &f->lanes[i];
    return first;
}

static struct batch_entry make_entry(const struct reply *fields, struct stream_id id,
                                     uint32_t stream)
{
    size_t size = 0;
    for (uint32_t i = 0; i < fields->count; i++)
        size += fields->elements[i]->len;
    return (struct batch_entry){.ms = (double)id.ms,
                                .seq = id.seq,
                                .fields = fields,
                                .stream = stream,
                                .size = size > UINT32_MAX ? UINT32_MAX : (uint32_t)size};
}

static uint32_t cut(struct feed *f)
{
    static const struct reply no_fields = {.type = REPLY_ARRAY};
    uint32_t count = 0;
    struct lane *lane;
    while (count < f->options.batch_events && (lane = first_lane(f)) != NULL) {
        const struct reply *entry = lane->now.entries->elements[lane->now.at++];
        bool has_fields = entry->count == 2 && entry->elements[1]->type == REPLY_ARRAY;
        f->entries[count++] = make_entry(has_fields ? entry->elements[1] : &no_fields, lane->head,
                                         f->options.numbers[lane - f->lanes]);
        note_read(lane, lane->head);
        if (has_entry(lane))
            lane->head = id_of(lane->now.entries->elements[lane->now.at]);
        else if (!lane->is_over || lane->next.chunk != NULL)
            break; /* (1) */
    }
    return count;
}

static int next_of_redis(struct feed *f, struct feed_batch *batch, struct error *error)
{
    int code = 0;
    while (turn_pages(f)) {
        if (f->asked == 0)
            code = post(f, error);
        if (code == 0)
            code = await(f, error);
        if (code != 0)
            return code;
    }
    if (f->asked == 0)
        code = post(f, error); /* while this batch is worked on */
    batch->entries = f->entries;
    batch->count = code == 0 ? cut(f) : 0;
    return code;
}

/* ── a file ──────────────────────────────────────────────────────────────────────────────────── */

static struct reply *make_reply(struct arena *arena, const char *bytes, size_t len)
{
    struct reply *reply = arena_alloc(arena, sizeof *reply);
    *reply = (struct reply){.type = REPLY_STRING, .len = len, .text = bytes};
    return reply;
}

/* The entry's fields as Redis would give them. */
static const struct reply *make_fields(struct arena *arena, const struct event_row *row)
{
    struct span map = {row->packed, row->len}, key, value, text;
    struct packed_walk walk = {0};
    uint32_t count = 0, cap = 2;
    if (row->is_plain_fields)
        for (cap = 0; packed_next(&walk, map, &key, &value);)
            cap += 2;
    struct reply *fields = arena_alloc(arena, sizeof *fields);
    struct reply **elements = arena_alloc(arena, (cap + 1) * sizeof *elements);
    if (!row->is_plain_fields) {
        elements[count++] = make_reply(arena, "data", 4);
        elements[count++] = make_reply(arena, row->packed, row->len);
    } else {
        walk = (struct packed_walk){0};
        while (packed_next(&walk, map, &key, &value)) {
            (void)packed_text(key, &text);
            elements[count++] = make_reply(arena, text.bytes, text.len);
            (void)packed_text(value, &text);
            elements[count++] = make_reply(arena, text.bytes, text.len);
        }
    }
    *fields = (struct reply){.type = REPLY_ARRAY, .count = count, .elements = elements};
    return fields;
}

static void next_of_file(struct feed *f, struct feed_batch *batch)
{
    const struct plan_partition *p = f->options.partition;
    uint32_t count = 0;
    arena_reset(&f->arena, KEEP_BYTES);
    while (count < f->options.batch_events && f->next_row < p->row_count) {
        const struct event_row *row = p->rows[f->next_row++];
        uint32_t lane = f->lane_of[row->stream];
        f->entries[count++] =
            make_entry(make_fields(&f->arena, row), row->id, f->options.numbers[lane]);
        note_read(&f->lanes[lane], row->id);
    }
    batch->entries = f->entries;
    batch->count = count;
}

static void find_lanes(struct feed *f)
{
    const struct plan_partition *p = f->options.partition;
    struct names *streams = f->options.events->streams;
    f->lane_of = must(calloc(names_count(streams) + 1, sizeof *f->lane_of));
    for (size_t i = 0; i < p->lane_count; i++)
        for (uint32_t k = 1; k <= names_count(streams); k++) {
            size_t len;
            const char *name = names_text(streams, k, &len);
            if (len == p->lanes[i].name_len && memcmp(name, p->lanes[i].name, len) == 0)
                f->lane_of[k] = (uint32_t)i;
        }
}

/* ── life ────────────────────────────────────────────────────────────────────────────────────── */

struct feed *feed_open(const struct feed_options *options)
{
    struct feed *f = must(calloc(1, sizeof *f));
    f->options = *options;
    f->lane_count = options->partition->lane_count;
    f->lanes = must(calloc(f->lane_count + 1, sizeof *f->lanes));
    f->order = must(calloc(f->lane_count + 1, sizeof *f->order));
    f->entries = must(malloc(options->batch_events * sizeof *f->entries));
    for (size_t i = 0; i < f->lane_count; i++) {
        f->lanes[i].at = options->partition->lanes[i].from;
        f->lanes[i].is_over = options->partition->lanes[i].is_empty;
    }
    if (options->events != NULL)
        find_lanes(f);
    return f;
}

void feed_close(struct feed *f)
{
    if (f == NULL)
        return;
    if (f->asked > 0)
        (void)await(f, &f->fault);
    for (size_t i = 0; i < f->lane_count; i++) {
        chunk_release(f, f->lanes[i].now.chunk);
        chunk_release(f, f->lanes[i].next.chunk);
    }
    while (f->spare != NULL) {
        struct chunk *chunk = f->spare;
        f->spare = chunk->next;
        arena_fini(&chunk->arena);
        free(chunk);
    }
    arena_fini(&f->arena);
    free(f->lane_of);
    free(f->order);
    free(f->lanes);
    free(f->entries);
    free(f);
}

int feed_next(struct feed *f, struct feed_batch *batch, struct error *error)
{
    if (f->options.events == NULL)
        return next_of_redis(f, batch, error);
    next_of_file(f, batch);
    return 0;
}

struct feed_sum feed_sum(const struct feed *f, size_t lane)
{
    return f->lanes[lane].sum;
}
