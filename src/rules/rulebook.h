/* rulebook.h: a folder of rules, loaded into a VM: the rules, or every mistake in them. */
#ifndef TIDEMILL_RULES_RULEBOOK_H
#define TIDEMILL_RULES_RULEBOOK_H

#include "base/error.h"
#include "config/config.h"
#include "rules/shapes.h"
#include "sandbox/vm.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rulebook;

struct rule_problem {
    const char *file; /* as a person would open it: "rules/cart.lua" */
    int line;         /* 0: none */
    const char *message;
    bool is_warning;
};

struct rule_info {
    const char *name, *version, *file;
    const char *const *streams; /* names and globs */
    size_t stream_count;
    bool has_ttl;             /* its states expire */
    uint64_t failed, skipped; /* events, since the start */
    bool asks, uses_state;    /* as far as is known yet */
};

/* Reads and loads `dir`. ERROR_SYSTEM when the folder cannot be read; problems in rules are no
 * error of this function: look at rulebook_problems. */
int rulebook_load(const struct config *config, const char *dir, struct rulebook **out,
                  struct error *error);
void rulebook_destroy(struct rulebook *book);

/* Problems first, then warnings. */
const struct rule_problem *rulebook_problems(const struct rulebook *book, size_t *count);
bool rulebook_is_sound(const struct rulebook *book); /* no problems but warnings */

/* In the order of their names. The counts are of now. */
size_t rulebook_count(const struct rulebook *book);
void rulebook_rule(struct rulebook *book, size_t number, struct rule_info *info);

/* Makes the kernel. Once, when sound. */
int rulebook_start(struct rulebook *book, struct error *error);

/* The kernel's number of a stream, and its codec (enum config_codec). */
uint32_t rulebook_stream(struct rulebook *book, const char *name, size_t len);
int rulebook_stream_codec(const struct rulebook *book, uint32_t stream);
const char *rulebook_stream_name(const struct rulebook *book, uint32_t stream);
/* The number (from 1) of the rule of this name, or 0. */
uint32_t rulebook_rule_number(const struct rulebook *book, const char *name, size_t len);
const char *rulebook_rule_name(const struct rulebook *book, uint32_t number);
const char *rulebook_rule_version(const struct rulebook *book, uint32_t number);
bool rulebook_has_ttl(const struct rulebook *book, uint32_t number);
/* Do rules read a stream of this name? */
bool rulebook_reads(struct rulebook *book, const char *name, size_t len);

/* For the bridge. */
struct vm *rulebook_vm(struct rulebook *book);
struct shapes *rulebook_shapes(struct rulebook *book);
const struct config *rulebook_config(const struct rulebook *book);
/* Pushes function `name` of the module tidemill.engine's instance. */
void rulebook_push(struct rulebook *book, const char *name);

#endif
