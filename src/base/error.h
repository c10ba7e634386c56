/* error.h: what went wrong, as a code for the program and one sentence for a person.
 *
 * A function that can fail takes a `struct error *` last, returns 0 when all is well and the code
 * otherwise; results leave through out-parameters that failure leaves untouched. The sentence says
 * what, where and what to do. */
#ifndef TIDEMILL_BASE_ERROR_H
#define TIDEMILL_BASE_ERROR_H

enum error_code {
    ERROR_NONE = 0,
    ERROR_USAGE,       /* the person's words are off: flag, setting, URL */
    ERROR_SYSTEM,      /* the operating system said no */
    ERROR_MEMORY,      /* a limit on memory was met */
    ERROR_CONNECTION,  /* Redis cannot be reached, or the link broke */
    ERROR_TIMEOUT,     /* no answer in time */
    ERROR_REPLY,       /* Redis answered with an error */
    ERROR_FATAL_REPLY, /* ... and waiting will not help: password, permission, version */
    ERROR_FORMAT,      /* bytes that cannot be decoded */
    ERROR_LIMIT,       /* bytes over a limit */
    ERROR_RULE,        /* a rule, or the rules folder, is wrong */
};

struct error {
    enum error_code code;
    char text[1024];
};

/* Fills `error` (which may be NULL) and returns `code`, so that `return error_set(...)` reads well.
 */
int error_set(struct error *error, enum error_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
