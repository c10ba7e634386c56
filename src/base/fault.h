/* fault.h: named places where a spec can stop the engine, and named ways to make it wrong
 * (mutants), so that spec/chaos can show that it would notice. Only the variant `faults` has them:
 *
 *   make VARIANT=faults
 *   TIDEMILL_FAULT=no_fence build/faults/tidemill run …                        a mutant
 *   TIDEMILL_PAUSE=before_exec=/tmp/file build/faults/tidemill run …           a pause: see
 * fault_pause
 *
 * In every other build they cost nothing and do not exist. */
#ifndef TIDEMILL_BASE_FAULT_H
#define TIDEMILL_BASE_FAULT_H

#include <stdbool.h>

#ifdef TIDEMILL_FAULTS

/* Is the engine to be wrong in this way (TIDEMILL_FAULT)? */
bool fault_is(const char *name);

/* When this is the place that TIDEMILL_PAUSE names, and its file is there: renames it to
 * FILE.reached and stands still, the whole process, until that is removed. */
void fault_pause(const char *name);

#else

#define fault_is(name) false
#define fault_pause(name) ((void)0)

#endif

#endif
