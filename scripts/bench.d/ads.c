/* ads.c: the producer of the Yahoo Streaming Benchmark: ad events at a steady rate, and the oracle
 * that counts them.
 *
 *     ads SOCKET RATE SECONDS SEED WINDOW_MS
 *
 * As Yahoo's own generator: user, page and ad are UUIDs, of 100 users, 100 pages and the ads of the
 * hash `campaigns` (ad -> campaign) in Redis; ad type and event type (view, click, purchase) are
 * drawn evenly. An entry of the stream `ads` has one field, `data`, a msgpack map of 7 fields,
 * about 220 bytes.
 *
 * An open loop: event i is due at start + i / RATE, which is its event_time (ms of the wall clock);
 * every millisecond all that are due leave in one write. Sending never waits for a reply (CLIENT
 * REPLY OFF), so an engine or a Redis that is slow cannot slow the pace and hide its own delay;
 * what is late is due to a Redis that does not take it, or to a busy machine, and is told.
 *
 * Prints JSON: what was sent, how late, and for each window of event time its start, the wall clock
 * (us) right before the write() that brought the first event at or beyond its end (null: none
 * came), and the views of each campaign, counted from what was drawn.
 */
#include "common.h"
#include "digest.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

#define TICK_NS 1000000
#define WRITE_EVENTS 1000 /* the most in one write, when much is due at once */
#define IDS 100           /* of users, and of pages */
#define UUID_LEN 36

struct ad {
    char id[UUID_LEN + 1];
    uint32_t campaign;
};

struct window {
    int64_t passed_us; /* 0: no event came at or beyond its end */
    uint64_t *views;   /* by campaign */
};

struct bench {
    struct ad *ads;
    char (*campaigns)[UUID_LEN + 1];
    size_t n_ads, n_campaigns, n_windows;
    char users[IDS][UUID_LEN + 1], pages[IDS][UUID_LEN + 1];
    uint64_t seed;
    int64_t window_ms, first_window; /* the latter's number since the epoch */
    struct window *windows;
};

