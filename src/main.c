/* main.c: finds the command, reads its options, calls it. Nothing else happens here.
 *
 * A command exists when it has a row below: only then do help and manual mention it. What they say
 * is in config/command.c, its options are rows of config/options.c. */
#include "base/log.h"
#include "base/nearest.h"
#include "base/terminal.h"
#include "base/version.h"
#include "cli/cli.h"
#include "config/help.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef int command_call(const struct config *config, int argc, char **argv);

static command_call *const calls[COMMAND_COUNT] = {
    [COMMAND_RUN] = cli_run,           [COMMAND_CHECK] = cli_check,
    [COMMAND_TEST] = cli_test,         [COMMAND_STATUS] = cli_status,
    [COMMAND_SEND] = cli_send,         [COMMAND_TAIL] = cli_tail,
    [COMMAND_DLQ] = cli_dlq,           [COMMAND_STATE] = cli_state,
    [COMMAND_TIMERS] = cli_timers,     [COMMAND_RELOAD] = cli_reload,
    [COMMAND_ROLLBACK] = cli_rollback, [COMMAND_SHADOW] = cli_shadow,
    [COMMAND_EXPLAIN] = cli_explain,   [COMMAND_REPLAY] = cli_replay,
    [COMMAND_INIT] = cli_init,
};

static uint32_t commands_that_work(void)
{
    uint32_t works = 0;
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (calls[i] != NULL)
            works |= COMMAND_BIT(i);
    }
    return works;
}

/* Takes the text. A full disk behind standard output is a failure as any other. */
static int print_out(struct buf *text)
{
    size_t written = fwrite(text->data, 1, text->len, stdout);
    bool is_whole = written == text->len && fflush(stdout) == 0;
    buf_fini(text);
    return is_whole ? EXIT_FINE : EXIT_FAILED;
}

static int show_help(const struct command *command)
{
    struct buf text = {0};
    bool is_coloured = terminal_has_colour(STDOUT_FILENO);
    if (command == NULL)
        help_program(&text, commands_that_work(), is_coloured);
    else
        help_command(&text, command, is_coloured);
    return print_out(&text);
}

static int show_version(void)
{
    printf("tidemill %s\n", TIDEMILL_VERSION);
    return fflush(stdout) == 0 ? EXIT_FINE : EXIT_FAILED;
}

/* For scripts/manual. */
static int show_manual(const char *part)
{
    struct buf text = {0};
    if (part == NULL || !help_manual(&text, part, commands_that_work())) {
        buf_fini(&text);
        return EXIT_USAGE;
    }
    return print_out(&text);
}

static const struct command *find_command(const char *name)
{
    const struct command *command = command_find(name);
    return command == NULL || calls[command_id_of(command)] == NULL ? NULL : command;
}

static int refuse_command(const char *name)
{
    struct nearest known;
    struct error error;
    nearest_init(&known, name);
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (calls[i] != NULL)
            nearest_offer(&known, command_table[i].name);
    }
    if (name[0] == '-')
        error_set(&error, ERROR_USAGE,
                  "%s stands before the command: tidemill COMMAND [OPTIONS]; see tidemill --help",
                  name);
    else if (known.name != NULL)
        error_set(&error, ERROR_USAGE, "there is no command %s; did you mean %s?", name,
                  known.name);
    else
        error_set(&error, ERROR_USAGE, "there is no command %s; see tidemill --help", name);
    return cli_fail(&error);
}

static int run_command(const struct command *command, int argc, char **argv)
{
    struct config config;
    struct error error;
    int status;
    if (config_load(command, &argc, argv, &config, &error) != 0) {
        bool is_check = command_id_of(command) == COMMAND_CHECK;
        status = is_check ? cli_check_misconfigured(&config, &error)
                          : cli_misconfigured(&config, &error);
    } else if (config.wants_help) {
        status = show_help(command);
    } else if (config.wants_version) {
        status = show_version();
    } else {
        log_configure((enum log_level)config.log_level, (enum log_format)config.log_format);
        status = calls[command_id_of(command)](&config, argc, argv);
        log_flush_held(UINT64_MAX);
    }
    config_fini(&config);
    return status;
}

int main(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : NULL;
    signal(SIGPIPE, SIG_DFL); /* some parents have it ignored; links never raise it */
    if (word == NULL) {
        struct buf text = {0};
        help_program(&text, commands_that_work(), terminal_has_colour(STDERR_FILENO));
        fputs(buf_text(&text), stderr);
        buf_fini(&text);
        return EXIT_USAGE;
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
        return show_help(NULL);
    if (strcmp(word, "--version") == 0)
        return show_version();
    if (strcmp(word, "--man") == 0)
        return show_manual(argv[2]);
    bool asks_help =
        strcmp(word, "help") == 0; /* tidemill help COMMAND is as good as tidemill COMMAND --help */
    if (asks_help && argc == 2)
        return show_help(NULL);
    const struct command *command = find_command(asks_help ? argv[2] : word);
    if (command == NULL)
        return refuse_command(asks_help ? argv[2] : word);
    return asks_help ? show_help(command) : run_command(command, argc - 2, argv + 2);
}
