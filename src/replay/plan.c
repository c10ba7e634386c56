/* plan.c: see plan.h. */
#include "replay/plan.h"

#include "base/escape.h"
#include "base/utc.h"
#include "stream/keys.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct stream_id first_id = {0, 0}, last_id = {UINT64_MAX, UINT64_MAX};

/* What building a plan needs. */
struct build {
    struct plan *plan;
    const struct config *config;
    const struct plan_range *range;
    struct rulebook *const *books;
    size_t book_count;
    struct stream_id from, to;
};

static void *must(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

/* ── the range ───────────────────────────────────────────────────────────────────────────────── */

int plan_parse_id(const char *word, bool is_end, struct stream_id *id, struct error *error)
{
    uint64_t ms;
    if (strcmp(word, "start") == 0 || strcmp(word, "end") == 0) {
        *id = word[0] == 's' ? first_id : last_id;
        return 0;
    }
    if (stream_id_parse(word, strlen(word), id)) {
        if (is_end && strchr(word, '-') == NULL)
            id->seq = UINT64_MAX;
        return 0;
    }
    if (!utc_parse(word, &ms))
        return error_set(error, ERROR_USAGE,
                         "must be start, end, an entry ID such as 1700000000000-0, ms, or a day or "
                         "moment such as 2026-11-22 or 2026-11-22T15:04:05Z, not %s",
                         word);
    *id = (struct stream_id){.ms = ms, .seq = is_end ? UINT64_MAX : 0};
    return 0;
}

/* `now_ms`: what --last counts back from. */
static int read_range(struct build *b, double now_ms, struct error *error)
{
    struct error why;
    const struct plan_range *r = b->range;
    if (plan_parse_id(r->from != NULL ? r->from : "start", false, &b->from, &why) != 0)
        return error_set(error, ERROR_USAGE, "--from %s", why.text);
    if (plan_parse_id(r->to != NULL ? r->to : "end", true, &b->to, &why) != 0)
        return error_set(error, ERROR_USAGE, "--to %s", why.text);
    if (stream_id_compare(b->from, b->to) > 0)
        return error_set(error, ERROR_USAGE, "--from %s is behind --to %s", r->from, r->to);
    if (r->last_ms > 0)
        b->from = (struct stream_id){
            .ms = now_ms > (double)r->last_ms ? (uint64_t)now_ms - r->last_ms : 0};
    return 0;
}

/* ── partitions and lanes ────────────────────────────────────────────────────────────────────── */

static struct plan_partition *find_partition(struct build *b, const char *tag, size_t len)
{
    struct plan *plan = b->plan;
    for (size_t i = 0; i < plan->partition_count; i++)
        if (plan->partitions[i].tag_len == len && memcmp(plan->partitions[i].tag, tag, len) == 0)
            return &plan->partitions[i];
    plan->partitions =
        must(realloc(plan->partitions, (plan->partition_count + 1) * sizeof *plan->partitions));
    struct plan_partition *p = &plan->partitions[plan->partition_count++];
    *p = (struct plan_partition){.tag = must(strndup(tag, len)), .tag_len = len};
    return p;
}

static struct plan_lane *find_lane(struct plan_partition *p, const char *name, size_t len)
{
    for (size_t i = 0; i < p->lane_count; i++)
        if (p->lanes[i].name_len == len && memcmp(p->lanes[i].name, name, len) == 0)
            return &p->lanes[i];
    return NULL;
}

static bool is_wanted(const struct build *b, const char *name, size_t len)
{
    if (keys_is_ours(name, len) || memchr(name, '\0', len) != NULL)
        return false;
    return b->range->stream == NULL || strcmp(b->range->stream, name) == 0 ||
           fnmatch(b->range->stream, name, 0) == 0;
}

static bool is_read(const struct build *b, const char *name, size_t len)
{
    for (size_t i = 0; i < b->book_count; i++)
        if (rulebook_reads(b->books[i], name, len))
            return true;
    return false;
}

/* `name` ends with NUL. */
static void add_lane(struct build *b, const char *name, size_t len)
{
    const char *tag;
    size_t tag_len;
    if (!is_wanted(b, name, len))
        return;
    keys_tag_of(name, len, b->config->partition != 0, &tag, &tag_len);
    struct plan_partition *p = find_partition(b, tag, tag_len);
    if (find_lane(p, name, len) != NULL)
        return;
    p->lanes = must(realloc(p->lanes, (p->lane_count + 1) * sizeof *p->lanes));
    p->lanes[p->lane_count++] =
        (struct plan_lane){.name = must(strndup(name, len)), .name_len = len, .is_empty = true};
}

static bool is_glob(const char *name)
{
    return strpbrk(name, "*?[") != NULL;
}

/* The streams that rules name. True: some have globs, too. */
static bool add_named(struct build *b)
{
    bool has_globs = false;
    for (size_t i = 0; i < b->book_count; i++) {
        for (size_t k = 0; k < rulebook_count(b->books[i]); k++) {
            const struct rule_info *rule = rulebook_loaded_rule(b->books[i], k);
            for (size_t n = 0; n < rule->stream_count; n++) {
                has_globs |= is_glob(rule->streams[n]);
                if (!is_glob(rule->streams[n]))
                    add_lane(b, rule->streams[n], strlen(rule->streams[n]));
            }
        }
    }
    return has_globs;
}

static int compare_bytes(const char *a, size_t a_len, const char *b, size_t b_len)
{
    int order = memcmp(a, b, a_len < b_len ? a_len : b_len);
    return order != 0 ? order : (a_len > b_len) - (a_len < b_len);
}

static int compare_partitions(const void *left, const void *right)
{
    const struct plan_partition *a = left, *b = right;
    return compare_bytes(a->tag, a->tag_len, b->tag, b->tag_len);
}

static int compare_lanes(const void *left, const void *right)
{
    const struct plan_lane *a = left, *b = right;
    return compare_bytes(a->name, a->name_len, b->name, b->name_len);
}

static void sort(struct plan *plan)
{
    if (plan->partition_count == 0)
        return;
    qsort(plan->partitions, plan->partition_count, sizeof *plan->partitions, compare_partitions);
    for (size_t i = 0; i < plan->partition_count; i++)
        qsort(plan->partitions[i].lanes, plan->partitions[i].lane_count,
              sizeof *plan->partitions[i].lanes, compare_lanes);
}

void plan_fini(struct plan *plan)
{
    for (size_t i = 0; i < plan->partition_count; i++) {
        struct plan_partition *p = &plan->partitions[i];
        for (size_t k = 0; k < p->lane_count; k++)
            free(p->lanes[k].name);
        free(p->lanes);
        free(p->tag);
        free(p->rows);
    }
    free(plan->partitions);
    buf_fini(&plan->says);
    *plan = (struct plan){0};
}

/* A line for people, about a stream. */
static void say(struct plan *plan, const char *before, const char *name, size_t len,
                const char *behind)
{
    buf_append_text(&plan->says, before);
    escape_text(&plan->says, name, len);
    buf_append_text(&plan->says, behind);
    buf_append_text(&plan->says, "\n");
}

/* ── Redis ───────────────────────────────────────────────────────────────────────────────────── */

static int unexpected(const char *command, const struct reply *reply, struct error *error)
{
    return error_set(error, ERROR_REPLY, "%s: Redis says %s", command,
                     reply->type == REPLY_ERROR ? reply->text : "something unexpected");
}

static int ask_time(struct client *client, double *ms, struct error *error)
{
    const struct reply *reply;
    int code = client_call(client, &reply, error, "TIME", NULL);
    if (code != 0)
        return code;
    if (reply->type != REPLY_ARRAY || reply->count != 2)
        return unexpected("cannot ask for the time", reply, error);
    *ms = (double)(reply_number(reply->elements[0], 0) * 1000 +
                   reply_number(reply->elements[1], 0) / 1000);
    return 0;
}

static int scan(struct build *b, struct client *client, struct error *error)
{
    char cursor[32] = "0";
    do {
        const struct reply *reply;
        int code = client_call(client, &reply, error, "SCAN", cursor, "COUNT", "5000", "TYPE",
                               "stream", NULL);
        if (code != 0)
            return code;
        if (reply->type != REPLY_ARRAY || reply->count != 2)
            return unexpected("cannot look for the streams that the rules' globs match", reply,
                              error);
        snprintf(cursor, sizeof cursor, "%s", reply->elements[0]->text);
        for (uint32_t i = 0; i < reply->elements[1]->count; i++) {
            const struct reply *name = reply->elements[1]->elements[i];
            if (is_wanted(b, name->text, name->len) && is_read(b, name->text, name->len))
                add_lane(b, name->text, name->len);
        }
    } while (strcmp(cursor, "0") != 0);
    return 0;
}

/* Entries that were there before `first` and should have been read. */
static void say_missing(struct build *b, const struct plan_lane *lane, const struct reply *info,
                        struct stream_id first)
{
    const struct reply *added = reply_field(info, "entries-added"); /* since Redis 7.0 */
    char text[160], id[STREAM_ID_TEXT];
    long long gone = reply_number(added != NULL ? added : reply_field(info, "length"), 0) -
                     reply_number(reply_field(info, "length"), 0);
    if (gone <= 0 || stream_id_compare(b->from, first) >= 0)
        return;
    stream_id_format(first, id);
    snprintf(text, sizeof text,
             ": %lld entr%s gone (trimmed or deleted); what is left begins at %s", gone,
             gone == 1 ? "y is" : "ies are", id);
    say(b->plan, "", lane->name, lane->name_len, text);
}

static uint64_t estimate(const struct plan_lane *lane, uint64_t length, struct stream_id first,
                         struct stream_id last)
{
    double whole = (double)(last.ms - first.ms) + 1;
    double from = lane->from.ms > first.ms ? (double)(lane->from.ms - first.ms) : 0;
    double to = lane->to.ms < last.ms ? (double)(lane->to.ms - first.ms) + 1 : whole;
    return to <= from ? 0 : (uint64_t)((double)length * (to - from) / whole + 0.5);
}

static bool read_id(const struct reply *text, struct stream_id *id)
{
    return text != NULL && text->type == REPLY_STRING && stream_id_parse(text->text, text->len, id);
}

/* Fixes the bounds of one stream by what Redis says of it now. */
static int bound_lane(struct build *b, struct client *client, struct plan_lane *lane,
                      struct error *error)
{
    const struct reply *info;
    struct stream_id first, last;
    const char *argv[] = {"XINFO", "STREAM", lane->name};
    size_t lens[] = {5, 6, lane->name_len};
    int code = client_call_argv(client, 3, argv, lens, &info, error);
    if (code != 0)
        return code;
    if (reply_is_error(info, "WRONGTYPE")) {
        say(b->plan, "", lane->name, lane->name_len, " is no stream and was left out");
        return 0;
    }
    if (reply_is_error(info, "ERR") && strstr(info->text, "no such key") != NULL)
        return 0;
    if (info->type != REPLY_ARRAY || !read_id(reply_field(info, "last-generated-id"), &last)) {
        char what[256];
        snprintf(what, sizeof what, "cannot look at the stream %.200s", lane->name);
        return unexpected(what, info, error);
    }
    const struct reply *entry = reply_field(info, "first-entry");
    if (entry == NULL || entry->type != REPLY_ARRAY || !read_id(entry->elements[0], &first))
        first = (struct stream_id){.ms = last.ms, .seq = last.seq + 1};
    say_missing(b, lane, info, first);
    lane->from = stream_id_compare(b->from, first) > 0 ? b->from : first;
    lane->to = stream_id_compare(b->to, last) < 0 ? b->to : last;
    lane->is_empty = stream_id_compare(lane->from, lane->to) > 0;
    uint64_t length = (uint64_t)reply_number(reply_field(info, "length"), 0);
    if (!lane->is_empty)
        b->plan->about += estimate(lane, length, first, last);
    return 0;
}

/* An answer without a line could mean anything, unless the cause has been told. */
static void say_nothing_found(struct build *b)
{
    const char *stream = b->range->stream;
    if (b->plan->says.len > 0)
        return;
    for (size_t i = 0; i < b->plan->partition_count; i++)
        for (size_t k = 0; k < b->plan->partitions[i].lane_count; k++)
            if (!b->plan->partitions[i].lanes[k].is_empty)
                return;
    if (b->plan->partition_count > 0)
        say(b->plan, "there are no entries: the streams that rules read have none of that time", "",
            0, "");
    else if (stream != NULL)
        say(b->plan, "there are no entries: no rule reads ", stream, strlen(stream), "");
    else
        say(b->plan, "there are no entries: none of the streams that rules read is there", "", 0,
            "");
}

/* TIME goes before the bounds: an entry that they leave out is not older. */
int plan_of_redis(struct plan *plan, const struct config *config, const struct plan_range *range,
                  struct client *client, struct rulebook *const *books, size_t book_count,
                  struct error *error)
{
    double now_ms = 0;
    struct plan made = {0};
    struct build b = {
        .plan = &made, .config = config, .range = range, .books = books, .book_count = book_count};
    int code = ask_time(client, &now_ms, error);
    if (code == 0)
        code = read_range(&b, now_ms, error);
    if (code == 0 && add_named(&b))
        code = scan(&b, client, error);
    for (size_t i = 0; i < made.partition_count && code == 0; i++)
        for (size_t k = 0; k < made.partitions[i].lane_count && code == 0; k++)
            code = bound_lane(&b, client, &made.partitions[i].lanes[k], error);
    if (code != 0) {
        plan_fini(&made);
        return code;
    }
    say_nothing_found(&b);
    made.end_ms = (double)b.to.ms < now_ms ? (double)b.to.ms : now_ms;
    sort(&made);
    *plan = made;
    return 0;
}

/* ── a file ──────────────────────────────────────────────────────────────────────────────────── */

static int compare_rows(const void *left, const void *right, void *ranks)
{
    const struct event_row *a = *(const struct event_row *const *)left,
                           *b = *(const struct event_row *const *)right;
    const uint32_t *rank = ranks;
    int order = stream_id_compare(a->id, b->id);
    return order != 0 ? order
                      : (rank[a->stream] > rank[b->stream]) - (rank[a->stream] < rank[b->stream]);
}

static bool are_in_order(const struct plan_partition *p, uint32_t *ranks)
{
    for (size_t i = 1; i < p->row_count; i++)
        if (compare_rows(&p->rows[i - 1], &p->rows[i], ranks) > 0)
            return false;
    return true;
}

/* Where each stream of the file belongs. */
struct homes {
    struct plan_partition **partition; /* by stream; NULL: it is not read */
    uint32_t *rank;                    /* its lane there */
    uint64_t *unread;                  /* events that nobody reads */
};

static void find_homes(struct build *b, const struct events *events, struct homes *homes)
{
    uint32_t count = names_count(events->streams);
    homes->partition = must(calloc(count + 1, sizeof *homes->partition));
    homes->rank = must(calloc(count + 1, sizeof *homes->rank));
    homes->unread = must(calloc(count + 1, sizeof *homes->unread));
    for (uint32_t i = 1; i <= count; i++) {
        size_t len;
        const char *name = names_text(events->streams, i, &len);
        if (is_read(b, name, len))
            add_lane(b, name, len);
    }
    sort(b->plan); /* from here on partitions and lanes stay in place */
    for (uint32_t i = 1; i <= count; i++) {
        size_t len;
        const char *name = names_text(events->streams, i, &len);
        for (size_t k = 0; k < b->plan->partition_count; k++) {
            struct plan_lane *lane = find_lane(&b->plan->partitions[k], name, len);
            if (lane == NULL)
                continue;
            homes->partition[i] = &b->plan->partitions[k];
            homes->rank[i] = (uint32_t)(lane - b->plan->partitions[k].lanes);
        }
    }
}

/* Of the events that are read. */
static double newest_ms(const struct events *events, const struct homes *homes)
{
    uint64_t ms = 0;
    for (size_t i = 0; i < events->count; i++)
        if (homes->partition[events->rows[i].stream] != NULL && events->rows[i].id.ms > ms)
            ms = events->rows[i].id.ms;
    return (double)ms;
}

static bool is_in_range(const struct build *b, const struct event_row *row)
{
    return stream_id_compare(row->id, b->from) >= 0 && stream_id_compare(row->id, b->to) <= 0;
}

/* The rows of every partition, in order; returns the newest ms of them. */
static double deal_rows(struct build *b, const struct events *events, struct homes *homes)
{
    double end_ms = 0;
    for (int pass = 0; pass < 2; pass++) { /* counts, then fills */
        for (size_t i = 0; i < events->count; i++) {
            const struct event_row *row = &events->rows[i];
            struct plan_partition *p = homes->partition[row->stream];
            if (p == NULL)
                homes->unread[row->stream] += pass;
            if (p == NULL || !is_in_range(b, row))
                continue;
            if (pass == 1)
                p->rows[p->row_count] = row;
            p->row_count++;
            end_ms = (double)row->id.ms > end_ms ? (double)row->id.ms : end_ms;
        }
        for (size_t i = 0; i < b->plan->partition_count && pass == 0; i++) {
            struct plan_partition *p = &b->plan->partitions[i];
            p->rows = must(calloc(p->row_count + 1, sizeof *p->rows));
            p->row_count = 0;
        }
    }
    for (size_t i = 0; i < b->plan->partition_count; i++) {
        struct plan_partition *p = &b->plan->partitions[i];
        if (!are_in_order(p, homes->rank))
            qsort_r(p->rows, p->row_count, sizeof *p->rows, compare_rows, homes->rank);
        b->plan->about += p->row_count;
    }
    return end_ms;
}

static void say_unread(struct build *b, const struct events *events, const struct homes *homes)
{
    for (uint32_t i = 1; i <= names_count(events->streams); i++) {
        char text[160];
        size_t len;
        const char *name = names_text(events->streams, i, &len);
        if (homes->unread[i] == 0)
            continue;
        snprintf(text, sizeof text, ": %" PRIu64 " event%s left out: no rule reads this stream%s",
                 homes->unread[i], homes->unread[i] == 1 ? " was" : "s were",
                 b->range->stream != NULL ? ", or --stream leaves it out" : "");
        say(b->plan, "", name, len, text);
    }
}

int plan_of_events(struct plan *plan, const struct config *config, const struct plan_range *range,
                   const struct events *events, struct rulebook *const *books, size_t book_count,
                   struct error *error)
{
    struct plan made = {.events = events};
    struct homes homes = {0};
    struct build b = {
        .plan = &made, .config = config, .range = range, .books = books, .book_count = book_count};
    (void)add_named(&b);
    find_homes(&b, events, &homes);
    int code = read_range(&b, newest_ms(events, &homes), error);
    if (code == 0) {
        double end_ms = deal_rows(&b, events, &homes);
        made.end_ms = b.to.ms != UINT64_MAX ? (double)b.to.ms : end_ms;
        say_unread(&b, events, &homes);
        *plan = made;
    } else {
        plan_fini(&made);
    }
    free(homes.partition);
    free(homes.rank);
    free(homes.unread);
    return code;
}
