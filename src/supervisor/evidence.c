/* evidence.c: see evidence.h. */
#include "supervisor/evidence.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

enum { DEATHS_TO_BLAME = 3 };

static bool is_own_doing(int number)
{
    return number == SIGSEGV || number == SIGBUS || number == SIGILL || number == SIGFPE ||
           number == SIGABRT;
}

/* The same event, rule and version? */
static bool is_same(const struct blame *a, const struct blame *b)
{
    return a->ms == b->ms && a->seq == b->seq && a->attempts == b->attempts &&
           strcmp(a->stream, b->stream) == 0 && strcmp(a->rule, b->rule) == 0 &&
           strcmp(a->version, b->version) == 0 && strcmp(a->partition, b->partition) == 0;
}

/* How often it has been suspected, this time included. */
static unsigned suspect(struct suspects *suspects, const struct blame *blame)
{
    for (unsigned i = 0; i < SUSPECTS_MOST; i++)
        if (suspects->list[i].deaths > 0 && is_same(&suspects->list[i].blame, blame))
            return ++suspects->list[i].deaths;
    suspects->list[suspects->next] = (struct suspect){.blame = *blame, .deaths = 1};
    suspects->next = (suspects->next + 1) % SUSPECTS_MOST;
    return 1;
}

bool evidence_judge(struct suspects *suspects, const struct death *death, struct blame *blame)
{
    const struct note *note = death->note;
    if (note_rule(note) == 0 || death->rule[0] == '\0')
        return false;
    struct blame found = {.ms = note->ms, .seq = note->seq, .attempts = note->attempts};
    snprintf(found.partition, sizeof found.partition, "%s", note->partition);
    snprintf(found.stream, sizeof found.stream, "%s", note->stream);
    snprintf(found.rule, sizeof found.rule, "%s", death->rule);
    snprintf(found.version, sizeof found.version, "%s", death->version);
    bool is_hang = death->hang_ms > 0 && death->signal == SIGKILL;
    snprintf(found.reason, sizeof found.reason, "%s", is_hang ? "hang" : "crash");
    if (is_hang) {
        snprintf(found.message, sizeof found.message,
                 "ran longer than %lld ms of CPU without end (limits.hard_ms)",
                 (long long)death->hang_ms);
    } else if (is_own_doing(death->signal)) {
        snprintf(found.message, sizeof found.message,
                 "the worker died of signal %d (%s) in this rule", death->signal,
                 strsignal(death->signal));
    } else {
        if (suspect(suspects, &found) < DEATHS_TO_BLAME)
            return false;
        if (death->signal != 0)
            snprintf(found.message, sizeof found.message,
                     "the worker died in this rule %d times, at last of signal %d (%s)",
                     DEATHS_TO_BLAME, death->signal, strsignal(death->signal));
        else
            snprintf(found.message, sizeof found.message, "the worker ended in this rule %d times",
                     DEATHS_TO_BLAME);
    }
    *blame = found;
    return true;
}
