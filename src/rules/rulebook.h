/* rulebook.h: a set of rules, loaded into a VM: the rules, or every mistake in them.
 *
 *   edition ──load──> loaded (JIT off, so on any thread) ──start──> started ──wake──> used
 *
 * One thread at a time; used means: batches run in it (bridge.h). */
#ifndef TIDEMILL_RULES_RULEBOOK_H
#define TIDEMILL_RULES_RULEBOOK_H

#include "base/error.h"
#include "config/config.h"
#include "rules/edition.h"
#include "rules/note.h"
#include "rules/registry.h"
#include "rules/shapes.h"
#include "sandbox/vm.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rulebook;

struct rule_problem {
    const char *file; /* as a person would open it: "rules/cart.lua" */
    const char *unit; /* the file that cannot be loaded for it: "cart.lua"; "" for the whole set */
    const char
        *other; /* the file that has a rule of the same name already; "" when it is not that */
    int line;   /* 0: none */
    int column, width; /* of the word meant: bytes, from 1 on; 0: unknown */
    const char *text;  /* the line as it was loaded; "" or NULL: unknown */
    const char *message;
    bool is_warning;
};

struct rule_info {
    const char *name, *version, *file;
    const char *const *streams; /* names and globs */
    size_t stream_count;
    int state_version;
    bool has_ttl;                     /* its states expire */
    uint64_t events, failed, skipped; /* that it was run on, since the start */
    uint64_t fed_back;                /* events that it wrote to streams that it reads itself */
    bool is_failing;                  /* more often than the settings' `failing` allows */
    bool asks, uses_state;            /* as far as is known yet */
    uint64_t late;                    /* events that came after all their windows had closed */
    const char *shadow_of; /* of a shadow rule: the one that it would replace, or ""; else NULL */
    struct {
        uint64_t effects, same, different, only_would, only_did;
    } shadow; /* its effects and records (runtime/tidemill/shadow.lua), since the start */
};

struct rulebook_options {
    const struct config *config;
    const char *dir;                    /* for messages: where the texts came from */
    struct registry *registry;          /* outlives the book; NULL: one of its own */
    const volatile bool *is_cancelled;  /* loading is given up when it becomes true; may be NULL */
    struct rulebook_progress *progress; /* for whoever watches another process load; may be NULL */
    uint64_t load_ms;                   /* for all files together; 0: limits.load_ms */
    bool is_backtest; /* nothing is written: effects say for which key they are (bridge_effect_key),
                         shadow rules are like the others, no decisions are recorded */
};

/* What is being loaded, in shared memory. */
struct rulebook_progress {
    volatile uint32_t files; /* begun so far */
    char file[1024];         /* the last of them */
};

/* Loads an edition, for limits.load_ms at most; a file that is stopped for it gives the rest as
 * much again. Problems in rules are no error of this function: look at rulebook_problems. Errors:
 * faults of the runtime itself. */
int rulebook_load(const struct rulebook_options *options, const struct edition *edition,
                  struct rulebook **out, struct error *error);

/* A loaded book has one reference. What still may tell of its rules (a batch in flight) keeps it.
 */
void rulebook_keep(struct rulebook *book);
void rulebook_release(struct rulebook *book);

/* Closing a VM takes as long as its heap is large: with this the last release hands the book to
 * `call`, which releases it where that does not matter. */
void rulebook_on_unused(struct rulebook *book, void (*call)(void *context, struct rulebook *book),
                        void *context);

const struct edition *rulebook_edition(const struct rulebook *book); /* what it was loaded from */
uint64_t rulebook_number(const struct rulebook *book);               /* of its edition */

/* Problems first, then warnings. */
const struct rule_problem *rulebook_problems(const struct rulebook *book, size_t *count);
bool rulebook_is_sound(const struct rulebook *book); /* no problems but warnings */

/* In the order of their names. The counts are of now. */
size_t rulebook_count(const struct rulebook *book);
void rulebook_rule(struct rulebook *book, size_t number, struct rule_info *info);
/* The same without what the kernel knows; also of a book that is not sound or not started. */
const struct rule_info *rulebook_loaded_rule(const struct rulebook *book, size_t number);

/* Makes the kernel. Once, when sound. `note` must outlive the book; NULL: one of its own. */
int rulebook_start(struct rulebook *book, struct note *note, struct error *error);

/* From now on it is used, by this thread: its JIT is on, and its rules have limits.rule_ms for an
 * event (sandbox/limit.h). The book that was awake before is not used any more. Errors:
 * ERROR_SYSTEM, only for the first book of a thread. */
int rulebook_wake(struct rulebook *book, struct error *error);
struct note *rulebook_note(struct rulebook *book);

/* Goes on with the counts of `from` for rules of the same names. */
void rulebook_inherit(struct rulebook *book, struct rulebook *from);

/* The kernel's number of a stream, and its codec (enum config_codec). */
uint32_t rulebook_stream(struct rulebook *book, const char *name, size_t len);
int rulebook_stream_codec(const struct rulebook *book, uint32_t stream);
const char *rulebook_stream_name(const struct rulebook *book, uint32_t stream);
bool rulebook_is_read(const struct rulebook *book, uint32_t stream); /* by a rule */
/* The numbers of the rules that run on its events, in order: `cap` at most. Returns how many. */
uint32_t rulebook_rules_of(struct rulebook *book, uint32_t stream, uint32_t *numbers, uint32_t cap);
/* The number (from 1) of the rule of this name, or 0. */
uint32_t rulebook_rule_number(const struct rulebook *book, const char *name, size_t len);
const char *rulebook_rule_name(const struct rulebook *book, uint32_t number);
/* The number that its states are kept under. */
uint32_t rulebook_rule_id(const struct rulebook *book, uint32_t number);
/* By the number that states are kept under (registry.h), also of a rule that is gone. */
const char *rulebook_state_name(const struct rulebook *book, uint32_t id);
const char *rulebook_rule_version(const struct rulebook *book, uint32_t number);
bool rulebook_has_ttl(const struct rulebook *book, uint32_t number);
/* Do rules read a stream of this name? */
bool rulebook_reads(struct rulebook *book, const char *name, size_t len);

struct registry *rulebook_registry(const struct rulebook *book);

/* For the bridge. */
struct vm *rulebook_vm(struct rulebook *book);
struct shapes *rulebook_shapes(struct rulebook *book);
const struct config *rulebook_config(const struct rulebook *book);
/* Pushes function `name` of the module tidemill.engine's instance. */
void rulebook_push(struct rulebook *book, const char *name);

/* Pushes the settings `outputs` as the kernel takes them. */
void rulebook_push_outputs(lua_State *L, const struct config *config);

#endif
