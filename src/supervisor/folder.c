/* folder.c: see folder.h. Watches lie on the folders of rules, and on every folder that a step of
 * the path stands in; of those only that step's name matters. */
#include "supervisor/folder.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/steps.h"
#include "rules/edition.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

enum { QUIET_MS = 50, GATHER_MS = 500, LINKS_MOST = 40, WRITING_MOST = 64 };

static const uint32_t CONTENT = IN_CLOSE_WRITE | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE |
                                IN_DELETE | IN_MODIFY | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF |
                                IN_ONLYDIR;
static const uint32_t STEP = IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_MASK_ADD;

/* A folder that is looked at: for all that is in it, or for one name. */
struct watch_point {
    int wd;
    char *name; /* of the step; NULL: everything matters */
    char *path;
};

struct folder {
    struct loop *loop;
    char *path;
    void (*on_change)(void *context);
    void *context;
    int fd; /* -1: no watches */
    struct loop_io *io;
    struct loop_timer *timer;
    struct watch_point *points;
    size_t count;
    char *writing[WRITING_MOST]; /* files that are being written: "wd/name" */
    size_t writing_count;
    uint64_t gathering_since_ms; /* 0: quiet */
    bool is_told;                /* that there are no watches */
};

static void *must(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

/* ── setting watches ────────────────────────────────────────────────────────────────────────── */

static void forget_writing(struct folder *f)
{
    while (f->writing_count > 0)
        free(f->writing[--f->writing_count]);
}

static void forget_points(struct folder *f)
{
    for (size_t i = 0; i < f->count; i++) {
        free(f->points[i].name);
        free(f->points[i].path);
    }
    free(f->points);
    f->points = NULL;
    f->count = 0;
    forget_writing(f);
}

/* False: the system has no watch left for it. One that may not be looked at, or is gone, is left
 * out. */
static bool add_point(struct folder *f, const char *path, const char *name)
{
    int wd = inotify_add_watch(f->fd, path, name != NULL ? STEP : CONTENT | IN_MASK_ADD);
    if (wd < 0)
        return errno != ENOSPC && errno != ENOMEM;
    f->points = must(realloc(f->points, (f->count + 1) * sizeof *f->points));
    f->points[f->count++] = (struct watch_point){
        .wd = wd,
        .name = name != NULL ? must(strdup(name)) : NULL,
        .path = must(strdup(path)),
    };
    return true;
}

/* a, b and c in a row; false: they do not fit. */
static bool join(char *to, size_t size, const char *a, const char *b, const char *c)
{
    int len = snprintf(to, size, "%s%s%s", a, b, c);
    return len >= 0 && (size_t)len < size;
}

/* Follows the path step by step, as the kernel does, and watches each step's name. */
static bool add_steps(struct folder *f)
{
    char at[PATH_MAX], left[PATH_MAX], target[PATH_MAX], next[PATH_MAX];
    unsigned links = 0;
    if (f->path[0] == '/' || getcwd(at, sizeof at) == NULL)
        strcpy(at, "/");
    if (!join(left, sizeof left, f->path, "", ""))
        return true;
    for (;;) {
        char *step = left + strspn(left, "/");
        size_t len = strcspn(step, "/");
        if (len == 0)
            return true;
        char name[NAME_MAX + 1];
        snprintf(name, sizeof name, "%.*s", (int)len, step);
        memmove(left, step + len, strlen(step + len) + 1);
        if (strcmp(name, ".") == 0)
            continue;
        if (strcmp(name, "..") != 0 && !add_point(f, at, name))
            return false;
        struct stat about;
        if (!join(next, sizeof next, at, at[1] != '\0' ? "/" : "", name) ||
            lstat(next, &about) != 0)
            return true; /* what is not there cannot be followed */
        if (!S_ISLNK(about.st_mode)) {
            strcpy(at, next);
            continue;
        }
        ssize_t target_len = readlink(next, target, sizeof target - 1);
        if (target_len < 0 || ++links > LINKS_MOST)
            return true;
        target[target_len] = '\0';
        if (!join(next, sizeof next, target, "/", left))
            return true;
        strcpy(left, next);
        if (target[0] == '/')
            strcpy(at, "/");
    }
}

/* The folder and, below its lib and schemas, all folders. */
static bool add_contents(struct folder *f, const char *path, const struct steps *above)
{
    struct steps here;
    struct stat about;
    if (stat(path, &about) != 0 || !steps_enter(&here, above, &about))
        return true;
    if (!add_point(f, path, NULL))
        return false;
    DIR *dir = opendir(path);
    const struct dirent *item;
    bool is_fine = true;
    while (dir != NULL && is_fine && (item = readdir(dir)) != NULL) {
        char below[PATH_MAX];
        if (item->d_name[0] == '.' || (above == NULL && !edition_is_library_folder(item->d_name)))
            continue;
        int len = snprintf(below, sizeof below, "%s/%s", path, item->d_name);
        if (len < (int)sizeof below && stat(below, &about) == 0 && S_ISDIR(about.st_mode))
            is_fine = add_contents(f, below, &here);
    }
    if (dir != NULL)
        closedir(dir);
    return is_fine;
}

static void on_readable(void *context, bool readable, bool writable);

static void set_watches(struct folder *f)
{
    loop_io_close(f->io);
    if (f->fd >= 0)
        close(f->fd);
    f->io = NULL;
    forget_points(f);
    f->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    bool is_fine = f->fd >= 0 && add_steps(f) && add_contents(f, f->path, NULL);
    int cause = errno;
    if (f->fd >= 0) {
        f->io = loop_io_open(f->loop, f->fd, on_readable, f);
        loop_io_want(f->io, true, false);
    }
    if (!is_fine && !f->is_told)
        log_line(LOG_WARN, "no_watch",
                 "the rules folder cannot be watched; edits are loaded by SIGHUP or `tidemill "
                 "reload` (the limit is fs.inotify.max_user_watches or max_user_instances)",
                 "folder", f->path, "cause", strerror(cause), NULL);
    f->is_told = !is_fine;
}

/* ── what changed ───────────────────────────────────────────────────────────────────────────── */

/* Notes that a file is being written, or no longer. */
static void set_writing(struct folder *f, const struct inotify_event *what, bool is_writing)
{
    char name[NAME_MAX + 32];
    size_t i = 0;
    snprintf(name, sizeof name, "%d/%s", what->wd, what->len > 0 ? what->name : "");
    while (i < f->writing_count && strcmp(f->writing[i], name) != 0)
        i++;
    if (is_writing && i == f->writing_count && i < WRITING_MOST) {
        f->writing[f->writing_count++] = must(strdup(name));
    } else if (!is_writing && i < f->writing_count) {
        free(f->writing[i]);
        f->writing[i] = f->writing[--f->writing_count];
    }
}

/* A plain file that was just created is empty: its writer closes it, and that tells. One that has a
 * second name came whole. */
static bool is_being_written(const char *path, const struct inotify_event *what)
{
    char file[PATH_MAX + NAME_MAX + 2];
    struct stat about;
    snprintf(file, sizeof file, "%s/%s", path, what->name);
    return lstat(file, &about) == 0 && S_ISREG(about.st_mode) && about.st_nlink == 1;
}

/* Is it a file that is loaded: at the top a rule, below a library? */
static bool is_ours(const struct folder *f, const struct watch_point *point, const char *name)
{
    bool is_top = strcmp(point->path, f->path) == 0;
    return is_top ? edition_is_rule_name(name) : edition_is_lua_name(name);
}

/* Of a folder of rules. Files of other names (an editor's temporary ones) are nobody's business. */
static bool matters(struct folder *f, const struct watch_point *point,
                    const struct inotify_event *what)
{
    if ((what->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED | IN_ISDIR)) != 0)
        return true;
    if (what->len == 0 ||
        !is_ours(f, point, what->name)) /* a symlink to a folder is no lua file, either */
        return (what->mask & IN_CREATE) != 0 && !is_being_written(point->path, what);
    if ((what->mask & IN_ATTRIB) != 0)
        return true; /* it may be readable now */
    if ((what->mask & IN_MODIFY) != 0 ||
        ((what->mask & IN_CREATE) != 0 && is_being_written(point->path, what))) {
        set_writing(f, what, true);
        return false;
    }
    set_writing(f, what, false);
    return true;
}

