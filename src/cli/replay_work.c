/* replay_work.c: what the children of `tidemill replay` do: run one version of the rules, and print
 * or tell what it wanted. Each returns the exit status of its process. */
#include "base/clock.h"
#include "base/log.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/replay.h"
#include "replay/decision.h"

static struct run make_run(const struct replay_job *job, struct run_shared *shared)
{
    return (struct run){.config = job->config,
                        .edition = job->edition,
                        .dir = job->dir,
                        .plan = job->plan,
                        .shared = shared};
}

/* How a run ends whose results are out. */
static int conclude(struct run *run, int code, struct error *error)
{
    if (code == 0 && run->stopped_by[0] != '\0')
        code = error_set(error, ERROR_RULE, "stopped at %s", run->stopped_by);
    log_flush_held(UINT64_MAX);
    run_fini(run);
    return code == 0 ? EXIT_FINE : cli_fail(error);
}

static int on_lines_batch(struct run *run, const struct batch_entry *entries, uint32_t count,
                          struct error *error)
{
    return replay_lines_batch(run->sink.context, entries, count, error);
}

int replay_work_lines(void *context, struct run_shared *shared, int out)
{
    struct run run = make_run(context, shared);
    struct replay_lines lines;
    struct error error;
    (void)out;
    replay_lines_init(&lines, &run);
    run.sink.on_batch = on_lines_batch;
    run.sink.context = &lines;
    int code = run_go(&run, &error);
    struct error why;
    if (output_write(&lines.out, &why) != 0 && code == 0)
        code = error_set(&error, why.code, "%s", why.text);
    replay_lines_fini(&lines);
    return conclude(&run, code, &error);
}

struct counting {
    struct tally tally;
    struct wishes wishes;
    bool is_begun;
};

static void on_counted(void *context, const struct wish *wish)
{
    tally_add(context, wish);
}

static int on_summary_batch(struct run *run, const struct batch_entry *entries, uint32_t count,
                            struct error *error)
{
    struct counting *counting = run->sink.context;
    (void)error;
    if (!counting->is_begun)
        tally_init(&counting->tally, rulebook_count(run->book));
    counting->is_begun = true;
    wishes_each(&counting->wishes, run->bridge, entries, count, on_counted, &counting->tally);
    return 0;
}

int replay_work_summary(void *context, struct run_shared *shared, int out)
{
    const struct replay_job *job = context;
    struct run run = make_run(job, shared);
    struct counting counting = {0};
    struct buf text = {0};
    struct error error;
    (void)out;
    run.sink.on_batch = on_summary_batch;
    run.sink.context = &counting;
    int code = run_go(&run, &error);
    if (code == 0) {
        if (!counting.is_begun)
            tally_init(&counting.tally, rulebook_count(run.book));
        double seconds = (double)(clock_now_us() - job->began_us) / 1e6;
        replay_summary(&run, &counting.tally, seconds, job->config->is_json, &text);
        code = output_write(&text, &error);
    }
    tally_fini(&counting.tally);
    wishes_fini(&counting.wishes);
    buf_fini(&text);
    return conclude(&run, code, &error);
}

static int on_decided_batch(struct run *run, const struct batch_entry *entries, uint32_t count,
                            struct error *error)
{
    return decision_write_batch(run->sink.context, entries, count, error);
}

int replay_work_decisions(void *context, struct run_shared *shared, int out)
{
    struct run run = make_run(context, shared);
    struct decision_writer writer;
    struct error error;
    decision_writer_init(&writer, out, &run);
    run.sink.on_batch = on_decided_batch;
    run.sink.context = &writer;
    int code = run_go(&run, &error);
    if (code == 0 && run.stopped_by[0] == '\0')
        code = decision_write_end(&writer, &error);
    decision_writer_fini(&writer);
    return conclude(&run, code, &error);
}
