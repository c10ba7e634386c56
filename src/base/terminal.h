/* terminal.h: is a person watching, may we use colour, and how wide is a character? */
#ifndef TIDEMILL_BASE_TERMINAL_H
#define TIDEMILL_BASE_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>

bool terminal_is_watched(int fd);

/* A terminal that is not dumb, and NO_COLOR is not set (https://no-color.org). */
bool terminal_has_colour(int fd);

/* How many columns it gives to a character of UTF-8: 2 to a wide one (East Asian, emoji), 0 to one
 * that joins the one before. From the C library's table; 1 where that says nothing. */
size_t terminal_columns(const char *character, size_t len);

/* The bytes of the longest beginning of a text that has at most so many columns, and how many it
 * has. A byte that is no UTF-8 counts as one. */
size_t terminal_fit(const char *text, size_t len, size_t most, size_t *columns);

#endif
