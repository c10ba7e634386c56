/* init_files.h: what `tidemill init` makes: the files below src/cli/init, embedded at build time
 * (scripts/embed.lua). */
#ifndef TIDEMILL_CLI_INIT_FILES_H
#define TIDEMILL_CLI_INIT_FILES_H

#include <stddef.h>

struct init_file {
    const char *name; /* seen from the project's folder: "rules/loyalty.lua" */
    const char *text; /* ends with NUL, too */
    size_t len;
};

/* In the order in which they are told of. */
extern const struct init_file init_files[];
extern const size_t init_file_count;

#endif
