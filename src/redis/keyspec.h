/* keyspec.h: which arguments of a command are keys. Redis 7 tells it with every command ("key
 * specifications"); for Redis 6.2 the same is put together from first key, last key and step, and
 * from a table for commands that these do not fit. */
#ifndef TIDEMILL_REDIS_KEYSPEC_H
#define TIDEMILL_REDIS_KEYSPEC_H

#include "base/arena.h"
#include "base/error.h"
#include "redis/reply.h"

enum keyspec_begin { KEYSPEC_INDEX, KEYSPEC_KEYWORD, KEYSPEC_BEGIN_UNKNOWN };
enum keyspec_find { KEYSPEC_RANGE, KEYSPEC_KEYNUM, KEYSPEC_FIND_UNKNOWN };

/* One way to find some keys; a command may have several. */
struct keyspec {
    enum keyspec_begin begin;
    enum keyspec_find find;
    bool is_written;     /* the command may change these keys */
    const char *keyword; /* KEYSPEC_KEYWORD: the keys stand behind this word */
    int index; /* of the first argument concerned (0 is the command), or where to look for the
                  keyword from */
    int last;  /* KEYSPEC_RANGE: the last key, counted from the first one; negative: from the end of
                  the arguments */
    int limit; /* KEYSPEC_RANGE with a negative last: only this part of the arguments (2: half); 0,
                  1: all */
    int number_index; /* KEYSPEC_KEYNUM: where the number of keys stands, counted from the first
                         argument concerned */
    int first;        /* KEYSPEC_KEYNUM: where the first key stands, counted likewise */
    int step;         /* from one key to the next; 0 counts as 1 */
};

struct keyspecs {
    const struct keyspec *list;
    int count;
};

/* Of one row of COMMAND's reply (Redis 6.2: 7 elements, 7.0: 10); all lives in `arena`. Rows with
 * odd shapes give specs that are unknown, never an error. */
struct keyspecs keyspecs_of_row(const struct reply *row, struct arena *arena);

/* A place of a key in an argument vector. */
struct key_place {
    int at;
    bool is_written;
};

/* Grows as needed, for reuse from command to command; starts zeroed. */
struct key_places {
    struct key_place *list;
    int count, room;
};

/* Appends the places of all keys of one spec. Failure: ERROR_RULE, the arguments do not fit the
 * spec (a number of keys that is none), or the spec is unknown. */
int keyspec_find_keys(const struct keyspec *spec, int argc, const char *const *argv,
                      const size_t *lens, struct key_places *places, struct error *error);

#endif
