/* members.h: the members of one JSON object, one level deep, as they are written: for entries made
 * of plain fields. */
#ifndef TIDEMILL_CLI_MEMBERS_H
#define TIDEMILL_CLI_MEMBERS_H

#include <stdbool.h>
#include <stddef.h>

struct member {
    const char *name; /* between the quotes, escapes as they are written */
    size_t name_len;
    const char *value; /* the text of the value; of a string: with its quotes */
    size_t value_len;
};

/* `*at` begins at the text of an object that is known to be valid JSON and moves on; false behind
 * the last member. */
bool members_next(const char **at, const char *end, struct member *member);

#endif
