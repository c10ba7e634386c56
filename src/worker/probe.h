/* probe.h: a look at the streams now and then, on the control link: made anew, trimmed, of another
 * type, or new to the group. */
#ifndef TIDEMILL_WORKER_PROBE_H
#define TIDEMILL_WORKER_PROBE_H

#include "worker/control.h"
#include "worker/partition.h"

struct probe;

struct probe *probe_create(struct control *control, const char *group);
void probe_destroy(struct probe *p);

/* Looks at some of the streams of a partition that is ours (all of them in turn). Does nothing
 * while a look is under way. */
void probe_add(struct probe *p, struct partition *partition);

/* Has the partition streams whose position is not resolved yet? */
bool probe_has_unknown(struct partition *partition);

#endif
