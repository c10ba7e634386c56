/* words.c: see words.h. */
#include "replay/words.h"

#include <assert.h>
#include <stdlib.h>

/* The number behind `*` or `$`, up to its line's end. */
static size_t take_number(const char **at, const char *end, char mark)
{
    size_t number = 0;
    assert(*at < end && **at == mark);
    for (++*at; *at < end && **at != '\r'; ++*at)
        number = number * 10 + (size_t)(**at - '0');
    *at += 2;
    assert(*at <= end);
    return number;
}

void words_read(struct words *w, const char *bytes, size_t len)
{
    const char *at = bytes, *end = bytes + len;
    size_t count = take_number(&at, end, '*');
    if (count > w->cap) {
        w->cap = count * 2;
        w->list = realloc(w->list, w->cap * sizeof *w->list);
        if (w->list == NULL)
            abort();
    }
    for (size_t i = 0; i < count; i++) {
        size_t word = take_number(&at, end, '$');
        assert(word + 2 <= (size_t)(end - at));
        w->list[i] = (struct span){at, word};
        at += word + 2;
    }
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
    size_t head = w->count == 8 && span_is_text(w->list[2], "MAXLEN") ? 5 : 2;
    if (w->count != head + 3 || !span_is_text(w->list[0], "XADD") ||
        !span_is_text(w->list[head], "*") || !span_is_text(w->list[head + 1], "data"))
        return false;
    *stream = w->list[1];
    *payload = w->list[head + 2];
    return true;
}
