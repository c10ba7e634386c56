/* kit.h: the test kit of the runtime (testing.lua), for `tidemill test`. */
#ifndef TIDEMILL_RULES_KIT_H
#define TIDEMILL_RULES_KIT_H

#include "base/error.h"
#include "config/config.h"

#include <stdbool.h>

struct kit_options {
    const struct config *config; /* its limits, outputs and rules folder hold */
    const char *dir;             /* folder of specs and cases, or one such file */
    bool is_watched, is_coloured;
};

/* Runs all specs and cases, and says on standard output what came of them. `status`: that of the
 * program. Errors: faults of the runtime itself. */
int kit_run(const struct kit_options *options, int *status, struct error *error);

#endif
