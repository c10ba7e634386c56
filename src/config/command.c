/* command.c: see command.h. Prose that people read: short sentences, the useful case first. */
#include "config/command.h"

#include <string.h>

/* clang-format off */
const struct command command_table[COMMAND_COUNT] = {
    [COMMAND_RUN] = {
        .name = "run", .summary = "process events until stopped", .usage = "[OPTIONS]",
        .about =
            "Reads the streams that the rules in DIR ask for, runs the rules on every event, and "
            "writes state, output and position back to Redis in one transaction: each event "
            "counts exactly once, whatever dies.\n\n"
            "An edited rule is live a moment after it is saved, and keeps its state; one with a "
            "mistake changes nothing. See tidemill reload and rollback.\n\n"
            "A second run with the same group stands by and takes over when the first one ends. "
            "SIGTERM and SIGINT finish the batch and exit.",
        .examples =
            "# rules in ./rules, the Redis of $REDIS_URL\n"
            "tidemill run\n"
            "# process what the streams already hold, too\n"
            "tidemill run --redis redis://10.0.0.5/2 --rules shop/rules --group shop --from start\n"
            "# no Redis at hand: bring one along\n"
            "tidemill run --embedded /tmp/tidemill-data\n"},
    [COMMAND_INIT] = {
        .name = "init", .summary = "make a project folder: a rule, its specs, settings",
        .usage = "[DIR] [OPTIONS]",
        .arguments_most = 1,
        .about =
            "Makes a project in DIR (default: the current folder) that works as it is: settings "
            "(tidemill.lua), a rule (rules/loyalty.lua), its spec and cases (spec/), and "
            ".luarc.json, which shows editors the annotations of all that a rule may call. "
            "Overwrites nothing, and makes nothing when one of the files is there.",
        .examples = "tidemill init shop && cd shop && tidemill check\n"},
    [COMMAND_CHECK] = {
        .name = "check", .summary = "load and validate rules without running them",
        .usage = "[DIR] [OPTIONS]",
        .arguments_most = 1,
        .about =
            "Loads every rule in DIR (default: --rules) and the settings file, and prints each "
            "mistake as file:line: message, with the line that it means and a caret under the "
            "word. Exit status 1 when there is one. Needs no Redis.\n\n"
            "With --format json it prints one array, an object a line: file, line, column and "
            "end_column (bytes from 1 on, the end exclusive; left out when unknown), severity "
            "(error or warning) and message. Line 0 is about the whole. Mistakes in the settings "
            "file are in it, too.",
        .examples =
            "tidemill check rules\n"
            "# the same for an editor or CI\n"
            "tidemill check rules --format json | jq -r '.[] | .message'\n"},
    [COMMAND_TEST] = {
        .name = "test", .summary = "run the specs and cases of a rules folder",
        .usage = "[DIR] [--coverage] [OPTIONS]",
        .arguments_most = 1,
        .about =
            "Runs every *_spec.lua and *.cases.jsonl below DIR (default: the current folder; a "
            "single file will do), and says what failed, where and why. Needs neither Redis nor a "
            "running engine: rules run over the engine's own kernel, within its limits, and time "
            "moves when the spec says so.\n\n"
            "A spec is Lua for busted (apt-get install lua-busted), in which require "
            "\"tidemill.testing\" is the test kit. A case is one JSON object a line: the events "
            "that come in, and the effects, state and dead letters that must come of them. "
            "Effects and letters that it does not name must not come. The rules of "
            "NAME.cases.jsonl are NAME.lua, beside it or in the rules folder, or else all rules "
            "of that folder.\n\n"
            "--coverage prints which lines of the rules no test has run.\n\n"
            "The settings file of DIR, if there is one, gives limits and outputs. Exit status 1 "
            "when something failed, or when nothing was found.",
        .examples =
            "tidemill test\n"
            "tidemill test shop --coverage\n"
            "tidemill test spec/cart_spec.lua\n"
            "# a case: what this event must lead to: nothing at all\n"
            "echo '{\"stream\":\"orders\",\"event\":{\"total\":0},\"effects\":[]}' >> "
            "spec/pricing.cases.jsonl\n"},
    [COMMAND_REPLAY] = {
        .name = "replay", .summary = "what rules would have done over retained history",
        .usage = "[--last TIME | --from WHEN --to WHEN] [--summary] [OPTIONS]\n"
                 "--file FILE [--stream NAME] [--summary] [OPTIONS]\n"
                 "--against DIR [--last TIME | --file FILE] [OPTIONS]",
        .about =
            "Runs the rules over what the streams still hold, as fast as the machine can, with time "
            "as it was then: entry IDs are the clock, timers fire and windows close where they "
            "would have. It begins without state, sends nothing, and writes nothing to Redis; what "
            "rules emit does not come back to them. Lookups ask today's Redis.\n\n"
            "Prints what the rules wanted, one JSON object a line: the entry's \"id\" and \"stream\" "
            "(or \"timer\", \"window\", with the ms at which it was due as \"id\"), \"rule\" and "
            "\"key\", and \"emit\", \"command\" or \"letter\". With --summary: counts for each rule "
            "and output, and sum, mean, min and max of each numeric field.\n\n"
            "With --file, events come from JSON lines: those of tidemill tail, or events alone as "
            "tidemill send takes them, with --stream to say which stream they are of. Then it needs "
            "no Redis, unless a rule uses ctx.redis. A bad line is reported and does not stop "
            "the rest. Events that say no \"id\" are taken to be a ms apart, from "
            "1700000000000-0 on: timers see hardly any time pass, and the setting future "
            "does not hold for a rule's own time.\n\n"
            "With --against, two versions run over the same entries, and the differences are shown: "
            "how many decisions (what one rule wanted for one entry, timer or window) changed, "
            "each field by how much, with samples by key and entry.\n\n"
            "Exit status 1 when something failed: a bad line, a rule that crashes, hangs, or stops "
            "it (on_error = \"stop\"); with --against also when any decision differs.",
        .examples =
            "# what an edit would do to the last week\n"
            "tidemill replay --rules rules.new --against rules --last 7d\n"
            "# in figures\n"
            "tidemill replay --from 2026-11-01 --to 2026-11-08 --summary\n"
            "# one stream's history on the desk, without a Redis\n"
            "tidemill tail orders --from start --no-follow > orders.jsonl\n"
            "tidemill replay --file orders.jsonl | jq .emit.event\n"
            "# events that were never in a stream\n"
            "tidemill replay --file events.jsonl --stream orders --summary\n"},
    [COMMAND_SEND] = {
        .name = "send", .summary = "JSON lines to events on a stream",
        .usage = "STREAM [FILE] [OPTIONS]",
        .arguments_least = 1, .arguments_most = 2,
        .about =
            "Adds one entry to STREAM for every line of FILE (default: standard input). A line is "
            "one JSON object; empty lines are passed over. A bad line is reported with its number "
            "and does not stop the rest; the exit status is then 1.\n\n"
            "With --codec fields, every member of the object becomes a field of the entry: texts "
            "as they are, anything else as JSON; null leaves the field out.",
        .examples =
            "echo '{\"type\":\"add\",\"user_id\":\"u1\",\"total\":12.5}' | tidemill send cart\n"
            "tidemill send orders orders.jsonl --maxlen 1000000\n"},
    [COMMAND_TAIL] = {
        .name = "tail", .summary = "entries of a stream to JSON lines",
        .usage = "STREAM [OPTIONS]",
        .arguments_least = 1, .arguments_most = 1,
        .about =
            "Prints every entry of STREAM as it arrives, one JSON object a line: "
            "{\"id\":…,\"stream\":…,\"event\":{…}}. An entry that holds no event shows its "
            "\"fields\" instead. Writes as soon as nothing more is waiting.",
        .examples =
            "# watch what a rule emits\n"
            "tidemill tail offers\n"
            "# all that is there, then stop\n"
            "tidemill tail offers --from start --no-follow | jq .event\n"},
    [COMMAND_DLQ] = {
        .name = "dlq", .summary = "list, show, retry and drop dead letters",
        .usage = "list [--rule RULE] [--reason REASON] [--count N] [OPTIONS]\n"
                 "show ID [OPTIONS]\n"
                 "retry ID... | --all [--rule RULE] [--reason REASON] [OPTIONS]\n"
                 "drop ID... | --all [--rule RULE] [--reason REASON] [--yes] [OPTIONS]",
        .arguments_least = 1, .arguments_most = 1000000,
        .about =
            "An event that a rule could not process is kept as a dead letter, with the reason. "
            "list shows the newest first; letters whose retry waits for the engine are marked "
            "retrying. show prints one letter whole.\n\n"
            "retry gives letters to their rule once more: mend the rule or the data first. The "
            "running engine takes them from its inbox; a letter that fails again comes back with "
            "one attempt more. drop removes letters for good. Both are safe beside a running "
            "engine.",
        .examples =
            "tidemill dlq list --reason schema\n"
            "tidemill dlq show 1700000000000-0\n"
            "tidemill dlq retry --all --rule cart\n"},
    [COMMAND_STATE] = {
        .name = "state", .summary = "list, get, set and delete a rule's state",
        .usage = "list RULE [--match GLOB] [--count N] [OPTIONS]\n"
                 "get RULE KEY [OPTIONS]\n"
                 "set RULE KEY JSON [--state-version N] [OPTIONS]\n"
                 "delete RULE KEY [OPTIONS]",
        .arguments_least = 2, .arguments_most = 4,
        .about =
            "Looks at what a rule remembers for a key, and changes it. All of it is safe beside a "
            "running engine, which reads a changed state anew before its next event.\n\n"
            "set keeps the expiry that the state had; a state that is new does not expire before "
            "the rule writes it again, since the time to live is known to the rule alone. It keeps "
            "the version, too, so write what the rule's state.version of that number would read, "
            "or say --state-version: a state below the rule's version is migrated when the rule "
            "next reads it.",
        .examples =
            "tidemill state list cart --match 'u1*'\n"
            "tidemill state get cart u17\n"
            "tidemill state set cart u17 '{\"total\": 0}'\n"},
    [COMMAND_TIMERS] = {
        .name = "timers", .summary = "list and drop pending timers",
        .usage = "list [--rule RULE] [--key KEY] [--name NAME] [--count N] [OPTIONS]\n"
                 "drop [--rule RULE] [--key KEY] [--name NAME] [--yes] [OPTIONS]",
        .arguments_least = 1, .arguments_most = 1000000,
        .about =
            "A timer that a rule has set (ctx.timer.set) waits in Redis until it is due. list "
            "shows the earliest first: whose it is, when it is due, and its payload. A wall timer "
            "follows the clock of Redis; an event timer follows its rule's watermark, and FROM NOW "
            "counts from there.\n\n"
            "drop removes timers for good: they do not fire. It is safe beside a running engine, "
            "which looks anew at what is pending. Timers of a rule that is gone, or that no "
            "longer has on_timer, wait untouched until it is back or until they are dropped.\n\n"
            "Neither touches windows: those close as their rules say.",
        .examples =
            "# what fires next\n"
            "tidemill timers list --count 20\n"
            "# all that waits for one customer\n"
            "tidemill timers list --key u17\n"
            "tidemill timers drop --rule cart --key u17 --name remind\n"
            "# a rule that will not come back\n"
            "tidemill timers drop --rule old_cart\n"},
    [COMMAND_SHADOW] = {
        .name = "shadow", .summary = "what shadow rules would have done, beside what was done",
        .usage = "[RULE] [--different] [--count N] [OPTIONS]",
        .arguments_most = 1,
        .about =
            "A rule with mode = \"shadow\" runs on real traffic and writes nothing. What it would "
            "have done with an event, timer or window is kept, beside what the rule did that "
            "shadow_of names.\n\n"
            "With RULE: its newest records, and over all that are kept how many are the same, and "
            "how the sums of the numbers differ that the two emit. WOULD and DID are lists of "
            "[stream, event] and of commands; a failure shows its reason. Without RULE: the shadow "
            "rules of which records are kept.\n\n"
            "tidemill status counts them, too, since the engine's start.",
        .examples =
            "tidemill shadow\n"
            "# only where the edit would have done something else\n"
            "tidemill shadow pricing_next --different --count 20\n"
            "tidemill shadow pricing_next --json | jq 'select(.same | not)'\n"},
    [COMMAND_EXPLAIN] = {
        .name = "explain", .summary = "why rules decided as they did",
        .usage = "STREAM ID [OPTIONS]\n"
                 "[--rule RULE] [--key KEY] [--count N] [OPTIONS]",
        .arguments_most = 2,
        .about =
            "Shows what every rule did with one entry of a stream, as it was recorded then: whether "
            "it ran or why not, its version, what it gave as reasons (ctx.reason), its state before "
            "and after, what it looked up and was told, its effects and timers, and the time that "
            "it took. The event is shown as it came, before any upgrade. Nothing is computed again. "
            "-0 may be left off an ID.\n\n"
            "Without an ID it lists the latest decisions of a rule or for a key, timers and windows "
            "that fired among them, the newest first.\n\n"
            "Decisions are there for the share of the events that run was told to record: record = "
            "0.01 in the settings, or run --record 1. The newest record_maxlen of them are kept in "
            "each partition.",
        .examples =
            "tidemill explain orders 1700000000000-0\n"
            "# what happened to this customer\n"
            "tidemill explain --key u17\n"
            "tidemill explain --rule loyalty --key u17 --count 3 --full\n"
            "tidemill explain orders 1700000000000 --json | jq '.rules[].reasons'\n"},
    [COMMAND_STATUS] = {
        .name = "status", .summary = "what is running: rules, lag and rates", .usage = "[OPTIONS]",
        .about = "Asks the running engine of this group over its control socket.",
        .examples = "tidemill status\n"
                    "tidemill status --json | jq .rules\n"},
    [COMMAND_RELOAD] = {
        .name = "reload", .summary = "load edited rules now", .usage = "[OPTIONS]",
        .about =
            "Makes the running engine of this group read its rules folder, and waits until every "
            "worker runs what it holds; prints which rules changed. A saved edit is live without "
            "it: this is for folders that cannot be watched, and for scripts that want to know "
            "the outcome.\n\n"
            "A file with a mistake is reported as file:line: message and keeps its last good "
            "version; the exit status is then 1.",
        .examples = "tidemill reload && echo live\n"},
    [COMMAND_ROLLBACK] = {
        .name = "rollback", .summary = "bring a rule's version before back",
        .usage = "RULE [OPTIONS]",
        .arguments_least = 1, .arguments_most = 1,
        .about =
            "Brings the version of RULE that ran before the present one back at once, with the "
            "libraries that it had; again, and it is the one before that. It holds until the "
            "rule's file is edited or the engine restarts: then the folder counts again.\n\n"
            "Refused when state.version differs between the two, since the older one could not "
            "read the states that the newer one has written.",
        .examples = "tidemill rollback pricing\n"},
};
/* clang-format on */

enum command_id command_id_of(const struct command *command)
{
    return (enum command_id)(command - command_table);
}

const struct command *command_find(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(command_table[i].name, name) == 0)
            return &command_table[i];
    }
    return NULL;
}
