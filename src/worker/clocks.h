/* clocks.h: tells the kernel what it has to know of the streams and of event time before it can say
 * what time it is for a rule. */
#ifndef TIDEMILL_WORKER_CLOCKS_H
#define TIDEMILL_WORKER_CLOCKS_H

#include "rules/bridge.h"
#include "stream/owner.h"

/* After an acquire: what ctl says, and nothing else. */
void clocks_begin(struct bridge *bridge, const struct owner *o, struct rulebook *book);

/* After bridge_attach: what is committed or on its way. */
void clocks_go_on(struct bridge *bridge, const struct owner *o);

#endif
