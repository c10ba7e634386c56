/* status.h: what is running, as JSON (the contract of `tidemill status --json`):
 *
 *   { "group", "redis", "connected", "pid", "version", "up_ms",
 *     "rules": [
 *       { "name", "version", "file", "streams", "events", "failed", "skipped", "late", "fed_back",
 *         "failing", "watermark": MS|null, "watermark_lag_ms": MS|null } ],
 *     "partitions": [
 *       { "name", "state": "owner|standby|connecting", "fence", "events_per_s", "events",
 *         "effects", "letters", "commits", "cuts", "lookups", "state_keys", "state_bytes",
 *         "stopped_by"?,
 *         "streams": [ { "name", "position", "read", "lag": N|null, "lost", "left_out" } ] } ] }
 *
 * A rule's watermark is that of the partition where it is furthest behind; its lag is how far
 * Redis' TIME is ahead of it. */
#ifndef TIDEMILL_WORKER_STATUS_H
#define TIDEMILL_WORKER_STATUS_H

#include "base/buf.h"
#include "worker/partition.h"

struct status {
    const struct config *config;
    struct rulebook *book;
    const char *url;
    bool is_connected;
    uint64_t up_ms;
    struct partition *const *partitions; /* whose watermarks are told; may have NULLs */
    size_t partition_count;
    unsigned written; /* partitions so far */
};

void status_begin(struct status *s, struct buf *json);
void status_add_partition(struct status *s, struct buf *json, struct partition *p,
                          double events_per_s);
void status_end(struct status *s, struct buf *json);

#endif
