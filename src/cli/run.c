/* run.c: `tidemill run`: checks the rules, then supervises workers until it is told to stop. */
#include "cli/cli.h"
#include "cli/embedded.h"
#include "supervisor/supervisor.h"
#include "supervisor/validate.h"

#include <signal.h>
#include <stdio.h>

int cli_run(const struct config *config, int argc, char **argv)
{
    struct error error = {0};
    struct edition *edition = NULL;
    struct embedded *embedded = NULL;
    struct config own = *config;
    struct findings findings = {0};
    int status = EXIT_FINE;
    (void)argc;
    (void)argv;
    signal(SIGPIPE, SIG_IGN);
    int failed = edition_read(config->rules, &edition, &error);
    if (failed == 0)
        failed = validate_now(config, edition, &findings, &error);
    if (failed == 0 && !findings_show(&findings, stderr))
        failed = error_set(&error, ERROR_RULE, "the rules in %s have mistakes; nothing was started",
                           config->rules);
    if (failed == 0 && own.embedded != NULL)
        failed = embedded_start(own.embedded, &embedded, &error);
    if (embedded != NULL)
        own.redis = embedded_url(embedded);
    if (failed == 0)
        failed = supervisor_run(&own, edition, &findings, &status, &error);
    else
        edition_destroy(edition);
    findings_fini(&findings);
    embedded_stop(embedded);
    return failed != 0 ? cli_fail(&error) : status;
}
