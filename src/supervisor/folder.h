/* folder.h: tells when the rules folder has changed: files saved, moved, deleted; lib/, schemas/
 * and what is below them; and the folder itself replaced, also by a symlink anywhere on the way to
 * it (`current -> releases/2`).
 *
 *   quiet ──change──> gathering ──50 ms without another, or 500 ms in all──> told, quiet
 *
 * (1) A file that is being written is waited for, as long as the 500 ms last. (2) The watches are
 * set anew before it tells, so what changes while the folder is read is told again. */
#ifndef TIDEMILL_SUPERVISOR_FOLDER_H
#define TIDEMILL_SUPERVISOR_FOLDER_H

#include "base/loop.h"

struct folder;

/* Warns, and never tells, when the system has no watches (left); the next folder_look tries again.
 */
struct folder *folder_open(struct loop *loop, const char *path, void (*on_change)(void *context),
                           void *context);
void folder_close(struct folder *f);

/* Sets the watches anew, and forgets a change that was about to be told: the caller reads now. */
void folder_look(struct folder *f);

#endif
