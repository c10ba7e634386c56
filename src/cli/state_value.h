/* state_value.h: a rule's state for a key as it stands in its hash: one msgpack array [expiry ms or
 * 0, version, state]. */
#ifndef TIDEMILL_CLI_STATE_VALUE_H
#define TIDEMILL_CLI_STATE_VALUE_H

#include "base/buf.h"
#include "base/error.h"

#include <stdint.h>

struct state_value {
    uint64_t expires_ms; /* 0: does not expire */
    uint64_t version;    /* of the rule's state layout */
    const char *packed;  /* the state itself, one msgpack value; inside the bytes that were read */
    size_t len;
};

/* ERROR_FORMAT: these bytes are no state. */
int state_value_read(const void *bytes, size_t len, struct state_value *out, struct error *error);

void state_value_append(const struct state_value *value, struct buf *out);

#endif
