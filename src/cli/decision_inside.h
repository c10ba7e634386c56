/* decision_inside.h: what decision_view.c and decision_text.c share. */
#ifndef TIDEMILL_CLI_DECISION_INSIDE_H
#define TIDEMILL_CLI_DECISION_INSIDE_H

#include "cli/decision_view.h"

enum { DECISION_DEPTH_MOST = 240 };

/* The bytes of a record's field; empty when it has none. */
struct slice decision_field(const struct decision_view *v, const char *name);

bool decision_is_wanted(struct slice decision, const char *rule, const char *key);

/* A value as JSON. */
void decision_append_value(struct slice value, struct buf *out);

#endif
