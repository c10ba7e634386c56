/* replay.h: the parts of `tidemill replay`: replay.c reads what was asked for and drives; the
 * others print. */
#ifndef TIDEMILL_CLI_REPLAY_H
#define TIDEMILL_CLI_REPLAY_H

#include "cli/table.h"
#include "replay/difference.h"
#include "replay/run.h"
#include "replay/tally.h"

/* The work of a child (replay/child.h), on one version of the rules: replay_work.c. */
struct replay_job {
    const struct config *config;
    const struct edition *edition;
    const char *dir; /* where it came from */
    const struct plan *plan;
    uint64_t began_us; /* the whole command */
};
int replay_work_lines(void *job, struct run_shared *shared, int out);
int replay_work_summary(void *job, struct run_shared *shared, int out);
int replay_work_decisions(void *job, struct run_shared *shared, int out); /* for replay/compare.h */

/* Effects and letters as JSON lines: replay_lines.c. */
struct replay_lines {
    struct run *run;
    struct wishes wishes;
    struct buf out, scratch;
};

void replay_lines_init(struct replay_lines *l, struct run *run);
void replay_lines_fini(struct replay_lines *l);
/* Appends those of a batch to `out`, and writes it when it is large. Errors: of output_write. */
int replay_lines_batch(struct replay_lines *l, const struct batch_entry *entries, uint32_t count,
                       struct error *error);

/* A whole run in figures: replay_summary.c. `seconds`: how long it took. */
void replay_summary(struct run *run, const struct tally *tally, double seconds, bool is_json,
                    struct buf *out);

/* Where two versions differ: replay_difference.c. */
struct replay_compared {
    const struct difference *difference;
    const char *dirs[SIDES];
    uint64_t events, lookups; /* lookups: of both */
    double seconds;
    const struct buf *says;
};
void replay_difference(const struct replay_compared *compared, bool is_json, struct buf *out);

/* Numbers for people and for programs: replay_numbers.c. */
void replay_count(struct buf *out, uint64_t count); /* 1,234,567 */
void replay_number(struct buf *out, double number); /* as short as it stays exact to ten digits */
void replay_signed(struct buf *out, double number); /* with its sign */
void replay_json_number(struct buf *out, double number); /* exact; null when it is none */
/* ,"sum":…,"mean":…,"min":…,"max":…, or nothing when there are none. */
void replay_json_figures(struct buf *out, const struct figures *f);
/* The lines of `says` as a JSON array of strings. */
void replay_json_lines(struct buf *out, const struct buf *says);
void replay_table_count(struct table *t, uint64_t count); /* one cell */
const char *replay_kind_name(enum tally_kind kind);       /* emit, command, letter */

#endif
