/* words.h: the words of a command that stands somewhere as bytes of the protocol: an effect, a dead
 * letter, a lookup. */
#ifndef TIDEMILL_REPLAY_WORDS_H
#define TIDEMILL_REPLAY_WORDS_H

#include "replay/packed.h"

/* Zero it once; used again for every command. */
struct words {
    struct span *list;
    size_t count, cap;
    const char *bytes; /* the whole command, which stays the caller's */
    size_t len;
};

/* Reads the command at `bytes`, which the engine itself has written. */
void words_read(struct words *w, const char *bytes, size_t len);
void words_fini(struct words *w);

/* In a command that ends with name, value, …, from place `first` on: the value of `name`; empty
 * when there is none. */
struct span words_field(const struct words *w, size_t first, const char *name);

/* Is it an emit (command_is_emit)? */
bool words_emit(const struct words *w, struct span *stream, struct span *payload);

#endif
