/* names.h: a number for every name, from 1 in the order of their coming, the same for good. Nothing
 * is ever taken out, so texts and numbers stay valid as long as the list. Any thread may ask. */
#ifndef TIDEMILL_BASE_NAMES_H
#define TIDEMILL_BASE_NAMES_H

#include <stddef.h>
#include <stdint.h>

struct names;

struct names *names_create(void);
void names_destroy(struct names *names);

/* The number of a name, which is given one when it is new. */
uint32_t names_number(struct names *names, const char *name, size_t len);

/* The text of a number that was given; it ends with NUL. */
const char *names_text(struct names *names, uint32_t number, size_t *len);

uint32_t names_count(struct names *names);

#endif
