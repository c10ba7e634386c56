/* source.c: see source.h. */
#include "stream/source.h"

#include <stdlib.h>
#include <string.h>

static bool parse_number(const char **text, const char *end, uint64_t *out)
{
    uint64_t number = 0;
    const char *p = *text;
    while (p < end && *p >= '0' && *p <= '9') {
        unsigned digit = (unsigned)(*p++ - '0');
        if (number > (UINT64_MAX - digit) / 10)
            return false;
        number = number * 10 + digit;
    }
    if (p == *text)
        return false;
    *text = p;
    *out = number;
    return true;
}

bool stream_id_parse(const char *text, size_t len, struct stream_id *id)
{
    const char *end = text + len;
    struct stream_id parsed = {0};
    if (!parse_number(&text, end, &parsed.ms))
        return false;
    if (text < end && (*text++ != '-' || !parse_number(&text, end, &parsed.seq)))
        return false;
    if (text != end)
        return false;
    *id = parsed;
    return true;
}

void stream_id_format(struct stream_id id, char text[STREAM_ID_TEXT])
{
    char digits[24];
    uint64_t parts[2] = {id.ms, id.seq};
    for (int i = 0; i < 2; i++) { /* by hand: printf would be a tenth of a small commit */
        int count = 0;
        do {
            digits[count++] = (char)('0' + parts[i] % 10);
            parts[i] /= 10;
        } while (parts[i] > 0);
        while (count > 0)
            *text++ = digits[--count];
        *text++ = i == 0 ? '-' : '\0';
    }
}

int stream_id_compare(struct stream_id a, struct stream_id b)
{
    if (a.ms != b.ms)
        return a.ms < b.ms ? -1 : 1;
    return a.seq < b.seq ? -1 : a.seq > b.seq;
}

struct source *source_create(const char *name, size_t len, uint32_t number)
{
    struct source *s = calloc(1, sizeof *s);
    char *copy = malloc(len + 1);
    if (s == NULL || copy == NULL)
        abort();
    memcpy(copy, name, len);
    copy[len] = '\0';
    *s = (struct source){.name = copy, .name_len = len, .number = number, .read = -1, .added = -1};
    return s;
}

void source_destroy(struct source *s)
{
    if (s == NULL)
        return;
    free(s->name);
    free(s);
}
