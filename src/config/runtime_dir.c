/* runtime_dir.c: see runtime_dir.h. */
#include "config/runtime_dir.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

bool runtime_dir_socket(int place, const char *runtime_dir, uid_t user, const char *group,
                        char *path, size_t size)
{
    char folder[64];
    struct stat info;
    snprintf(folder, sizeof folder, "/run/user/%u", (unsigned)user);
    switch (place) {
    case 0:
        if (runtime_dir == NULL || runtime_dir[0] != '/')
            return false;
        snprintf(path, size, "%s/tidemill/%s.sock", runtime_dir, group);
        return true;
    case 1:
        if (stat(folder, &info) != 0 || !S_ISDIR(info.st_mode))
            return false;
        snprintf(path, size, "%s/tidemill/%s.sock", folder, group);
        return true;
    default:
        snprintf(path, size, "/tmp/tidemill-%u/%s.sock", (unsigned)user, group);
        return true;
    }
}

void runtime_dir_choose(const char *runtime_dir, uid_t user, const char *group, bool must_exist,
                        char *path, size_t size)
{
    struct stat info;
    for (int place = 0; must_exist && place < RUNTIME_DIR_PLACES; place++) {
        if (runtime_dir_socket(place, runtime_dir, user, group, path, size) &&
            stat(path, &info) == 0 && S_ISSOCK(info.st_mode))
            return;
    }
    for (int place = 0; !runtime_dir_socket(place, runtime_dir, user, group, path, size); place++)
        continue;
}

static int check_folder(const char *folder, struct error *error)
{
    struct stat info;
    if (lstat(folder, &info) != 0)
        return error_set(error, ERROR_SYSTEM, "cannot look at %s: %s", folder, strerror(errno));
    if (!S_ISDIR(info.st_mode))
        return error_set(error, ERROR_SYSTEM,
                         "%s is no folder; give another place with --control PATH", folder);
    if (strncmp(folder, "/tmp/", 5) == 0 && (info.st_uid != geteuid() || (info.st_mode & 022) != 0))
        return error_set(
            error, ERROR_SYSTEM,
            "%s belongs to someone else or may be written by others, who could command the "
            "engine: remove it, chmod go-w it, or give another place with --control PATH",
            folder);
    return 0;
}

int runtime_dir_prepare(const char *socket_path, struct error *error)
{
    struct sockaddr_un address;
    char folder[4096];
    const char *slash = strrchr(socket_path, '/');
    if (strlen(socket_path) >= sizeof address.sun_path)
        return error_set(error, ERROR_SYSTEM,
                         "the path of the control socket is longer than %zu bytes: %s",
                         sizeof address.sun_path - 1, socket_path);
    if (slash == NULL || slash == socket_path)
        return 0;
    snprintf(folder, sizeof folder, "%.*s", (int)(slash - socket_path), socket_path);
    if (mkdir(folder, 0700) != 0 && errno != EEXIST)
        return error_set(
            error, ERROR_SYSTEM,
            "cannot make %s for the control socket: %s; give another place with --control PATH",
            folder, strerror(errno));
    return check_folder(folder, error);
}