static int64_t now_ns(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void sleep_until(int64_t ns)
{
    struct timespec t = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
        ;
}

static void *zeroed(size_t count, size_t size)
{
    void *p = calloc(count, size);

    if (!p)
        die("out of memory");
    return p;
}

static void draw_uuids(char uuids[IDS][UUID_LEN + 1], uint64_t seed)
{
    for (uint64_t i = 0; i < IDS; i++) {
        uint64_t a = digest_mix(seed + i), b = digest_mix(a + seed);

        snprintf(uuids[i], UUID_LEN + 1,
                 "%08" PRIx64 "-%04" PRIx64 "-4%03" PRIx64 "-8%03" PRIx64 "-%012" PRIx64, a >> 32,
                 a >> 16 & 0xffff, a & 0xfff, b >> 48 & 0xfff, b & 0xffffffffffff);
    }
}

static uint32_t campaign_of(struct bench *b, const char *id)
{
    size_t n = 0;

    while (n < b->n_campaigns && strcmp(b->campaigns[n], id) != 0)
        n++;
    if (n == b->n_campaigns)
        snprintf(b->campaigns[b->n_campaigns++], UUID_LEN + 1, "%s", id);
    return (uint32_t)n;
}

static void load_ads(struct bench *b, redisContext *c)
{
    redisReply *table = redisCommand(c, "HGETALL campaigns");

    if (!table || table->type != REDIS_REPLY_ARRAY || table->elements == 0)
        die("there is no hash campaigns");
    b->n_ads = table->elements / 2;
    b->ads = zeroed(b->n_ads, sizeof *b->ads);
    b->campaigns = zeroed(b->n_ads, sizeof *b->campaigns);
    for (size_t i = 0; i < b->n_ads; i++) {
        snprintf(b->ads[i].id, sizeof b->ads[i].id, "%s", table->element[2 * i]->str);
        b->ads[i].campaign = campaign_of(b, table->element[2 * i + 1]->str);
    }
    freeReplyObject(table);
}

static void pack_text(msgpack_packer *pk, const char *text, size_t len)
{
    msgpack_pack_str(pk, len);
    msgpack_pack_str_body(pk, text, len);
}

#define PACK_TEXT(pk, text) pack_text(pk, text, strlen(text))

/* Event i; counted when it is a view. */
static void event_add(struct bench *b, struct bytes *out, uint64_t i, int64_t time_ms)
{
    static const char *const types[] = {"view", "click", "purchase"};
    static const char *const ad_types[] = {"banner", "modal", "sponsored-search", "mail", "mobile"};
    static msgpack_sbuffer data;
    uint64_t random = digest_mix(b->seed + i * 0x9e3779b97f4a7c15u);
    const struct ad *ad = &b->ads[(random >> 32) % b->n_ads];
    unsigned type = random % 3;
    msgpack_packer pk;

    msgpack_sbuffer_clear(&data);
    msgpack_packer_init(&pk, &data, msgpack_sbuffer_write);
    msgpack_pack_map(&pk, 7);
    PACK_TEXT(&pk, "user_id"), pack_text(&pk, b->users[(random >> 8) % IDS], UUID_LEN);
    PACK_TEXT(&pk, "page_id"), pack_text(&pk, b->pages[(random >> 16) % IDS], UUID_LEN);
    PACK_TEXT(&pk, "ad_id"), pack_text(&pk, ad->id, UUID_LEN);
    PACK_TEXT(&pk, "ad_type"), PACK_TEXT(&pk, ad_types[(random >> 24) % 5]);
    PACK_TEXT(&pk, "event_type"), PACK_TEXT(&pk, types[type]);
    PACK_TEXT(&pk, "event_time"), msgpack_pack_int64(&pk, time_ms);
    PACK_TEXT(&pk, "ip_address"), PACK_TEXT(&pk, "1.2.3.4");
    command_text(out, "*5\r\n$4\r\nXADD\r\n$3\r\nads\r\n$1\r\n*\r\n$4\r\ndata\r\n");
    command_word(out, data.data, data.size);
    if (type == 0)
        b->windows[time_ms / b->window_ms - b->first_window].views[ad->campaign]++;
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static void print_oracle(const struct bench *b)
{
    printf("\"campaigns\": [");
    for (size_t n = 0; n < b->n_campaigns; n++)
        printf("%s\"%s\"", n ? ", " : "", b->campaigns[n]);
    printf("], \"windows\": [");
    for (size_t w = 0; w < b->n_windows; w++) {
        const struct window *window = &b->windows[w];

        printf("%s\n{\"start\": %" PRId64 ", \"passed_us\": ", w ? "," : "",
               (b->first_window + (int64_t)w) * b->window_ms);
        if (window->passed_us)
            printf("%" PRId64, window->passed_us);
        else
            printf("null");
        printf(", \"views\": [");
        for (size_t n = 0; n < b->n_campaigns; n++)
            printf("%s%" PRIu64, n ? ", " : "", window->views[n]);
        printf("]}");
    }
    printf("]");
}

/* Sends `count` events at their time; their lateness goes to late[tick]. Returns the number of
 * ticks. */
static size_t send_all(struct bench *b, redisContext *c, uint64_t count, double rate, int64_t *late)
{
    const int64_t wall_ns = now_ns(CLOCK_REALTIME) - now_ns(CLOCK_MONOTONIC);
    const int64_t start = now_ns(CLOCK_MONOTONIC) + TICK_NS;
    int64_t newest = (start + wall_ns) / 1000000 / b->window_ms;
    struct bytes out = {0};
    uint64_t sent = 0;
    size_t writes = 0;

    b->first_window = newest;
    for (int64_t tick = start + TICK_NS; sent < count; tick += TICK_NS) {
        int64_t first_due = start + (int64_t)((double)sent * 1e9 / rate), due = first_due, now;
        uint64_t most = sent + WRITE_EVENTS;

        sleep_until(tick);
        now = now_ns(CLOCK_MONOTONIC);
        while (sent < count && sent < most && due <= now) {
            event_add(b, &out, sent++, (due + wall_ns) / 1000000);
            due = start + (int64_t)((double)sent * 1e9 / rate);
        }
        if (out.len == 0)
            continue;
        now = now_ns(CLOCK_MONOTONIC);
        late[writes++] = now - first_due;
        /* The last event of this write: which windows has it, or one before it, left behind? */
        due = start + (int64_t)((double)(sent - 1) * 1e9 / rate);
        for (; newest < (due + wall_ns) / 1000000 / b->window_ms; newest++)
            b->windows[newest - b->first_window].passed_us = (now + wall_ns) / 1000;
        redis_send(c, &out);
        if (sent == most)
            tick -= TICK_NS; /* behind: no sleep until it has caught up */
    }
    b->n_windows = (size_t)(newest - b->first_window) + 1;
    bytes_free(&out);
    return writes;
}

int main(int argc, char **argv)
{
    struct bench b = {0};
    struct bytes out = {0};
    int64_t *late, begin;
    uint64_t count;
    double seconds, rate;
    redisContext *c;
    size_t n;

    if (argc != 6)
        die("usage: ads SOCKET RATE SECONDS SEED WINDOW_MS");
    rate = atof(argv[2]);
    count = (uint64_t)(rate * atof(argv[3]));
    b.seed = digest_mix(strtoull(argv[4], NULL, 10));
    b.window_ms = atoll(argv[5]);
    if (count == 0 || b.window_ms <= 0)
        die("nothing to send");
    prctl(PR_SET_TIMERSLACK, 1);
    c = redis_open(argv[1]);
    load_ads(&b, c);
    draw_uuids(b.users, b.seed + 1000);
    draw_uuids(b.pages, b.seed + 2000);
    n = (size_t)(atof(argv[3]) * 1000 / (double)b.window_ms) + 3;
    b.windows = zeroed(n, sizeof *b.windows);
    while (n--)
        b.windows[n].views = zeroed(b.n_campaigns, sizeof *b.windows[n].views);
    late = zeroed(count, sizeof *late);

    command_text(&out, "*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$3\r\nOFF\r\n");
    redis_send(c, &out);
    begin = now_ns(CLOCK_MONOTONIC);
    n = send_all(&b, c, count, rate, late);
    command_text(&out, "*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$2\r\nON\r\n");
    redis_send(c, &out);
    redis_discard(c, 1);
    seconds = (double)(now_ns(CLOCK_MONOTONIC) - begin) / 1e9;

    qsort(late, n, sizeof *late, by_value);
    printf("{\"sent\": %" PRIu64
           ", \"seconds\": %.6f, \"late_p50_us\": %.1f, \"late_p99_us\": %.1f, "
           "\"late_max_us\": %.1f, ",
           count, seconds, (double)late[n / 2] / 1e3, (double)late[n * 99 / 100] / 1e3,
           (double)late[n - 1] / 1e3);
    print_oracle(&b);
    printf("}\n");
    return 0;
}
