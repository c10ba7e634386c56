/* nearest.h: "did you mean": the known name that is nearest to a word, by the number of slips of
 * the finger between them. */
#ifndef TIDEMILL_BASE_NEAREST_H
#define TIDEMILL_BASE_NEAREST_H

/* Offer every known name, in any order, then look at `name`. */
struct nearest {
    const char *word; /* what was typed */
    const char *name; /* the nearest offered, or NULL when none is near enough to be meant; the
                         first of equals */
    unsigned slips;
};

void nearest_init(struct nearest *n, const char *word);
void nearest_offer(struct nearest *n, const char *name);

/* Letters inserted, left out, changed, or swapped with their neighbour; `-` and `_` are the same
 * letter, and so are upper and lower case. */
unsigned nearest_slips(const char *a, const char *b);

#endif
