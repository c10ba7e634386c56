/* settings.h: the settings file: Lua data, evaluated with no library and within limits, checked
 * against the options. */
#ifndef TIDEMILL_CONFIG_SETTINGS_H
#define TIDEMILL_CONFIG_SETTINGS_H

#include "config/config.h"

/* Puts what `source` sets into the config and marks the origins. `file` is its name, for messages
 * and as the place that paths in it are relative to. Errors: ERROR_USAGE, "FILE:LINE: …", the one
 * nearest to the top of the file. */
int settings_read(const char *file, const char *source, size_t len, struct config *config,
                  struct error *error);

/* Reads the whole file. Errors: ERROR_SYSTEM (cannot be read), ERROR_USAGE. */
int settings_read_file(const char *file, struct config *config, struct error *error);

#endif
