/* entry.h: an entry of a stream for people: its event as JSON, or its fields where it has none. */
#ifndef TIDEMILL_CLI_ENTRY_H
#define TIDEMILL_CLI_ENTRY_H

#include "base/buf.h"
#include "config/config.h"

#include <stdbool.h>
#include <stddef.h>

/* One field or value. */
struct entry_text {
    const char *bytes;
    size_t len;
};

/* Appends "event":{...} when the fields hold an event as `codec` (enum config_codec) has it, else
 * "fields":{...}. `texts` are field, value, field, ...: `count` of them, an even number. */
void entry_append_json(struct buf *out, int codec, const struct entry_text *texts, size_t count);

/* The same of a raw entry as letters and records keep it: a msgpack array of field, value, …
 * False, and nothing appended, when there is none. */
bool entry_append_packed(struct buf *out, int codec, const void *packed, size_t len);

#endif
