/* check.c: `tidemill check [DIR]`: every mistake in every rule, without running one. For people as
 * text, and for editors and CI as one array of JSON, which then holds whatever else goes wrong,
 * too. */
#include "base/terminal.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "rules/problems.h"
#include "sandbox/stack.h"

#include <unistd.h>

struct check {
    const struct config *config;
    const char *dir;
};

static int write_array(const struct rule_problem *problems, size_t count, int status)
{
    struct buf out = {0};
    struct error error;
    buf_append(&out, "[", 1);
    for (size_t i = 0; i < count; i++) {
        if (problem_is_repeated(problems, i))
            continue;
        buf_append_text(&out, i > 0 ? ",\n " : "");
        problem_write(&problems[i], &out);
    }
    buf_append_text(&out, "]\n");
    if (output_write(&out, &error) != 0)
        status = cli_fail(&error);
    buf_fini(&out);
    return status;
}

/* What is wrong with something else than the text of a rule. */
static int refuse(const struct config *config, const char *file, const struct error *error)
{
    struct rule_problem problem = {.file = file, .message = error->text};
    int status = error->code == ERROR_USAGE ? EXIT_USAGE : EXIT_FAILED;
    return config->check.format == CHECK_JSON ? write_array(&problem, 1, status) : cli_fail(error);
}

int cli_check_misconfigured(const struct config *config, const struct error *error)
{
    const struct config_mistake *m = &config->mistake;
    struct rule_problem problem = {
        .file = m->file,
        .line = m->line,
        .column = m->column,
        .width = m->width,
        .message = m->sentence,
    };
    if (config->check.format != CHECK_JSON)
        return cli_misconfigured(config, error);
    if (m->file == NULL)
        return refuse(config, config->file != NULL ? config->file : "", error);
    return write_array(&problem, 1, error->code == ERROR_USAGE ? EXIT_USAGE : EXIT_FAILED);
}

static int show(const struct check *check, struct rulebook *book)
{
    size_t count;
    const struct rule_problem *problems = rulebook_problems(book, &count);
    int status = rulebook_is_sound(book) ? EXIT_FINE : EXIT_FAILED;
    if (check->config->check.format == CHECK_JSON)
        return write_array(problems, count, status);
    (void)problems_show(book, stdout);
    if (status == EXIT_FINE && terminal_is_watched(STDOUT_FILENO))
        printf("%zu rule%s, no mistakes\n", rulebook_count(book),
               rulebook_count(book) == 1 ? "" : "s");
    return fflush(stdout) == 0 ? status : EXIT_FAILED;
}

static int check_on_stack(void *context)
{
    const struct check *check = context;
    struct rulebook_options options = {.config = check->config, .dir = check->dir};
    struct edition *edition;
    struct rulebook *book;
    struct error error;
    if (edition_read(check->dir, &edition, &error) != 0)
        return refuse(check->config, check->dir, &error);
    int failed = rulebook_load(&options, edition, &book, &error);
    edition_destroy(edition);
    if (failed != 0)
        return refuse(check->config, check->dir, &error);
    int status = show(check, book);
    rulebook_release(book);
    return status;
}

int cli_check(const struct config *config, int argc, char **argv)
{
    struct check check = {.config = config, .dir = argc > 0 ? argv[0] : config->rules};
    struct error error;
    int status;
    return stack_run(check_on_stack, &check, &status, &error) != 0 ? cli_fail(&error) : status;
}
