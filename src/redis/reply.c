/* reply.c: small questions about one reply; the trees are made by parser.c. */
#include "redis/reply.h"

#include <limits.h>
#include <string.h>

static bool has_first_word(const char *text, size_t len, const char *word)
{
    size_t word_len = strlen(word);
    return len >= word_len && memcmp(text, word, word_len) == 0 &&
           (len == word_len || text[word_len] == ' ');
}

bool reply_is_text(const struct reply *r, const char *text)
{
    size_t len = strlen(text);
    return (r->type == REPLY_STRING || r->type == REPLY_STATUS) && r->len == len &&
           memcmp(r->text, text, len) == 0;
}

bool reply_is_error(const struct reply *r, const char *prefix)
{
    return r->type == REPLY_ERROR && (prefix == NULL || has_first_word(r->text, r->len, prefix));
}

/* Strict: an optional minus, digits, nothing else, within the range of long long. */
static bool parse_decimal(const char *text, size_t len, long long *number)
{
    bool is_negative = len > 0 && text[0] == '-';
    size_t i = is_negative;
    if (i == len)
        return false;
    long long value = 0; /* kept negative: LLONG_MIN has no positive twin */
    for (; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_sub_overflow(value, text[i] - '0', &value))
            return false;
    }
    if (!is_negative && value == LLONG_MIN)
        return false;
    *number = is_negative ? value : -value;
    return true;
}

long long reply_number(const struct reply *r, long long otherwise)
{
    long long number;
    if (r->type == REPLY_INTEGER)
        return r->integer;
    if (r->type == REPLY_STRING && parse_decimal(r->text, r->len, &number))
        return number;
    return otherwise;
}

const struct reply *reply_field(const struct reply *r, const char *name)
{
    if (r->type != REPLY_ARRAY)
        return NULL;
    for (uint32_t i = 0; i + 1 < r->count; i += 2)
        if (reply_is_text(r->elements[i], name))
            return r->elements[i + 1];
    return NULL;
}

bool reply_means_later(const struct reply *r)
{
    static const char *const words[] = {"OOM",         "READONLY",   "LOADING", "MISCONF",
                                        "NOREPLICAS",  "MASTERDOWN", "BUSY",    "TRYAGAIN",
                                        "CLUSTERDOWN", "NOAUTH"};
    static const char behind[] =
        "because of: "; /* -EXECABORT Transaction discarded because of: OOM command … */
    if (r->type != REPLY_ERROR)
        return false;
    const char *text = r->text;
    if (has_first_word(text, r->len, "EXECABORT")) {
        const char *cause = strstr(text, behind);
        if (cause != NULL)
            text = cause + sizeof behind - 1;
    }
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (has_first_word(text, r->len - (size_t)(text - r->text), words[i]))
            return true;
    return false;
}
