/* fault.c: see fault.h. */
#include "base/fault.h"

#ifdef TIDEMILL_FAULTS

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LOOK_AGAIN_US = 1000 };

bool fault_is(const char *name)
{
    const char *wanted = getenv("TIDEMILL_FAULT");
    return wanted != NULL && strcmp(wanted, name) == 0;
}

void fault_pause(const char *name)
{
    const char *wanted = getenv("TIDEMILL_PAUSE");
    size_t len = strlen(name);
    char reached[1024];
    if (wanted == NULL || strncmp(wanted, name, len) != 0 || wanted[len] != '=')
        return;
    const char *path = wanted + len + 1;
    snprintf(reached, sizeof reached, "%s.reached", path);
    if (rename(path, reached) != 0)
        return;
    while (access(reached, F_OK) == 0)
        usleep(LOOK_AGAIN_US);
}

#else

typedef int fault_is_empty; /* ISO C wants something in every file */

#endif
