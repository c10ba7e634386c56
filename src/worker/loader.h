/* loader.h: a thread that loads rules, and closes those that are not used any more, so that the
 * loop never waits for either. Its priority is low. The answers come through the loop. */
#ifndef TIDEMILL_WORKER_LOADER_H
#define TIDEMILL_WORKER_LOADER_H

#include "base/error.h"
#include "base/loop.h"
#include "rules/rulebook.h"

struct loader;

/* `book` is started and not yet awake; or NULL, and `why` tells. */
typedef void loader_done_call(void *context, struct rulebook *book, const struct error *why);

/* Of what is loaded: `options` (is_cancelled is the loader's own) and `note` outlive the loader. */
struct loader *loader_create(struct loop *loop, const struct rulebook_options *options,
                             struct note *note, loader_done_call *done, void *context);

/* Gives up what is being loaded, and waits for the thread. */
void loader_destroy(struct loader *l);

/* Takes the edition. `done` is called for each, in turn. Errors: ERROR_SYSTEM, no thread could be
 * started. */
int loader_load(struct loader *l, struct edition *edition, struct error *error);

/* Releases a book that nobody else has any more. */
void loader_close(struct loader *l, struct rulebook *book);

#endif
