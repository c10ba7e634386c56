/* init.c: `tidemill init [DIR]`: a project folder whose rule, specs and settings work as they are.
 *
 * Nothing that is there is touched: all names are looked at before the first file is made, and each
 * is made only where there is none. */
#include "base/escape.h"
#include "cli/cli.h"
#include "cli/init_files.h"
#include "cli/output.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* In .luarc.json: stands for the library's path, as JSON. */
#define LIBRARY "@LIBRARY@"

/* What a file is for; by name, so that the list of files stays that of the folder. */
static const struct {
    const char *name, *about;
} abouts[] = {
    {"tidemill.lua", "settings"},
    {"rules/loyalty.lua", "a rule"},
    {"spec/loyalty_spec.lua", "its spec"},
    {"spec/loyalty.cases.jsonl", "cases: events in, effects out"},
    {".luarc.json", "shows editors the annotations"},
};

static const char *about(const char *name)
{
    for (size_t i = 0; i < sizeof abouts / sizeof abouts[0]; i++)
        if (strcmp(abouts[i].name, name) == 0)
            return abouts[i].about;
    return "";
}

/* "DIR/NAME", or "NAME" in the current folder. */
static int path_of(const char *dir, const char *name, char *path, struct error *error)
{
    const char *slash = dir[strlen(dir) - 1] == '/' ? "" : "/";
    bool is_here = strcmp(dir, ".") == 0;
    int len = snprintf(path, PATH_MAX, "%s%s%s", is_here ? "" : dir, is_here ? "" : slash, name);
    return len < PATH_MAX ? 0
                          : error_set(error, ERROR_USAGE, "the folder's name is too long: %s", dir);
}

static int check_free(const char *dir, struct error *error)
{
    char path[PATH_MAX];
    struct stat found;
    for (size_t i = 0; i < init_file_count; i++) {
        int code = path_of(dir, init_files[i].name, path, error);
        if (code != 0)
            return code;
        if (lstat(path, &found) == 0)
            return error_set(error, ERROR_SYSTEM,
                             "%s is there already, and init overwrites nothing: choose another "
                             "folder, as in tidemill init shop",
                             path);
        if (errno != ENOENT)
            return error_set(error, ERROR_SYSTEM, "cannot make %s: %s", path, strerror(errno));
    }
    return 0;
}

/* Makes the folders on the way to a file. */
static int make_folders(const char *path, struct error *error)
{
    char folder[PATH_MAX];
    for (const char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        snprintf(folder, sizeof folder, "%.*s", (int)(slash - path), path);
        if (mkdir(folder, 0777) != 0 && errno != EEXIST)
            return error_set(error, ERROR_SYSTEM, "cannot make the folder %s: %s", folder,
                             strerror(errno));
    }
    return 0;
}

/* Where make puts the annotations: share/tidemill/library of what the program is installed in, or
 * beside it where it was built. The first of them when neither is there. */
static void find_library(char *path)
{
    char program[PATH_MAX] = "";
    ssize_t len = readlink("/proc/self/exe", program, sizeof program - 1);
    static const char *const places[] = {"../share/tidemill/library", "library"};
    char *slash = len > 0 ? strrchr(program, '/') : NULL;
    path[0] = '\0';
    if (slash == NULL)
        return;
    *slash = '\0';
    for (size_t i = 0; i < 2; i++) {
        char place[2 * PATH_MAX];
        snprintf(place, sizeof place, "%s/%s", program, places[i]);
        if (realpath(place, path) != NULL)
            return;
    }
    path[0] = '\0';
}

/* The file's text, with the library's path put in. */
static void fill(const struct init_file *file, const char *library, struct buf *out)
{
    const char *mark = strstr(file->text, LIBRARY);
    size_t before = mark != NULL ? (size_t)(mark - file->text) : file->len;
    buf_append(out, file->text, before);
    if (mark == NULL)
        return;
    escape_json(out, library, strlen(library));
    buf_append_text(out, mark + strlen(LIBRARY));
}