static bool is_change(struct folder *f, const struct inotify_event *what)
{
    if ((what->mask & IN_Q_OVERFLOW) != 0)
        return true;
    bool is_any = false;
    for (size_t i = 0; i < f->count; i++) {
        const struct watch_point *point = &f->points[i];
        if (point->wd != what->wd)
            continue;
        if (point->name == NULL)
            is_any |= matters(f, point, what);
        else
            is_any |= what->len > 0 && strcmp(what->name, point->name) == 0;
    }
    return is_any;
}

static void gather(struct folder *f)
{
    uint64_t now = clock_now_ms();
    if (f->gathering_since_ms == 0)
        f->gathering_since_ms = now;
    uint64_t end = f->gathering_since_ms + GATHER_MS;
    uint64_t left = end > now ? end - now : 0;
    loop_timer_start(f->timer, left < QUIET_MS || f->writing_count > 0 ? left : QUIET_MS);
}

static void on_readable(void *context, bool readable, bool writable)
{
    struct folder *f = context;
    char buffer[16384] __attribute__((aligned(__alignof__(struct inotify_event))));
    bool is_any = false;
    (void)readable;
    (void)writable;
    for (;;) {
        ssize_t got = read(f->fd, buffer, sizeof buffer);
        if (got <= 0)
            break;
        for (ssize_t at = 0; at < got;) {
            const struct inotify_event *what = (const struct inotify_event *)(buffer + at);
            is_any |= is_change(f, what);
            at += (ssize_t)(sizeof *what + what->len);
        }
    }
    if (is_any || f->gathering_since_ms > 0)
        gather(f);
}

static void on_timer(void *context)
{
    struct folder *f = context;
    folder_look(f);
    f->on_change(f->context);
}

/* ── life ───────────────────────────────────────────────────────────────────────────────────── */

struct folder *folder_open(struct loop *loop, const char *path, void (*on_change)(void *context),
                           void *context)
{
    struct folder *f = must(calloc(1, sizeof *f));
    f->loop = loop;
    f->path = must(strdup(path));
    f->on_change = on_change;
    f->context = context;
    f->fd = -1;
    f->timer = loop_timer_open(loop, on_timer, f);
    set_watches(f);
    return f;
}

void folder_close(struct folder *f)
{
    if (f == NULL)
        return;
    loop_io_close(f->io);
    loop_timer_close(f->timer);
    if (f->fd >= 0)
        close(f->fd);
    forget_points(f);
    free(f->path);
    free(f);
}

void folder_look(struct folder *f)
{
    loop_timer_stop(f->timer);
    f->gathering_since_ms = 0;
    set_watches(f);
}
