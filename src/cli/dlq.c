/* dlq.c: dead letters for people: list and show; retry and drop are in dlq_edit.c. */
#include "cli/dlq.h"

#include "base/nearest.h"
#include "base/terminal.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/selection.h"
#include "redis/command.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { PAGE_LETTERS = 50 };

/* Letters on their way from Redis to standard output. */
struct show {
    const struct dlq *dlq;
    const struct letter_place *page; /* of the replies to come */
    size_t heard;
    bool is_table, has_partition;
    struct table table;
    struct buf out;
};

static void on_letter(void *context, const struct reply *reply)
{
    struct show *s = context;
    const struct letter_place *place = &s->page[s->heard++];
    const struct keys *keys = &s->dlq->partitions.list[place->partition];
    struct letter_view l;
    size_t len;
    if (reply->type != REPLY_ARRAY || reply->count != 1 ||
        !letter_view_read(&l, keys, reply->elements[0], place->is_retrying))
        return; /* gone since it was found: the engine or another shell took it */
    const char *stream = letter_view_field(&l, "stream", &len);
    int codec = config_stream_codec(s->dlq->config, stream, len);
    if (s->is_table)
        letter_view_add_row(&l, &s->table, s->has_partition);
    else if (s->dlq->config->is_json)
        letter_view_append_json(&l, codec, &s->out);
    else
        letter_view_append_text(&l, codec, &s->out);
}

/* Reads the letters of a selection again, in its order, a page at a time. */
static int show_all(struct show *s, const struct selection *selection, struct error *error)
{
    int code = 0;
    for (size_t done = 0; code == 0 && done < selection->count;) {
        size_t count =
            selection->count - done < PAGE_LETTERS ? selection->count - done : PAGE_LETTERS;
        struct buf *commands = client_out(s->dlq->client);
        s->page = &selection->list[done];
        s->heard = 0;
        for (size_t i = 0; i < count; i++) {
            const struct buf *key = letter_place_key(&s->page[i], &s->dlq->partitions);
            command_begin(commands, 4);
            command_argument(commands, "XRANGE", 6);
            command_argument(commands, key->data, key->len);
            command_argument_text(commands, s->page[i].id);
            command_argument_text(commands, s->page[i].id);
        }
        code = client_run(s->dlq->client, count, on_letter, s, error);
        if (code == 0)
            code = output_write(&s->out, error);
        done += count;
    }
    return code;
}

static size_t terminal_width(void)
{
    struct winsize size;
    if (!terminal_is_watched(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0)
        return 0;
    return size.ws_col;
}

static int print_table(struct show *s, const struct selection *selection, struct error *error)
{
    for (size_t i = 0; i < s->dlq->partitions.count; i++)
        s->has_partition = s->has_partition || s->dlq->partitions.list[i].tag.len > 0;
    letter_view_add_heading(&s->table, s->has_partition);
    int code = show_all(s, selection, error);
    if (code == 0 && s->table.cells > s->table.columns) {
        table_print(&s->table, &s->out, terminal_width(), terminal_has_colour(STDOUT_FILENO));
        code = output_write(&s->out, error);
    }
    return code;
}

static int list(struct dlq *d, struct error *error)
{
    struct selection selection = {0};
    struct show s = {.dlq = d, .is_table = !d->config->is_json};
    size_t most = d->config->count > 0 ? (size_t)d->config->count : SIZE_MAX;
    int code =
        selection_find(d->client, d->config, &d->partitions, d->config->count, &selection, error);
    if (code == 0) {
        selection_sort(&selection, SELECTION_NEWEST_FIRST);
        bool is_cut = selection.count >= most;
        selection.count = is_cut ? most : selection.count;
        code = s.is_table ? print_table(&s, &selection, error) : show_all(&s, &selection, error);
        if (code == 0 && is_cut && terminal_is_watched(STDERR_FILENO))
            fprintf(stderr, "the newest %zu letters; --count 0 lists all\n", most);
        if (code == 0 && selection.count == 0 && terminal_is_watched(STDERR_FILENO))
            fputs("no dead letters\n", stderr);
    }
    selection_fini(&selection);
    table_fini(&s.table);
    buf_fini(&s.out);
    return code;
}

static int show(struct dlq *d, const char *id, struct error *error)
{
    struct selection selection = {0};
    struct show s = {.dlq = d};
    int code = selection_find_id(d->client, &d->partitions, id, &selection, error);
    if (code == 0)
        code = show_all(&s, &selection, error);
    selection_fini(&selection);
    buf_fini(&s.out);
    return code;
}

/* -- The command -- */

enum verb { VERB_LIST, VERB_SHOW, VERB_RETRY, VERB_DROP, VERB_COUNT };

static const char *const verbs[VERB_COUNT] = {"list", "show", "retry", "drop"};

static int refuse_verb(const char *word)
{
    struct nearest known;
    nearest_init(&known, word);
    for (size_t i = 0; i < VERB_COUNT; i++)
        nearest_offer(&known, verbs[i]);
    if (known.name != NULL)
        return cli_misuse("dlq", "dlq has no %s; did you mean %s?", word, known.name);
    return cli_misuse("dlq", "dlq has no %s; it knows list, show, retry and drop", word);
}

/* 0 when the words make sense, else an exit status. */
static int check_words(enum verb verb, const struct config *config, int ids, char **argv)
{
    bool has_filter = config->dlq.rule != NULL || config->dlq.reason != NULL;
    if (verb == VERB_LIST)
        return ids == 0
                   ? 0
                   : cli_misuse("dlq", "dlq list does not know what to do with \"%s\"", argv[1]);
    if (verb == VERB_SHOW)
        return ids == 1 ? 0 : cli_misuse("dlq", "dlq show needs the ID of one letter");
    if (ids > 0 && (config->dlq.is_all || has_filter))
        return cli_misuse("dlq", "dlq %s takes either IDs, or --all with --rule and --reason",
                          argv[0]);
    if (ids == 0 && !config->dlq.is_all)
        return cli_misuse("dlq", "dlq %s needs the IDs of letters, or --all", argv[0]);
    if (verb == VERB_DROP && config->dlq.is_all && !has_filter && !config->dlq.is_sure)
        return cli_misuse(
            "dlq",
            "dlq drop --all would drop every letter for good: add --rule, --reason or --yes");
    return 0;
}

static int run_verb(enum verb verb, struct dlq *d, int ids, char **argv)
{
    struct error error;
    int code;
    switch (verb) {
    case VERB_LIST:
        code = list(d, &error);
        break;
    case VERB_SHOW:
        code = show(d, argv[1], &error);
        break;
    case VERB_RETRY:
        return dlq_retry(d, argv + 1, ids);
    default:
        return dlq_drop(d, argv + 1, ids);
    }
    return code == 0 ? EXIT_FINE : cli_fail(&error);
}

int cli_dlq(const struct config *config, int argc, char **argv)
{
    struct dlq d = {.config = config};
    struct error error;
    enum verb verb = VERB_LIST;
    while (verb < VERB_COUNT && strcmp(argv[0], verbs[verb]) != 0)
        verb++;
    if (verb == VERB_COUNT)
        return refuse_verb(argv[0]);
    int status = check_words(verb, config, argc - 1, argv);
    if (status != 0)
        return status;
    if (client_open(config->redis, &d.client, &error) != 0)
        return cli_fail(&error);
    if (partitions_find(d.client, config, &d.partitions, &error) == 0) {
        status = run_verb(verb, &d, argc - 1, argv);
        partitions_fini(&d.partitions);
    } else {
        status = cli_fail(&error);
    }
    client_close(d.client);
    return status;
}
