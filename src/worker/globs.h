/* globs.h: the globs of all rules, and the streams that match them: asks Redis whether the group
 * knew a glob before, and SCANs for its streams, over the worker's control link.
 *
 *   listed ──asked (ctl: since:GLOB)──> ──first whole SCAN──> scanned ──> scanned again and again
 *
 * (1) A stream that is found while its glob is scanned for the first time, and that the group did
 * not know the glob before, begins where --from says; any other begins at its start: it came under
 * a known glob. (2) So partitions are told of a glob only when it is scanned: from then on their
 * ctl says since when it is known. */
#ifndef TIDEMILL_WORKER_GLOBS_H
#define TIDEMILL_WORKER_GLOBS_H

#include "base/error.h"
#include "worker/control.h"

struct globs;

struct globs_callbacks {
    void (*on_stream)(void *context, const char *name, size_t len, const char *glob, bool is_later);
    /* All listed globs are scanned; has_new: some of them for the first time. */
    void (*on_scanned)(void *context, bool has_new);
    void (*on_fatal)(void *context, const struct error *why);
};

/* `group` and `user` (of the URL) outlive it. */
struct globs *globs_create(struct control *control, const char *group, const char *user,
                           const struct globs_callbacks *callbacks, void *context);
void globs_destroy(struct globs *g);

/* The list anew: globs_begin_list, then globs_list for each, in any number; `glob` outlives all. */
void globs_begin_list(struct globs *g);
void globs_list(struct globs *g, const char *glob);

bool globs_are_there(const struct globs *g);   /* any listed */
bool globs_are_scanned(const struct globs *g); /* all that are listed */

/* The next one that is listed and scanned; NULL at the end. *cursor starts at 0. */
const char *globs_next_scanned(const struct globs *g, size_t *cursor);

/* Puts one scan of all into the control link's queue. */
void globs_scan(struct globs *g);

#endif
