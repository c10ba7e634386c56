/* runtime_dir.h: where the control socket of a deployment lives. */
#ifndef TIDEMILL_CONFIG_RUNTIME_DIR_H
#define TIDEMILL_CONFIG_RUNTIME_DIR_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* The places of a group's socket, best first: place 0 is $XDG_RUNTIME_DIR/tidemill, 1
 * /run/user/UID/tidemill, 2 /tmp/tidemill-UID; each with GROUP.sock. False when a place cannot be:
 * no such variable or folder. `runtime_dir` is the variable's value or NULL. Why places: a service
 * may be started without what a login has, so who looks for it tries all. */
enum { RUNTIME_DIR_PLACES = 3 };
bool runtime_dir_socket(int place, const char *runtime_dir, uid_t user, const char *group,
                        char *path, size_t size);

/* The first place that can be or, with `must_exist`, the first where a socket is, else the first
 * that can be. */
void runtime_dir_choose(const char *runtime_dir, uid_t user, const char *group, bool must_exist,
                        char *path, size_t size);

/* Makes the folder of a socket's path ready before it is listened on: a folder that is made is
 * 0700, and one in /tmp must be ours and not writable by others. Why: anyone may make a folder of a
 * known name in /tmp first, and who may write to it can put a socket of their own in the place of
 * ours. (The socket itself is 0600.) Errors: ERROR_SYSTEM with the cure. */
int runtime_dir_prepare(const char *socket_path, struct error *error);

#endif
