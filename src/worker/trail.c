/* trail.c: see trail.h. */
#include "worker/trail.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Copies one word up to a space, and the space. NULL: it is empty, too long, or the last. */
static const char *take_word(const char *at, char *word, size_t size)
{
    size_t len = strcspn(at, " ");
    if (len == 0 || len >= size || at[len] != ' ')
        return NULL;
    memcpy(word, at, len);
    word[len] = '\0';
    return at + len + 1;
}

/* "rule/version". */
static bool split_rule(const char *word, size_t len, char rule[RULE_NAME], char version[16])
{
    const char *slash = memchr(word, '/', len);
    size_t rule_len = slash != NULL ? (size_t)(slash - word) : 0;
    if (rule_len == 0 || rule_len >= RULE_NAME || len - rule_len - 1 > 15)
        return false;
    memcpy(rule, word, rule_len);
    rule[rule_len] = '\0';
    memcpy(version, slash + 1, len - rule_len - 1);
    version[len - rule_len - 1] = '\0';
    return true;
}

bool trail_parse(const char *text, struct trail *out)
{
    struct trail t = {0};
    char number[16], id[48], attempts[16], rule[96], blamed[TRAIL_BLAMED];
    const char *at = take_word(text, number, sizeof number);
    if (at == NULL || (at = take_word(at, id, sizeof id)) == NULL ||
        (at = take_word(at, attempts, sizeof attempts)) == NULL ||
        (at = take_word(at, rule, sizeof rule)) == NULL ||
        (at = take_word(at, blamed, sizeof blamed)) == NULL || strlen(at) >= sizeof t.stream)
        return false;
    char rest;
    if (sscanf(number, "%u%c", &t.deaths, &rest) != 1 ||
        sscanf(id, "%" SCNu64 "-%" SCNu64 "%c", &t.ms, &t.seq, &rest) != 2 ||
        sscanf(attempts, "%" SCNu32 "%c", &t.attempts, &rest) != 1)
        return false;
    if (strcmp(rule, "?") != 0 && !split_rule(rule, strlen(rule), t.rule, t.version))
        return false;
    if (strcmp(blamed, "-") != 0)
        memcpy(t.blamed, blamed, strlen(blamed) + 1);
    memcpy(t.stream, at, strlen(at) + 1);
    *out = t;
    return true;
}

void trail_format(const struct trail *t, char text[TRAIL_NOTE])
{
    snprintf(text, TRAIL_NOTE, "%u %" PRIu64 "-%" PRIu64 " %" PRIu32 " %s%s%s %s %s", t->deaths,
             t->ms, t->seq, t->attempts, t->rule[0] != '\0' ? t->rule : "?",
             t->rule[0] != '\0' ? "/" : "", t->version, t->blamed[0] != '\0' ? t->blamed : "-",
             t->stream);
}

bool trail_is_same_entry(const struct trail *a, const struct trail *b)
{
    return a->ms == b->ms && a->seq == b->seq && a->attempts == b->attempts &&
           strcmp(a->stream, b->stream) == 0;
}

void trail_count_death(struct trail *t)
{
    t->deaths++;
    if (t->rule[0] == '\0' || t->deaths < TRAIL_DEATHS)
        return;
    size_t len = strlen(t->blamed), more = strlen(t->rule) + strlen(t->version) + 3;
    if (len + more <= sizeof t->blamed)
        snprintf(t->blamed + len, sizeof t->blamed - len, "%s%s/%s", len > 0 ? "," : "", t->rule,
                 t->version);
    t->rule[0] = t->version[0] = '\0';
    t->deaths = 0;
}

bool trail_next_blamed(const struct trail *t, size_t *at, char rule[RULE_NAME], char version[16])
{
    while (t->blamed[*at] != '\0') {
        const char *word = t->blamed + *at;
        size_t len = strcspn(word, ",");
        *at += len + (word[len] == ',');
        if (split_rule(word, len, rule, version))
            return true;
    }
    return false;
}

bool trail_blames(const struct trail *t, const char *rule, const char *version)
{
    char other[RULE_NAME], other_version[16];
    for (size_t at = 0; trail_next_blamed(t, &at, other, other_version);)
        if (strcmp(other, rule) == 0 && strcmp(other_version, version) == 0)
            return true;
    return false;
}

struct trail trail_at_rule(const struct trail *found, const char *rule, const char *version)
{
    struct trail t = *found;
    if (t.rule[0] != '\0' && (strcmp(t.rule, rule) != 0 || strcmp(t.version, version) != 0))
        t.deaths = 0;
    snprintf(t.rule, sizeof t.rule, "%s", rule);
    snprintf(t.version, sizeof t.version, "%s", version);
    return t;
}

struct trail trail_at_rest(const struct trail *found)
{
    struct trail t = *found;
    t.rule[0] = t.version[0] = '\0';
    t.deaths = 0;
    return t;
}
