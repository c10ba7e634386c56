/* words.c: see words.h. */
#include "replay/words.h"

#include "redis/command.h"

#include <assert.h>
#include <stdlib.h>

void words_read(struct words *w, const char *bytes, size_t len)
{
    const char *at = bytes;
    size_t count = command_count(&at);
    if (count > w->cap) {
        w->cap = count * 2;
        w->list = realloc(w->list, w->cap * sizeof *w->list);
        if (w->list == NULL)
            abort();
    }
    for (size_t i = 0; i < count; i++) {
        struct command_word word = command_next(&at);
        w->list[i] = (struct span){word.bytes, word.len};
    }
    assert(at <= bytes + len);
    w->bytes = bytes;
    w->count = count;
    w->len = (size_t)(at - bytes);
}

void words_fini(struct words *w)
{
    free(w->list);
    *w = (struct words){0};
}

struct span words_field(const struct words *w, size_t first, const char *name)
{
    for (size_t i = first; i + 1 < w->count; i += 2)
        if (span_is_text(w->list[i], name))
            return w->list[i + 1];
    return (struct span){"", 0};
}

bool words_emit(const struct words *w, struct span *stream, struct span *payload)
{
    struct command_word its_stream, its_payload;
    if (!command_is_emit(w->bytes, w->len, &its_stream, &its_payload))
        return false;
    *stream = (struct span){its_stream.bytes, its_stream.len};
    *payload = (struct span){its_payload.bytes, its_payload.len};
    return true;
}
