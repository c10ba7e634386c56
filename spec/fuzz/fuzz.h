/* fuzz.h: what the fuzzers of the codecs share. */
#ifndef TIDEMILL_SPEC_FUZZ_H
#define TIDEMILL_SPEC_FUZZ_H

#include "base/error.h"

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* libFuzzer's entry: called once for each input. Returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A codec's failure: its code is in the error too, and one line says which byte of the `size` bytes
 * of input is at fault. */
static inline void check_error(const struct error *error, int code, size_t size)
{
    size_t at = 0;
    int end = 0;
    assert((int)error->code == code && (code == ERROR_FORMAT || code == ERROR_LIMIT));
    assert(sscanf(error->text, "at byte %zu: %n", &at, &end) == 1 && end > 0 &&
           error->text[end] != '\0');
    assert(at <= size && strchr(error->text, '\n') == NULL);
}

#endif
