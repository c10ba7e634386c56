/* terminal.h: is a person watching, and may we use colour? */
#ifndef TIDEMILL_BASE_TERMINAL_H
#define TIDEMILL_BASE_TERMINAL_H

#include <stdbool.h>

bool terminal_is_watched(int fd);

/* A terminal that is not dumb, and NO_COLOR is not set (https://no-color.org). */
bool terminal_has_colour(int fd);

#endif
