/* problems.h: mistakes in rules, for people: file:line: message. */
#ifndef TIDEMILL_CLI_PROBLEMS_H
#define TIDEMILL_CLI_PROBLEMS_H

#include "rules/rulebook.h"

#include <stdio.h>

/* Writes problems and warnings, a line each. True when there are no problems but warnings. */
bool problems_show(const struct rulebook *book, FILE *out);

#endif
