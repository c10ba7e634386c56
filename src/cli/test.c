/* test.c: `tidemill test [DIR]`: the specs and cases of a project, in this process. */
#include "base/terminal.h"
#include "cli/cli.h"
#include "rules/kit.h"
#include "sandbox/stack.h"

#include <stdio.h>
#include <unistd.h>

static int test_on_stack(void *context)
{
    struct error error;
    int status;
    return kit_run(context, &status, &error) != 0 ? cli_fail(&error) : status;
}

int cli_test(const struct config *config, int argc, char **argv)
{
    struct kit_options options = {
        .config = config,
        .dir = argc > 0 ? argv[0] : ".",
        .is_watched = terminal_is_watched(STDOUT_FILENO),
        .is_coloured = terminal_has_colour(STDOUT_FILENO),
    };
    struct error error;
    int status;
    if (stack_run(test_on_stack, &options, &status, &error) != 0)
        return cli_fail(&error);
    return fflush(stdout) == 0 ? status : EXIT_FAILED;
}
