/* steps.h: the way down a tree of folders, so that a symlink that leads back up ends the walk
 * instead of beginning it again: two of them beside each other would else be walked 2^40 times. */
#ifndef TIDEMILL_BASE_STEPS_H
#define TIDEMILL_BASE_STEPS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

/* A folder, and the one that it was entered from; NULL: none. They live on the walk's own stack. */
struct steps {
    const struct steps *above;
    uint64_t device, inode;
};

/* Makes *here the step into the folder that `about` tells of. False: the walk stands in it already.
 */
bool steps_enter(struct steps *here, const struct steps *above, const struct stat *about);

#endif
