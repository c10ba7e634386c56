/* cli.h: the commands. Each gets what was configured and its positional arguments (their number is
 * checked), and returns the exit status: 0 fine, 1 failed, 2 wrong usage. What it prints on
 * standard output is its result; all else is on standard error. */
#ifndef TIDEMILL_CLI_CLI_H
#define TIDEMILL_CLI_CLI_H

#include "base/error.h"
#include "config/config.h"

#include <stdbool.h>

enum { EXIT_FINE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

int cli_run(const struct config *config, int argc, char **argv);
int cli_check(const struct config *config, int argc, char **argv);
int cli_test(const struct config *config, int argc, char **argv);
int cli_status(const struct config *config, int argc, char **argv);
int cli_reload(const struct config *config, int argc, char **argv);
int cli_rollback(const struct config *config, int argc, char **argv);
int cli_send(const struct config *config, int argc, char **argv);
int cli_tail(const struct config *config, int argc, char **argv);
int cli_dlq(const struct config *config, int argc, char **argv);
int cli_state(const struct config *config, int argc, char **argv);
int cli_init(const struct config *config, int argc, char **argv);
int cli_shadow(const struct config *config, int argc, char **argv);
int cli_timers(const struct config *config, int argc, char **argv);
int cli_replay(const struct config *config, int argc, char **argv);
int cli_explain(const struct config *config, int argc, char **argv);

/* Says "tidemill: SENTENCE" on standard error and returns the exit status of the error's code. */
int cli_fail(const struct error *error);

/* The same where config_load failed: shows the line of the settings file that is meant, too. */
int cli_misconfigured(const struct config *config, const struct error *error);

/* ... for `check`, which may have been asked for JSON. */
int cli_check_misconfigured(const struct config *config, const struct error *error);

/* The same for wrong usage of a command that only it can see; points at its help. */
int cli_misuse(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* [A-Za-z0-9_-]{1,64}, behind "shadow:" where it is about what a shadow rule keeps. */
bool cli_is_rule_name(const char *text);

#endif
