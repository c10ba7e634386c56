/* nearest.c: see nearest.h. Optimal string alignment over three rows; words are short, so long ones
 * are simply not near. */
#include "base/nearest.h"

#include <ctype.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

enum { WORD_MOST = 64 };

void nearest_init(struct nearest *n, const char *word)
{
    *n = (struct nearest){.word = word, .name = NULL, .slips = UINT_MAX};
}

static int folded(char c)
{
    return c == '_' ? '-' : tolower((unsigned char)c);
}

static unsigned least_of(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

unsigned nearest_slips(const char *a, const char *b)
{
    size_t a_len = strlen(a), b_len = strlen(b);
    if (a_len > WORD_MOST || b_len > WORD_MOST)
        return UINT_MAX;
    unsigned rows[3][WORD_MOST + 1];
    unsigned *before = rows[0], *above = rows[1], *row = rows[2];
    for (size_t j = 0; j <= b_len; j++)
        above[j] = (unsigned)j;
    for (size_t i = 1; i <= a_len; i++) {
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b_len; j++) {
            unsigned changed = folded(a[i - 1]) != folded(b[j - 1]);
            row[j] = least_of(least_of(above[j], row[j - 1]) + 1, above[j - 1] + changed);
            if (i > 1 && j > 1 && folded(a[i - 1]) == folded(b[j - 2]) &&
                folded(a[i - 2]) == folded(b[j - 1]))
                row[j] = least_of(row[j], before[j - 2] + 1);
        }
        unsigned *oldest = before;
        before = above;
        above = row;
        row = oldest;
    }
    return above[b_len];
}

/* Near enough: a third of the word's letters may be wrong, at least one, and not all of them. A
 * name that the word begins or ends counts as near too, so that `level` finds `log_level`. */
void nearest_offer(struct nearest *n, const char *name)
{
    size_t word_len = strlen(n->word), name_len = strlen(name);
    unsigned slips = nearest_slips(n->word, name);
    unsigned allowed = word_len < 3 ? 1 : (unsigned)(word_len + 2) / 3;
    bool is_part =
        word_len >= 4 && name_len > word_len &&
        (strncmp(name, n->word, word_len) == 0 || strcmp(name + name_len - word_len, n->word) == 0);
    if ((slips > allowed || slips >= word_len) && !is_part)
        return;
    if (slips < n->slips) {
        n->slips = slips;
        n->name = name;
    }
}
