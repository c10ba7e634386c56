/* timers.c: `tidemill timers`: the words of the command; list is in timers_list.c, drop in
 * timers_drop.c. */
#include "cli/timers.h"

#include "base/nearest.h"
#include "cli/cli.h"

#include <string.h>

enum verb { VERB_LIST, VERB_DROP, VERB_COUNT };

static const char *const verbs[VERB_COUNT] = {"list", "drop"};

static int refuse_verb(const char *word)
{
    struct nearest known;
    nearest_init(&known, word);
    for (size_t i = 0; i < VERB_COUNT; i++)
        nearest_offer(&known, verbs[i]);
    if (known.name != NULL)
        return cli_misuse("timers", "timers has no %s; did you mean %s?", word, known.name);
    return cli_misuse("timers", "timers has no %s; it knows list and drop", word);
}

/* 0 when the words make sense, else an exit status. */
static int check_words(enum verb verb, const struct config *config, int argc, char **argv)
{
    const char *rule = config->timers.rule;
    bool has_filter = rule != NULL || config->timers.key != NULL || config->timers.name != NULL;
    if (argc > 1)
        return cli_misuse(
            "timers", "timers %s does not know what to do with \"%s\"; a rule is named by --rule",
            argv[0], argv[1]);
    if (rule != NULL && !cli_is_rule_name(rule))
        return cli_misuse("timers", "%s is no name of a rule: 1 to 64 of A-Z a-z 0-9 _ -", rule);
    if (verb == VERB_DROP && !has_filter && !config->timers.is_sure)
        return cli_misuse("timers", "timers drop would drop every timer of every rule for good: "
                                    "add --rule, --key, --name or --yes");
    return 0;
}

int cli_timers(const struct config *config, int argc, char **argv)
{
    struct timers_command t = {.config = config};
    struct error error;
    bool is_broken = false;
    enum verb verb = VERB_LIST;
    while (verb < VERB_COUNT && strcmp(argv[0], verbs[verb]) != 0)
        verb++;
    if (verb == VERB_COUNT)
        return refuse_verb(argv[0]);
    int status = check_words(verb, config, argc, argv);
    if (status != 0)
        return status;
    int code = client_open(config->redis, &t.client, &error);
    if (code == 0)
        code = partitions_find(t.client, config, &t.partitions, &error);
    if (code == 0)
        code = pending_find(t.client, config, &t.partitions, &t.pending, &error);
    if (code == 0)
        code = verb == VERB_LIST ? timers_list(&t, &is_broken, &error)
                                 : timers_drop_selected(&t, &error);
    status = code != 0 ? cli_fail(&error) : is_broken ? EXIT_FAILED : EXIT_FINE;
    pending_fini(&t.pending);
    partitions_fini(&t.partitions);
    client_close(t.client);
    return status;
}
