/* check.c: `tidemill check [DIR]`: every mistake in every rule, without running one. */
#include "base/terminal.h"
#include "cli/cli.h"
#include "rules/problems.h"
#include "sandbox/stack.h"

#include <unistd.h>

struct check {
    const struct config *config;
    const char *dir;
};

static int check_on_stack(void *context)
{
    const struct check *check = context;
    struct rulebook_options options = {.config = check->config, .dir = check->dir};
    struct edition *edition;
    struct rulebook *book;
    struct error error;
    if (edition_read(check->dir, &edition, &error) != 0)
        return cli_fail(&error);
    int failed = rulebook_load(&options, edition, &book, &error);
    edition_destroy(edition);
    if (failed != 0)
        return cli_fail(&error);
    bool is_sound = problems_show(book, stdout);
    if (is_sound && terminal_is_watched(STDOUT_FILENO))
        printf("%zu rule%s, no mistakes\n", rulebook_count(book),
               rulebook_count(book) == 1 ? "" : "s");
    rulebook_release(book);
    return is_sound ? EXIT_FINE : EXIT_FAILED;
}

int cli_check(const struct config *config, int argc, char **argv)
{
    struct check check = {.config = config, .dir = argc > 0 ? argv[0] : config->rules};
    struct error error;
    int status;
    return stack_run(check_on_stack, &check, &status, &error) != 0 ? cli_fail(&error) : status;
}
