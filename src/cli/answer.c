/* answer.c: see answer.h. */
#include "cli/answer.h"

#include "codec/json.h"

#include <string.h>

int answer_read(const struct buf *json, struct buf *packed, struct tokens *tokens,
                struct error *error)
{
    static const struct msgpack_limits limits = {.depth = 16, .elements = 1u << 24};
    int failed = json_to_msgpack(json->data, json->len, limits.depth, packed, error);
    return failed != 0 ? failed : msgpack_tokens(packed->data, packed->len, &limits, tokens, error);
}

const struct token *answer_find(const struct token *map, const char *name)
{
    const struct token *t = map + 1;
    for (uint32_t i = 0; map->type == TOKEN_MAP && i < map->len; i++) {
        const struct token *value = t + 1;
        if (t->type == TOKEN_STRING && t->len == strlen(name) &&
            memcmp(t->bytes, name, t->len) == 0)
            return value;
        t = value + value->size;
    }
    return NULL;
}

void answer_write_problem(struct buf *out, const struct token *problem)
{
    const struct token *file = answer_find(problem, "file"), *line = answer_find(problem, "line"),
                       *message = answer_find(problem, "message");
    if (file == NULL || line == NULL || message == NULL)
        return;
    buf_append(out, file->bytes, file->len);
    if (line->number > 0)
        buf_printf(out, ":%.0f", line->number);
    buf_append_text(out, ": ");
    buf_append(out, message->bytes, message->len);
}
