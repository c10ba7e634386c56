/* problems.h: mistakes in rules, for people: file:line: message. */
#ifndef TIDEMILL_RULES_PROBLEMS_H
#define TIDEMILL_RULES_PROBLEMS_H

#include "rules/rulebook.h"

#include <stdio.h>

/* One line. */
void problem_show(const struct rule_problem *p, FILE *out);

/* Writes problems and warnings, a line each. True when there are no problems but warnings. */
bool problems_show(const struct rulebook *book, FILE *out);

#endif
