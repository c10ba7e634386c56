/* version.c: names the version of a rule. See kernel_calls.h. */
#include "rules/kernel_calls.h"

uint32_t version_hash(const char *text, size_t len)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)text[i]) * 16777619u;
    return hash;
}
