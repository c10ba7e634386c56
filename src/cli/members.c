/* members.c: see members.h. The text is valid, so nothing is checked: quotes and brackets are
 * followed. */
#include "cli/members.h"

#include <string.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* At an opening quote: the place behind the closing one. */
static const char *skip_string(const char *p, const char *end)
{
    for (p++; p < end && *p != '"'; p++) {
        if (*p == '\\')
            p++;
    }
    return p < end ? p + 1 : end;
}

static const char *skip_value(const char *p, const char *end)
{
    size_t open = 0;
    while (p < end) {
        if (*p == '"') {
            p = skip_string(p, end);
            if (open == 0)
                return p;
            continue;
        }
        if (open == 0 && (is_blank(*p) || *p == ',' || *p == '}' || *p == ']'))
            return p;
        open += *p == '{' || *p == '[';
        open -= *p == '}' || *p == ']';
        p++;
        if (open == 0 && (p[-1] == '}' || p[-1] == ']'))
            return p;
    }
    return end;
}

bool members_next(const char **at, const char *end, struct member *member)
{
    const char *p = *at;
    while (p < end && (is_blank(*p) || *p == '{' || *p == ','))
        p++;
    if (p >= end || *p != '"')
        return false;
    const char *name_end = skip_string(p, end);
    member->name = p + 1;
    member->name_len = (size_t)(name_end - p) - 2;
    for (p = name_end; p < end && (is_blank(*p) || *p == ':'); p++)
        continue;
    member->value = p;
    *at = skip_value(p, end);
    member->value_len = (size_t)(*at - p);
    return true;
}
