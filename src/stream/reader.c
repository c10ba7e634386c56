/* reader.c: see reader.h. A chunk is one reply of XREAD in its arena; it lives as long as a batch
 * or a source needs it. */
#include "stream/reader.h"

#include "redis/command.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    CHUNKS_KEPT = 4,
    SPARE_BATCHES = 3,
    CHUNK_KEEP_BYTES = 2 << 20,
    FIRST_COUNT = 64,
    BYTES_PER_ENTRY = 256
};

struct chunk {
    struct arena arena;
    unsigned references;
    struct chunk *next; /* in the list of spare ones */
};

struct reader {
    struct link *link;
    struct reader_options options;
    struct reader_callbacks callbacks;
    void *context;
    struct source **sources;
    size_t source_count;
    struct source **asked; /* those of the XREAD on its way, in its order */
    size_t asked_count;
    uint32_t asked_entries; /* its COUNT */
    struct chunk *coming;   /* the arena of its reply; NULL when none is on its way */
    bool is_started, is_held;
    double mean_bytes; /* of an entry; 0: nothing seen yet */
    struct chunk *spare;
    size_t spare_count;
    struct read_batch *spare_batches[SPARE_BATCHES];
    size_t spare_batch_count;
};

static void *must(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

/* ── chunks
 * ───────────────────────────────────────────────────────────────────────────────────────────────────────────
 */

static struct chunk *chunk_take(struct reader *r)
{
    struct chunk *chunk = r->spare;
    if (chunk != NULL) {
        r->spare = chunk->next;
        r->spare_count--;
    } else {
        chunk = must(calloc(1, sizeof *chunk));
    }
    chunk->references = 1;
    return chunk;
}

static void chunk_release(struct reader *r, struct chunk *chunk)
{
    assert(chunk->references > 0);
    if (--chunk->references > 0)
        return;
    if (r->spare_count == CHUNKS_KEPT) {
        arena_fini(&chunk->arena);
        free(chunk);
        return;
    }
    arena_reset(&chunk->arena, CHUNK_KEEP_BYTES);
    chunk->next = r->spare;
    r->spare = chunk;
    r->spare_count++;
}

static void batch_destroy(struct read_batch *batch)
{
    free(batch->chunks);
    free(batch->entries);
    free(batch->sources);
    free(batch->ids);
    free(batch);
}

/* ── life
 * ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
 */

struct reader *reader_create(struct link *link, const struct reader_options *options,
                             const struct reader_callbacks *callbacks, void *context)
{
    struct reader *r = must(calloc(1, sizeof *r));
    r->link = link;
    r->options = *options;
    r->callbacks = *callbacks;
    r->context = context;
    return r;
}

void reader_destroy(struct reader *r)
{
    if (r == NULL)
        return;
    reader_rest(r);
    while (r->spare_batch_count > 0)
        batch_destroy(r->spare_batches[--r->spare_batch_count]);
    while (r->spare != NULL) {
        struct chunk *chunk = r->spare;
        r->spare = chunk->next;
        arena_fini(&chunk->arena);
        free(chunk);
    }
    free(r->asked);
    free(r);
}

static void source_forget(struct reader *r, struct source *s)
{
    if (s->chunk != NULL)
        chunk_release(r, s->chunk);
    s->chunk = NULL;
    s->entries = NULL;
    s->is_leftover = s->is_filled = s->is_drained = false;
}

void reader_rest(struct reader *r)
{
    for (size_t i = 0; i < r->source_count; i++)
        source_forget(r, r->sources[i]);
    if (r->coming != NULL)
        chunk_release(r, r->coming);
    r->coming = NULL;
    r->is_started = r->is_held = false;
    r->source_count = 0;
}

/* ── reading
 * ──────────────────────────────────────────────────────────────────────────────────────────────────────────
 */

static uint32_t entries_to_ask(const struct reader *r)
{
    if (r->mean_bytes == 0)
        return r->options.batch_events < FIRST_COUNT ? r->options.batch_events : FIRST_COUNT;
    double fit = (double)r->options.batch_bytes / r->mean_bytes;
    return fit < 1 ? 1 : fit > r->options.batch_events ? r->options.batch_events : (uint32_t)fit;
}

static void on_reply(void *context, const struct reply *reply);

static void read_on(struct reader *r)
{
    if (!r->is_started || r->coming != NULL || r->is_held || !link_is_up(r->link))
        return;
    bool something_waits = false;
    r->asked_count = 0;
    for (size_t i = 0; i < r->source_count; i++) {
        struct source *s = r->sources[i];
        if (s->chunk != NULL)
            something_waits = s->is_leftover = true; /* the others are read further now */
        else if (s->is_known && !s->is_left_out)
            r->asked[r->asked_count++] = s;
        s->is_drained = false;
    }
    if (r->asked_count == 0)
        return;
    struct buf *out = link_out(r->link);
    r->asked_entries = entries_to_ask(r);
    command_begin(out, 4 + (something_waits ? 0 : 2) + 2 * r->asked_count);
    command_argument_text(out, "XREAD");
    command_argument_text(out, "COUNT");
    command_argument_number(out, r->asked_entries);
    if (!something_waits) {
        command_argument_text(out, "BLOCK");
        command_argument_number(out, (long long)r->options.block_ms);
    }
    command_argument_text(out, "STREAMS");
    for (size_t i = 0; i < r->asked_count; i++)
        command_argument(out, r->asked[i]->name, r->asked[i]->name_len);
    for (size_t i = 0; i < r->asked_count; i++) {
        char id[STREAM_ID_TEXT];
        stream_id_format(r->asked[i]->read_to, id);
        command_argument_text(out, id);
    }
    r->coming = chunk_take(r);
    link_expect(r->link, on_reply, r, &r->coming->arena, r->options.block_ms + 5000);
    link_flush(r->link);
}

static struct source *asked_source(struct reader *r, const struct reply *name)
{
    for (size_t i = 0; i < r->asked_count; i++)
        if (r->asked[i]->name_len == name->len &&
            memcmp(r->asked[i]->name, name->text, name->len) == 0)
            return r->asked[i];
    return NULL;
}

static struct stream_id entry_id(const struct reply *entry)
{
    struct stream_id id = {0};
    if (entry->type == REPLY_ARRAY && entry->count == 2 && entry->elements[0]->type == REPLY_STRING)
        (void)stream_id_parse(entry->elements[0]->text, entry->elements[0]->len, &id);
    return id;
}

/* One [name, [[id, fields], …]] of the reply. */
static void take_stream(struct reader *r, const struct reply *row, struct chunk *chunk)
{
    if (row->type != REPLY_ARRAY || row->count != 2 || row->elements[1]->type != REPLY_ARRAY ||
        row->elements[1]->count == 0)
        return;
    struct source *s = asked_source(r, row->elements[0]);
    const struct reply *entries = row->elements[1];
    const struct reply *last = entries->elements[entries->count - 1];
    struct stream_id id;
    if (s == NULL || last->type != REPLY_ARRAY || last->count != 2 ||
        !stream_id_parse(last->elements[0]->text, last->elements[0]->len, &id))
        return;
    s->chunk = chunk;
    chunk->references++;
    s->entries = entries;
    s->next = 0;
    s->next_id = entry_id(entries->elements[0]);
    s->is_leftover = false;
    s->is_filled = entries->count >= r->asked_entries;
    s->read_to = id;
    s->ahead += entries->count;
    double mean = (double)chunk->arena.used_bytes / entries->count;
    r->mean_bytes = r->mean_bytes == 0 ? mean : r->mean_bytes * 0.75 + mean * 0.25;
}

static void on_reply(void *context, const struct reply *reply)
{
    struct reader *r = context;
    struct chunk *chunk = r->coming;
    r->coming = NULL;
    if (reply->type == REPLY_ERROR) {
        reader_rest(r);
        r->callbacks.on_refused(r->context, reply);
        chunk_release(r, chunk);
        return;
    }
    if (reply->type == REPLY_ARRAY)
        for (uint32_t i = 0; i < reply->count; i++)
            take_stream(r, reply->elements[i], chunk);
    chunk_release(r, chunk);
    for (size_t i = 0; i < r->source_count; i++) {
        if (r->sources[i]->chunk != NULL) {
            r->callbacks.on_ready(r->context);
            return;
        }
    }
    read_on(r);
}

void reader_start(struct reader *r, struct source **sources, size_t count)
{
    assert(!r->is_started);
    for (size_t i = 0; i < count; i++) {
        sources[i]->read_to = sources[i]->committed;
        sources[i]->ahead = 0;
    }
    r->is_started = true;
    reader_update(r, sources, count);
}

void reader_update(struct reader *r, struct source **sources, size_t count)
{
    r->sources = sources;
    r->source_count = count;
    r->asked = must(realloc(r->asked, (count + 1) * sizeof *r->asked));
    read_on(r);
}

void reader_hold(struct reader *r)
{
    r->is_held = true;
}

/* ── batches
 * ──────────────────────────────────────────────────────────────────────────────────────────────────────────
 */

/* (2): how far a batch may go. False: no bound. */
static bool find_horizon(const struct reader *r, struct stream_id *horizon)
{
    bool is_bounded = false;
    for (size_t i = 0; i < r->source_count; i++) {
        const struct source *s = r->sources[i];
        if (s->chunk == NULL || s->number == 0 || !(s->is_leftover || s->is_filled))
            continue;
        if (!is_bounded || stream_id_compare(s->read_to, *horizon) < 0)
            *horizon = s->read_to;
        is_bounded = true;
    }
    return is_bounded;
}

/* The source whose next entry comes first. Sources are sorted by name, so the first of equals is
 * right. */
static struct source *first_source(const struct reader *r)
{
    struct source *first = NULL;
    for (size_t i = 0; i < r->source_count; i++) {
        struct source *s = r->sources[i];
        if (s->chunk == NULL || s->number == 0)
            continue;
        if (first == NULL || stream_id_compare(s->next_id, first->next_id) < 0)
            first = s;
    }
    return first;
}

static void hold_chunk(struct read_batch *batch, struct chunk *chunk)
{
    for (size_t i = batch->chunk_count; i-- > 0;)
        if (batch->chunks[i] == chunk)
            return;
    if (batch->chunk_count == batch->chunk_cap) {
        batch->chunk_cap = batch->chunk_cap > 0 ? batch->chunk_cap * 2 : 8;
        batch->chunks = must(realloc(batch->chunks, batch->chunk_cap * sizeof *batch->chunks));
    }
    batch->chunks[batch->chunk_count++] = chunk;
    chunk->references++;
}

static void add_entry(struct reader *r, struct read_batch *batch, struct source *s)
{
    static const struct reply no_fields = {.type = REPLY_ARRAY};
    const struct reply *entry = s->entries->elements[s->next];
    const struct reply *fields = entry->count == 2 && entry->elements[1]->type == REPLY_ARRAY
                                     ? entry->elements[1]
                                     : &no_fields;
    struct stream_id id = s->next_id;
    size_t size = 0;
    for (uint32_t k = 0; k < fields->count; k++)
        size += fields->elements[k]->len;
    batch->sources[batch->count] = s;
    batch->ids[batch->count] = id;
    batch->entries[batch->count++] = (struct batch_entry){
        .ms = (double)id.ms,
        .seq = id.seq,
        .fields = fields,
        .stream = s->number,
        .size = size > UINT32_MAX ? UINT32_MAX : (uint32_t)size,
    };
    hold_chunk(batch, s->chunk);
    s->is_leftover = true;
    if (++s->next < s->entries->count) {
        s->next_id = entry_id(s->entries->elements[s->next]);
        return;
    }
    source_forget(r, s);
    s->is_drained = true;
}

static struct read_batch *batch_create(struct reader *r, uint32_t most)
{
    if (r->spare_batch_count > 0) {
        struct read_batch *spare = r->spare_batches[--r->spare_batch_count];
        spare->references = 1;
        return spare;
    }
    struct read_batch *batch = must(calloc(1, sizeof *batch));
    batch->entries = must(malloc(most * sizeof *batch->entries));
    batch->sources = must(malloc(most * sizeof *batch->sources));
    batch->ids = must(malloc(most * sizeof *batch->ids));
    batch->references = 1;
    batch->reader = r;
    return batch;
}

void read_batch_keep(struct read_batch *batch)
{
    batch->references++;
}

void read_batch_release(struct read_batch *batch)
{
    if (batch == NULL || --batch->references > 0)
        return;
    struct reader *r = batch->reader;
    for (size_t i = 0; i < batch->chunk_count; i++)
        chunk_release(r, batch->chunks[i]);
    if (r->spare_batch_count < SPARE_BATCHES) {
        batch->chunk_count = batch->count = 0;
        batch->is_inbox = false;
        r->spare_batches[r->spare_batch_count++] = batch;
        return;
    }
    batch_destroy(batch);
}

static struct source *waiting_inbox(const struct reader *r)
{
    for (size_t i = 0; i < r->source_count; i++)
        if (r->sources[i]->number == 0 && r->sources[i]->chunk != NULL)
            return r->sources[i];
    return NULL;
}

struct read_batch *reader_take(struct reader *r)
{
    if (!r->is_started || r->coming != NULL)
        return NULL;
    for (size_t i = 0; i < r->source_count; i++) {
        if (r->sources[i]->is_drained) { /* (2): its next entry is not known, and may come before
                                            those that wait */
            read_on(r);
            return NULL;
        }
    }
    struct read_batch *batch = batch_create(r, r->options.batch_events);
    struct source *inbox = waiting_inbox(r);
    if (inbox != NULL) {
        batch->is_inbox = true;
        while (inbox->chunk != NULL && batch->count < r->options.batch_events)
            add_entry(r, batch, inbox);
    } else {
        struct stream_id horizon;
        bool is_bounded = find_horizon(r, &horizon);
        while (batch->count < r->options.batch_events) {
            struct source *s = first_source(r);
            if (s == NULL || (is_bounded && stream_id_compare(s->next_id, horizon) > 0))
                break;
            add_entry(r, batch, s);
        }
    }
    if (batch->count > 0)
        return batch;
    read_batch_release(batch);
    read_on(r);
    return NULL;
}

bool reader_has_entries(const struct reader *r)
{
    return first_source(r) != NULL;
}

void reader_read_on(struct reader *r)
{
    read_on(r);
}
