/* tell.c: what the kernel has to say to people. See kernel_calls.h. */
#include "rules/kernel_calls.h"

#include "base/log.h"

#include <stdio.h>

void tell_line(const char *level, const char *rule, const char *version, const char *text)
{
    enum log_level parsed = LOG_INFO;
    log_level_parse(level, &parsed);
    char kind[96];
    snprintf(kind, sizeof kind, "rule_%s_%s", level, rule);
    log_repeat(parsed, kind, text, "rule", rule, version[0] != '\0' ? "version" : NULL, version,
               NULL);
}

void tell_failing(const char *rule, const char *version, bool is_failing, const char *reason,
                  const char *message)
{
    if (is_failing)
        log_line(LOG_ERROR, "rule_failing", "a rule keeps failing", "rule", rule, "version",
                 version, "reason", reason, "cause", message, NULL);
    else
        log_line(LOG_INFO, "rule_recovered", "a rule that kept failing does its work again", "rule",
                 rule, "version", version, NULL);
}

void tell_fed_back(const char *rule, const char *version, const char *stream)
{
    log_line(LOG_WARN, "rule_feeds_itself",
             "a rule writes to a stream that it reads itself; its own events come back to it: let "
             "`when` leave them out, or make sure that they end",
             "rule", rule, "version", version, "stream", stream, NULL);
}
