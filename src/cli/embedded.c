/* embedded.c: see embedded.h. */
#include "cli/embedded.h"

#include "base/clock.h"
#include "base/log.h"
#include "redis/client.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { START_MS = 30000, PAUSE_US = 10000 };

struct embedded {
    pid_t pid;
    char socket[PATH_MAX], log[PATH_MAX], url[PATH_MAX + 8];
};

static void become_server(const struct embedded *e, const char *dir, pid_t parent)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    /* A terminal's Ctrl-C is for the engine, which stops us when it is done. */
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(0);
    execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", e->socket,
           "--unixsocketperm", "700", "--dir", dir, "--logfile", e->log, "--appendonly", "yes",
           "--save", "", "--daemonize", "no", (char *)NULL);
    _exit(127);
}

/* Asks until the server answers, or has ended. */
static int wait_for_server(const struct embedded *e, struct error *error)
{
    uint64_t until = clock_now_ms() + START_MS;
    struct error why = {0};
    while (clock_now_ms() < until) {
        struct client *client;
        int status;
        if (client_open(e->url, &client, &why) == 0) {
            client_close(client);
            return 0;
        }
        if (waitpid(e->pid, &status, WNOHANG) == e->pid) {
            if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
                return error_set(
                    error, ERROR_SYSTEM,
                    "cannot run redis-server: is it installed? (apt-get install redis-server)");
            return error_set(error, ERROR_SYSTEM, "redis-server ended at once; see %s", e->log);
        }
        usleep(PAUSE_US);
    }
    return error_set(error, ERROR_SYSTEM, "redis-server did not answer within %d s: %s; see %s",
                     START_MS / 1000, why.text, e->log);
}

int embedded_start(const char *dir, struct embedded **out, struct error *error)
{
    char full[PATH_MAX];
    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        return error_set(error, ERROR_SYSTEM, "cannot make the folder %s: %s", dir,
                         strerror(errno));
    if (realpath(dir, full) == NULL)
        return error_set(error, ERROR_SYSTEM, "cannot use the folder %s: %s", dir, strerror(errno));
    if (strlen(full) > 90)
        return error_set(
            error, ERROR_SYSTEM,
            "the path of --embedded is too long for a unix socket (%zu bytes, at most 90): %s",
            strlen(full), full);
    struct embedded *e = calloc(1, sizeof *e);
    if (e == NULL)
        abort();
    snprintf(e->socket, sizeof e->socket, "%.100s/redis.sock", full);
    snprintf(e->log, sizeof e->log, "%.100s/redis.log", full);
    snprintf(e->url, sizeof e->url, "unix://%s", e->socket);
    pid_t parent = getpid();
    e->pid = fork();
    if (e->pid == 0)
        become_server(e, full, parent);
    int failed = e->pid < 0 ? error_set(error, ERROR_SYSTEM, "cannot fork: %s", strerror(errno))
                            : wait_for_server(e, error);
    if (failed != 0) {
        embedded_stop(e);
        return failed;
    }
    log_line(LOG_INFO, "embedded", "a private redis-server runs", "url", e->url, NULL);
    *out = e;
    return 0;
}

const char *embedded_url(const struct embedded *e)
{
    return e->url;
}

void embedded_stop(struct embedded *e)
{
    if (e == NULL)
        return;
    if (e->pid > 0 && kill(e->pid, SIGTERM) == 0)
        waitpid(e->pid, NULL, 0);
    free(e);
}
