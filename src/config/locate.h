/* locate.h: where in a settings file a setting is written, so that an error can point at it. */
#ifndef TIDEMILL_CONFIG_LOCATE_H
#define TIDEMILL_CONFIG_LOCATE_H

#include <stddef.h>

/* A word of the file: its line from 1 on, where it begins there, and its length, in bytes from 1
 * on; column and width are 0 where there is nothing to point at. */
struct located {
    unsigned line, column, width;
};

/* `path` are the keys from the outside in: {"limits", "rule_ms"}. Lua has forgotten lines when the
 * table exists, so the text is read again: a key is found where a table constructor names it, in
 * any layout, also as ["key"], and in a local table of the name of its outer key. A key that is
 * made otherwise gives the nearest thing around it that is found, at last `return`, or line 1. */
struct located locate(const char *source, size_t len, const char *const *path, size_t depth);

/* The first place of a word on a line behind column `after`: a whole word where it begins or ends
 * like one. */
struct located locate_on_line(const char *source, size_t len, unsigned line, const char *word,
                              unsigned after);

/* The bytes of a line without its end; `*line_len` is 0 when the file is shorter. */
const char *locate_text(const char *source, size_t len, unsigned line, size_t *line_len);

#endif
