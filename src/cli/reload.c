/* reload.c: `tidemill reload` and `tidemill rollback RULE`: ask the running engine, and show what
 * it answers (supervisor/reloads.h) when every worker runs it. */
#include "base/terminal.h"
#include "cli/answer.h"
#include "cli/cli.h"
#include "cli/table.h"
#include "supervisor/socket.h"

#include <stdio.h>
#include <unistd.h>

enum { PATIENCE_S = 30 };

static void add(struct table *table, const struct token *change, const char *name)
{
    const struct token *text = answer_find(change, name);
    if (text != NULL && text->len > 0)
        table_add(table, text->bytes, text->len);
    else
        table_add_text(table, "-");
}

static void show_changes(struct buf *out, const struct token *changes)
{
    struct table table = {.columns = 3};
    const struct token *change = changes + 1;
    if (changes == NULL || changes->len == 0) {
        buf_append_text(out, "nothing has changed\n");
        return;
    }
    table_add_text(&table, "RULE");
    table_add_text(&table, "FROM");
    table_add_text(&table, "TO");
    for (uint32_t i = 0; i < changes->len; i++, change += change->size) {
        add(&table, change, "rule");
        add(&table, change, "from");
        add(&table, change, "to");
    }
    table_print(&table, out, 0, terminal_has_colour(STDOUT_FILENO));
    table_fini(&table);
}

/* Files that were refused. */
static bool show_problems(struct buf *out, const struct token *problems)
{
    const struct token *problem = problems + 1;
    for (uint32_t i = 0; problems != NULL && i < problems->len; i++, problem += problem->size) {
        answer_write_problem(out, problem);
        buf_append_text(out, "\n");
    }
    return problems != NULL && problems->len > 0;
}

/* Workers that could not load what was found sound. */
static bool show_refusals(struct buf *out, const struct token *refusals)
{
    const struct token *refusal = refusals + 1;
    for (uint32_t i = 0; refusals != NULL && i < refusals->len; i++, refusal += refusal->size) {
        const struct token *worker = answer_find(refusal, "worker"),
                           *message = answer_find(refusal, "message");
        if (worker == NULL || message == NULL)
            continue;
        buf_printf(out, "worker %.0f goes on with the rules of before: %.*s\n", worker->number,
                   (int)message->len, message->bytes);
    }
    return refusals != NULL && refusals->len > 0;
}

static int show(const struct token *answer, struct error *error)
{
    const struct token *refused = answer_find(answer, "error");
    if (refused != NULL)
        return error_set(error, ERROR_RULE, "%.*s", (int)refused->len, refused->bytes);
    struct buf out = {0}, mistakes = {0};
    show_changes(&out, answer_find(answer, "changes"));
    bool has_failed = show_problems(&mistakes, answer_find(answer, "problems"));
    has_failed |= show_refusals(&mistakes, answer_find(answer, "refusals"));
    int failed = 0;
    if (fwrite(out.data, 1, out.len, stdout) != out.len || fflush(stdout) != 0)
        failed = error_set(error, ERROR_SYSTEM, "cannot write to standard output");
    fwrite(buf_text(&mistakes), 1, mistakes.len, stderr);
    if (failed == 0 && has_failed)
        failed = error_set(error, ERROR_RULE, "what is named above stays as it was");
    buf_fini(&out);
    buf_fini(&mistakes);
    return failed;
}

static int ask(const struct config *config, const char *question)
{
    struct buf answer = {0}, packed = {0};
    struct tokens tokens = {0};
    struct error error;
    int failed = control_socket_ask(config->control, question, PATIENCE_S, &answer, &error);
    if (failed == 0)
        failed = answer_read(&answer, &packed, &tokens, &error);
    if (failed == 0)
        failed = show(tokens.list, &error);
    buf_fini(&answer);
    buf_fini(&packed);
    tokens_fini(&tokens);
    return failed != 0 ? cli_fail(&error) : EXIT_FINE;
}

int cli_reload(const struct config *config, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return ask(config, "reload");
}

int cli_rollback(const struct config *config, int argc, char **argv)
{
    char question[128];
    (void)argc;
    snprintf(question, sizeof question, "rollback %.100s", argv[0]);
    return ask(config, question);
}
