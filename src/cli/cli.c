/* cli.c: see cli.h. */
#include "cli/cli.h"

#include "base/escape.h"
#include "base/excerpt.h"
#include "base/terminal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Sentences carry names and replies of others: they are made safe for the terminal here, once. */
static void say(const char *text)
{
    struct buf line = {0};
    buf_append_text(&line, "tidemill: ");
    escape_text(&line, text, strlen(text));
    fprintf(stderr, "%s\n", buf_text(&line));
    buf_fini(&line);
}

int cli_fail(const struct error *error)
{
    say(error->text);
    return error->code == ERROR_USAGE ? EXIT_USAGE : EXIT_FAILED;
}

int cli_misconfigured(const struct config *config, const struct error *error)
{
    const struct config_mistake *m = &config->mistake;
    struct excerpt excerpt = {
        .text = m->text, .line = m->line, .column = m->column, .width = m->width};
    struct buf shown = {0};
    int status = cli_fail(error);
    excerpt_append(&shown, &excerpt, terminal_has_colour(STDERR_FILENO));
    fputs(buf_text(&shown), stderr);
    buf_fini(&shown);
    return status;
}

int cli_misuse(const char *command, const char *format, ...)
{
    char sentence[1024], text[1200];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    snprintf(text, sizeof text, "%s; see tidemill %s --help", sentence, command);
    say(text);
    return EXIT_USAGE;
}

bool cli_is_rule_name(const char *text)
{
    static const char shadow[] = "shadow:";
    if (strncmp(text, shadow, sizeof shadow - 1) == 0)
        text += sizeof shadow - 1;
    size_t len = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-");
    return len >= 1 && len <= 64 && text[len] == '\0';
}
