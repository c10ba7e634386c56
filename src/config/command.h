/* command.h: the commands of the program as people see them: names, usage, prose and examples. What
 * they do is in cli/. */
#ifndef TIDEMILL_CONFIG_COMMAND_H
#define TIDEMILL_CONFIG_COMMAND_H

#include <stddef.h>
#include <stdint.h>

enum command_id {
    COMMAND_RUN,
    COMMAND_INIT,
    COMMAND_CHECK,
    COMMAND_TEST,
    COMMAND_REPLAY,
    COMMAND_SEND,
    COMMAND_TAIL,
    COMMAND_DLQ,
    COMMAND_STATE,
    COMMAND_TIMERS,
    COMMAND_SHADOW,
    COMMAND_EXPLAIN,
    COMMAND_STATUS,
    COMMAND_RELOAD,
    COMMAND_ROLLBACK,
    COMMAND_COUNT
};

#define COMMAND_BIT(id) (1u << (id))
#define COMMAND_ALL (COMMAND_BIT(COMMAND_COUNT) - 1)

struct command {
    const char *name;
    const char *summary;  /* a line of `tidemill --help` */
    const char *usage;    /* what follows the name; one line a form */
    const char *about;    /* paragraphs, parted by an empty line */
    const char *examples; /* "# comment" and command lines */
    int arguments_least, arguments_most;
};

/* By id. */
extern const struct command command_table[COMMAND_COUNT];

enum command_id command_id_of(const struct command *command);

/* NULL when there is none of this name. */
const struct command *command_find(const char *name);

#endif
