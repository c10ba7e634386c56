/* report.h: the status of all workers as one (the contract of `tidemill status --json`): what
 * worker/status.h says of one worker, with `rules` added up (the least watermark), `partitions` of
 * all, and
 *
 *   "workers": [ { "pid", "up_ms", "restarts", "partitions", "responding", "refused"? } ]
 *   "problems": [ { "file", "line", "message" } ]   why the rules folder is not what runs
 *
 * and in each of `rules` that is to run: "rolled_back", and "previous", the version before, or "".
 *
 * `pid` and `up_ms` are the supervisor's. */
#ifndef TIDEMILL_SUPERVISOR_REPORT_H
#define TIDEMILL_SUPERVISOR_REPORT_H

#include "base/buf.h"
#include "config/config.h"
#include "supervisor/versions.h"

#include <stdbool.h>
#include <stdint.h>

struct report_worker {
    int pid; /* 0: it is not running */
    uint64_t up_ms, restarts, partitions;
    bool is_responding;
    const char *refused; /* why it cannot load the rules that are to run; NULL: it can */
    const char *json;    /* its answer, or one of before for the sake of its rules; "" when none */
    size_t len;
};

struct report {
    const struct config *config;
    const char *redis; /* the URL, without its password */
    uint64_t up_ms;
    const struct versions *versions;
    const struct report_worker *workers;
    size_t count;
};

void report_write(const struct report *r, struct buf *out);

#endif
