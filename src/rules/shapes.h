/* shapes.h: numbers for the shapes of documents: which fields, of which types, in which order.
 *
 * Two documents get the same number only if every name, every type and the nesting are the same,
 * compared byte by byte: code that is generated for a shape may then read the tokens without
 * looking. Arrays count as one opaque value; true and false as one type. */
#ifndef TIDEMILL_RULES_SHAPES_H
#define TIDEMILL_RULES_SHAPES_H

#include "codec/msgpack.h"

struct shapes;

struct shapes *shapes_create(void);
void shapes_destroy(struct shapes *s);

/* The number of the shape of the map whose tokens begin at `first`, from 0 up; -1 when it has none
 * (no map, a key that is no string, too many tokens, or too many shapes already): then it must be
 * built token by token. `*last` is the caller's memory of what it found last (at first -1): looked
 * at first, since the next document is mostly like the one before. */
int32_t shapes_number(struct shapes *s, const struct token *first, int32_t *last);

#endif
