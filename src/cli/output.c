/* output.c: see output.h. Not stdio: one page is one write, and nothing stays behind in a buffer
 * when a signal ends us. */
#include "cli/output.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

enum { KEEP_BYTES = 1024 * 1024 };

/* Someone gave us a descriptor that does not wait, such as a terminal shared with others. */
static void wait_for_room(void)
{
    struct pollfd output = {.fd = STDOUT_FILENO, .events = POLLOUT};
    poll(&output, 1, -1);
}

int output_write(struct buf *out, struct error *error)
{
    size_t at = 0;
    while (at < out->len) {
        ssize_t written = write(STDOUT_FILENO, out->data + at, out->len - at);
        if (written >= 0)
            at += (size_t)written;
        else if (errno == EAGAIN)
            wait_for_room();
        else if (errno != EINTR)
            return error_set(error, ERROR_SYSTEM, "cannot write to standard output: %s",
                             strerror(errno));
    }
    buf_reset(out, KEEP_BYTES);
    return 0;
}
