/* help.h: what `--help` prints: made from the table of options and the table of commands. */
#ifndef TIDEMILL_CONFIG_HELP_H
#define TIDEMILL_CONFIG_HELP_H

#include "base/buf.h"
#include "config/command.h"

#include <stdbool.h>

/* `tidemill --help`. `works` has a COMMAND_BIT for every command that this program has; others are
 * not mentioned. */
void help_program(struct buf *out, uint32_t works, bool is_coloured);

/* `tidemill COMMAND --help`. */
void help_command(struct buf *out, const struct command *command, bool is_coloured);

/* Parts of the manual page as man(7) source, from the same tables: "commands", "settings" or
 * "environment". False when there is no part of this name. The page itself, with its prose, is
 * src/cli/tidemill.1.in; scripts/manual puts it together. */
bool help_manual(struct buf *out, const char *part, uint32_t works);

#endif
