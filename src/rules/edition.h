/* edition.h: the texts of a whole set of rules, as they are loaded together.
 *
 * A unit is a rule file with the libraries that it is loaded with. Each has its own, because a file
 * that fails keeps its last good version, and that is made of its libraries' texts, too; units of
 * one reading share them. An edition belongs to one thread at a time. */
#ifndef TIDEMILL_RULES_EDITION_H
#define TIDEMILL_RULES_EDITION_H

#include "base/buf.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct edition_file {
    char *name; /* relative to the folder: "cart.lua", "lib/prices.lua" */
    char *text;
    size_t len;
};

/* The files below lib/ and schemas/, in the order of their names; shared by units. */
struct edition_libraries {
    unsigned references;
    struct edition_file *list;
    size_t count;
};

struct edition_unit {
    struct edition_file file;
    struct edition_libraries *libraries;
    bool is_pinned; /* an older version that `tidemill rollback` brought back */
};

struct edition {
    uint64_t number;            /* counts up in a supervisor's life */
    struct edition_unit *units; /* in the order of their files' names */
    size_t count;
};

struct edition *edition_create(uint64_t number);
struct edition *edition_copy(const struct edition *e);
void edition_destroy(struct edition *e);

/* Reads all of a rules folder, EDITION_MIB at most. A symlink that leads back to a folder above is
 * passed over. A file that cannot be read is there with a text that raises why, for it alone; one
 * that vanishes meanwhile is not. Errors: ERROR_SYSTEM, ERROR_LIMIT; the sentence names the path
 * and the cure. */
enum { EDITION_MIB = 64 };
int edition_read(const char *dir, struct edition **out, struct error *error);

/* Is a file of this name (without folders) a library, in a folder of such? */
bool edition_is_lua_name(const char *name);

/* Is it a rule, at the top of the rules folder? Specs (`cart_spec.lua`) may lie beside theirs. */
bool edition_is_rule_name(const char *name);

/* Do files that rules require lie in a folder of this name, at the top? */
bool edition_is_library_folder(const char *name);

/* Adds a copy of a unit in its place by name; its libraries are shared with the original. A unit of
 * the same name is replaced. */
void edition_put(struct edition *e, const struct edition_unit *unit);
void edition_remove(struct edition *e, const char *name);
const struct edition_unit *edition_find(const struct edition *e, const char *name);

/* Do they load the same texts? (Also when one is pinned and the other is not.) */
bool edition_units_match(const struct edition_unit *a, const struct edition_unit *b);
bool edition_matches(const struct edition *a, const struct edition *b);

/* As bytes, to hand it to another process of the same binary. Errors of edition_parse:
 * ERROR_FORMAT. */
void edition_write(const struct edition *e, struct buf *out);
int edition_parse(const char *bytes, size_t len, struct edition **out, struct error *error);

#endif
