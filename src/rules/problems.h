/* problems.h: mistakes in rules, for people (file:line: message, and the line with a caret) and for
 * programs (JSON). */
#ifndef TIDEMILL_RULES_PROBLEMS_H
#define TIDEMILL_RULES_PROBLEMS_H

#include "base/buf.h"
#include "rules/rulebook.h"

#include <stdio.h>

/* "file:line: message", and below it the line that it means, where that is known. In colour when
 * `out` is a terminal that has some. */
void problem_show(const struct rule_problem *p, FILE *out);

/* Was the `i`th told already? A mistake in a file that several rules require is one of each of
 * them. `problems` are in the order of files and lines. */
bool problem_is_repeated(const struct rule_problem *problems, size_t i);

/* Shows problems and warnings, each once. True when there are no problems but warnings. */
bool problems_show(const struct rulebook *book, FILE *out);

/* Appends an object of JSON: file, line (0: it is about the whole), column and end_column (in bytes
 * from 1 on, the end exclusive; left out when unknown), severity ("error" or "warning"), message.
 */
void problem_write(const struct rule_problem *p, struct buf *out);

#endif
