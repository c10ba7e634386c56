/* locate.h: the line of a settings file on which a setting is written, so that an error can point
 * at it. */
#ifndef TIDEMILL_CONFIG_LOCATE_H
#define TIDEMILL_CONFIG_LOCATE_H

#include <stddef.h>

/* `path` are the keys from the outside in: {"limits", "rule_ms"}. Lua has forgotten lines when the
 * table exists, so the text is read again: a key is found where a table constructor names it, in
 * any layout, also as ["key"], and in a local table of the name of its outer key. A key that is
 * made otherwise gives the line of the nearest thing around it that is found, at last that of
 * `return`, or 1. */
unsigned locate_line(const char *source, size_t len, const char *const *path, size_t depth);

#endif
