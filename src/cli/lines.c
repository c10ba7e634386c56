/* lines.c: see lines.h. */
#include "cli/lines.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

enum { READ_BYTES = 256 * 1024 };

static const char *find_end(const struct lines *l)
{
    if (l->buffer.data == NULL)
        return NULL;
    return memchr(l->buffer.data + l->searched, '\n', l->buffer.len - l->searched);
}

/* Waits for input or to be woken: true when it was. In one poll, so that no signal falls between a
 * look at a flag and the wait. */
static bool is_woken(const struct lines *l)
{
    struct pollfd ends[] = {{.fd = l->wake_fd, .events = POLLIN}, {.fd = l->fd, .events = POLLIN}};
    if (l->wake_fd == 0)
        return false;
    while (poll(ends, 2, -1) < 0 && errno == EINTR)
        continue;
    return ends[0].revents != 0;
}

/* Reads once. What was given out makes room first. */
static ssize_t fill(struct lines *l)
{
    buf_consume(&l->buffer, l->at);
    l->at = 0;
    l->searched = l->buffer.len;
    if (is_woken(l)) {
        errno = EINTR;
        return -1;
    }
    buf_reserve(&l->buffer, READ_BYTES);
    ssize_t got = read(l->fd, l->buffer.data + l->buffer.len, READ_BYTES);
    if (got > 0)
        l->buffer.len += (size_t)got;
    l->is_over = got == 0;
    return got;
}

static enum lines_result give(struct lines *l, size_t end, const char **text, size_t *len)
{
    bool was_too_long = l->is_skipping;
    *text = l->buffer.data + l->at;
    *len = end - l->at;
    l->at = end < l->buffer.len ? end + 1 : end;
    l->searched = l->at;
    l->number++;
    l->is_skipping = false;
    return was_too_long ? LINES_TOO_LONG : LINES_LINE;
}

enum lines_result lines_next(struct lines *l, const char **text, size_t *len)
{
    for (;;) {
        const char *end = find_end(l);
        if (end != NULL)
            return give(l, (size_t)(end - l->buffer.data), text, len);
        if (l->is_over)
            return l->at == l->buffer.len && !l->is_skipping ? LINES_END
                                                             : give(l, l->buffer.len, text, len);
        if (l->buffer.len - l->at > LINES_LONGEST) {
            l->is_skipping = true;
            l->at = l->buffer.len;
        }
        if (fill(l) < 0)
            return LINES_FAILED;
    }
}

bool lines_would_wait(const struct lines *l)
{
    struct pollfd input = {.fd = l->fd, .events = POLLIN};
    return find_end(l) == NULL && !l->is_over && poll(&input, 1, 0) == 0;
}

void lines_fini(struct lines *l)
{
    buf_fini(&l->buffer);
}