static int write_file(const char *path, const struct buf *text, struct error *error)
{
    int cause = 0, fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        return error_set(error, ERROR_SYSTEM, "cannot make %s: %s", path, strerror(errno));
    for (size_t at = 0; at < text->len && cause == 0;) {
        ssize_t written = write(fd, text->data + at, text->len - at);
        if (written >= 0)
            at += (size_t)written;
        else if (errno != EINTR)
            cause = errno;
    }
    if (close(fd) != 0 && cause == 0)
        cause = errno;
    return cause == 0
               ? 0
               : error_set(error, ERROR_SYSTEM, "cannot write %s: %s", path, strerror(cause));
}

static int make_file(const char *dir, const struct init_file *file, const char *library,
                     struct buf *told, struct error *error)
{
    char path[PATH_MAX];
    struct buf text = {0};
    int code = path_of(dir, file->name, path, error);
    fill(file, library, &text);
    if (code == 0)
        code = make_folders(path, error);
    if (code == 0)
        code = write_file(path, &text, error);
    if (code == 0 && told->len == 0) {
        buf_append_text(told, "Made in ");
        escape_text(told, dir, strlen(dir));
        buf_append_text(told, ":\n");
    }
    if (code == 0)
        buf_printf(told, "  %-26s %s\n", file->name, about(file->name));
    buf_fini(&text);
    return code;
}

/* A word for a shell. */
static void append_word(struct buf *out, const char *word)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./-";
    if (word[strspn(word, plain)] == '\0') {
        buf_append_text(out, word);
        return;
    }
    buf_append(out, "'", 1);
    for (const char *p = word; *p != '\0'; p++)
        buf_append_text(out, *p == '\'' ? "'\\''" : (char[]){*p, '\0'});
    buf_append(out, "'", 1);
}

static void tell_steps(const char *dir, struct buf *told)
{
    buf_append_text(told, "\nNext:\n");
    if (strcmp(dir, ".") != 0) {
        buf_append_text(told, "  cd ");
        append_word(told, dir);
        buf_append(told, "\n", 1);
    }
    buf_append_text(told,
                    "  tidemill check                      # mistakes in rules and settings\n");
    if (command_find("test") != NULL)
        buf_append_text(told, "  tidemill test                       # the specs and cases\n");
    else
        buf_append_text(told, "  busted spec                         # the spec, with the rock\n");
    buf_append_text(told,
                    "  tidemill run --embedded data        # with a Redis of its own, in data/\n"
                    "Then, in another terminal:\n"
                    "  export REDIS_URL=unix://$PWD/data/redis.sock\n"
                    "  echo '{\"user_id\":\"u1\",\"total\":120}' | tidemill send purchase\n"
                    "  tidemill tail offers --from start\n"
                    "How to write rules: man tidemill-rules\n");
}

int cli_init(const struct config *config, int argc, char **argv)
{
    const char *dir = argc > 0 ? argv[0] : ".";
    char library[PATH_MAX];
    struct buf told = {0};
    struct error error;
    (void)config;
    if (dir[0] == '\0')
        return cli_misuse("init", "the folder's name is empty");
    find_library(library);
    int code = check_free(dir, &error);
    for (size_t i = 0; i < init_file_count && code == 0; i++)
        code = make_file(dir, &init_files[i], library, &told, &error);
    if (code == 0)
        tell_steps(dir, &told);
    if (code == 0 && library[0] == '\0')
        buf_append_text(&told, "No annotations were found beside the program: name their folder in "
                               ".luarc.json, if your editor reads it.\n");
    struct error unwritten;
    if (told.len > 0 && output_write(&told, &unwritten) != 0 && code == 0)
        code = error_set(&error, unwritten.code, "%s", unwritten.text);
    buf_fini(&told);
    return code != 0 ? cli_fail(&error) : EXIT_FINE;
}
