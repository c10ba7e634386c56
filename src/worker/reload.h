/* reload.h: brings other rules into a worker while it works.
 *
 *   resting ──take──> loading ──loaded──> parting ──all partitions parted──> resting
 *                     (loader.h)          (each ends the batch that it computes)
 *
 * (1) All partitions swap at once, so that no event of before meets rules of after in one process,
 * and there is one VM in use. (2) The old rules are closed when the last commit that they computed
 * has landed, by the loader's thread. (3) An edition that comes while another is on its way waits;
 * of several that wait the newest stays. */
#ifndef TIDEMILL_WORKER_RELOAD_H
#define TIDEMILL_WORKER_RELOAD_H

#include "base/error.h"
#include "base/loop.h"
#include "rules/rulebook.h"

struct reload;

struct reload_callbacks {
    void (*part)(void *context);      /* no partition computes another batch; then reload_look */
    bool (*is_parted)(void *context); /* none computes one */
    void (*swap)(void *context,
                 struct rulebook *book); /* takes the reference; everything goes on */
    void (*go_on)(void *context);        /* reload_renew has failed: with the rules as they are */
};

struct reload_outcome {
    uint64_t number;         /* of the edition */
    const struct error *why; /* NULL: it runs; else the rules of before do */
    uint64_t load_ms, part_ms;
};
typedef void reload_done_call(void *context, const struct reload_outcome *outcome);

/* `options` and `note` as for loader_create. */
struct reload *reload_create(struct loop *loop, const struct rulebook_options *options,
                             struct note *note, const struct reload_callbacks *callbacks,
                             void *context);
void reload_destroy(struct reload *r);

/* Takes the edition; `done` is called once, from the loop. */
void reload_take(struct reload *r, struct edition *edition, reload_done_call *done, void *context);

/* The rules that run are wanted in a fresh VM. When others are on their way, those do. */
void reload_renew(struct reload *r, const struct edition *edition);

/* A partition may have parted. */
void reload_look(struct reload *r);

/* Gives up whatever is on its way, for good: the worker stops. `done` is not called any more. */
void reload_stop(struct reload *r);

/* Lets a book, when it is not used any more, be closed off the loop. */
void reload_adopt(struct reload *r, struct rulebook *book);

#endif
