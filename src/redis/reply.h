/* reply.h: what Redis answered, as a tree in an arena: one allocation a node, none of them freed
 * by hand. */
#ifndef TIDEMILL_REDIS_REPLY_H
#define TIDEMILL_REDIS_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum reply_type { REPLY_STRING, REPLY_STATUS, REPLY_ERROR, REPLY_INTEGER, REPLY_NIL, REPLY_ARRAY };

struct reply {
    enum reply_type type;
    uint32_t count; /* of elements, for an array */
    size_t len;     /* of text, for a string, status or error; no NUL counted, but one follows */
    union {
        const char *text;
        long long integer;
        struct reply **elements;
    };
};

bool reply_is_text(const struct reply *r,
                   const char *text); /* a string or status equal to `text` */
bool reply_is_error(const struct reply *r,
                    const char *prefix); /* an error whose first word is `prefix` (NULL: any) */

/* The value of a string in plain decimal or of an integer reply; `otherwise` when it is neither. */
long long reply_number(const struct reply *r, long long otherwise);

/* In a flat array of name, value, …: the value of `name`, or NULL. */
const struct reply *reply_field(const struct reply *r, const char *name);

/* Errors that mean "later": OOM READONLY LOADING MISCONF NOREPLICAS MASTERDOWN BUSY TRYAGAIN
 * CLUSTERDOWN NOAUTH. (design 4.5) Also when one of them stands behind EXECABORT's own text. */
bool reply_means_later(const struct reply *r);

#endif
