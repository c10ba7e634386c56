/* edition.c: see edition.h. */
#include "rules/edition.h"

#include "base/steps.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void *must(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

/* ── files and libraries
 * ────────────────────────────────────────────────────────────────────────────────────────────── */

static struct edition_file file_of(const char *name, size_t name_len, const char *text, size_t len)
{
    struct edition_file file = {
        .name = must(strndup(name, name_len)), .text = must(malloc(len + 1)), .len = len};
    if (len > 0)
        memcpy(file.text, text, len);
    file.text[len] = '\0';
    return file;
}

static void file_fini(struct edition_file *file)
{
    free(file->name);
    free(file->text);
}

static bool files_match(const struct edition_file *a, const struct edition_file *b)
{
    return strcmp(a->name, b->name) == 0 && a->len == b->len &&
           memcmp(a->text, b->text, a->len) == 0;
}

static struct edition_libraries *libraries_create(void)
{
    struct edition_libraries *libraries = must(calloc(1, sizeof *libraries));
    libraries->references = 1;
    return libraries;
}

static struct edition_libraries *libraries_keep(struct edition_libraries *libraries)
{
    libraries->references++;
    return libraries;
}

static void libraries_release(struct edition_libraries *libraries)
{
    if (--libraries->references > 0)
        return;
    for (size_t i = 0; i < libraries->count; i++)
        file_fini(&libraries->list[i]);
    free(libraries->list);
    free(libraries);
}

static void libraries_add(struct edition_libraries *libraries, struct edition_file file)
{
    libraries->list =
        must(realloc(libraries->list, (libraries->count + 1) * sizeof *libraries->list));
    libraries->list[libraries->count++] = file;
}

static bool libraries_match(const struct edition_libraries *a, const struct edition_libraries *b)
{
    if (a == b)
        return true;
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (!files_match(&a->list[i], &b->list[i]))
            return false;
    return true;
}

/* ── editions
 * ─────────────────────────────────────────────────────────────────────────────────────────────────────────
 */

struct edition *edition_create(uint64_t number)
{
    struct edition *e = must(calloc(1, sizeof *e));
    e->number = number;
    return e;
}

static void unit_fini(struct edition_unit *unit)
{
    file_fini(&unit->file);
    libraries_release(unit->libraries);
}

void edition_destroy(struct edition *e)
{
    if (e == NULL)
        return;
    for (size_t i = 0; i < e->count; i++)
        unit_fini(&e->units[i]);
    free(e->units);
    free(e);
}

/* The place of the first unit whose name is not before this one. */
static size_t place_of(const struct edition *e, const char *name)
{
    size_t at = 0;
    while (at < e->count && strcmp(e->units[at].file.name, name) < 0)
        at++;
    return at;
}

/* Takes the file and a reference to the libraries. */
static void insert(struct edition *e, struct edition_unit unit)
{
    size_t at = place_of(e, unit.file.name);
    if (at < e->count && strcmp(e->units[at].file.name, unit.file.name) == 0) {
        unit_fini(&e->units[at]);
        e->units[at] = unit;
        return;
    }
    e->units = must(realloc(e->units, (e->count + 1) * sizeof *e->units));
    memmove(&e->units[at + 1], &e->units[at], (e->count - at) * sizeof *e->units);
    e->units[at] = unit;
    e->count++;
}

void edition_put(struct edition *e, const struct edition_unit *unit)
{
    const struct edition_file *file = &unit->file;
    insert(e, (struct edition_unit){
                  .file = file_of(file->name, strlen(file->name), file->text, file->len),
                  .libraries = libraries_keep(unit->libraries),
                  .is_pinned = unit->is_pinned,
              });
}

void edition_remove(struct edition *e, const char *name)
{
    size_t at = place_of(e, name);
    if (at == e->count || strcmp(e->units[at].file.name, name) != 0)
        return;
    unit_fini(&e->units[at]);
    e->count--;
    memmove(&e->units[at], &e->units[at + 1], (e->count - at) * sizeof *e->units);
}

const struct edition_unit *edition_find(const struct edition *e, const char *name)
{
    size_t at = place_of(e, name);
    return at < e->count && strcmp(e->units[at].file.name, name) == 0 ? &e->units[at] : NULL;
}

bool edition_units_match(const struct edition_unit *a, const struct edition_unit *b)
{
    return files_match(&a->file, &b->file) && libraries_match(a->libraries, b->libraries);
}

bool edition_matches(const struct edition *a, const struct edition *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (!edition_units_match(&a->units[i], &b->units[i]))
            return false;
    return true;
}

struct edition *edition_copy(const struct edition *e)
{
    struct edition *copy = edition_create(e->number);
    for (size_t i = 0; i < e->count; i++)
        edition_put(copy, &e->units[i]);
    return copy;
}

/* ── reading a folder
 * ─────────────────────────────────────────────────────────────────────────────────────────────────
 */

/* The walk through a folder. */
struct reading {
    struct edition *edition;
    struct edition_libraries *libraries;
    const char *dir;
    size_t left; /* bytes that may still be read */
};

/* What cannot be read is a file that raises why: it then fails to load as any other file with a
 * mistake does, it alone, at its name. (Without a position: the line is none of the author's.) */
static struct edition_file unreadable(const char *name, int cause)
{
    char text[512];
    int len = snprintf(text, sizeof text,
                       "error([==[cannot be read: %s; let the engine's user read it, or remove "
                       "it]==], 0)",
                       strerror(cause));
    return file_of(name, strlen(name), text, (size_t)len);
}

/* 0, or why it cannot be read (errno). Stops behind `most` bytes. */
static int read_bytes(const char *path, size_t most, struct buf *out)
{
    char part[16384];
    size_t len;
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return errno;
    while (out->len <= most && (len = fread(part, 1, sizeof part, file)) > 0)
        buf_append(out, part, len);
    int cause = ferror(file) ? errno : 0;
    fclose(file);
    return cause;
}

/* False: it is there no more, or `failed` is set. */
static bool read_file(struct reading *r, const char *path, const char *name,
                      struct edition_file *out, int *failed, struct error *error)
{
    struct buf text = {0};
    int cause = read_bytes(path, r->left, &text);
    if (cause == 0 && text.len > r->left)
        *failed = error_set(error, ERROR_LIMIT,
                            "%s is too large: all rules and libraries together may have %d MiB",
                            path, EDITION_MIB);
    else if (cause == 0)
        *out = file_of(name, strlen(name), text.data, text.len);
    else if (cause != ENOENT)
        *out = unreadable(name, cause);
    r->left -= cause == 0 && *failed == 0 ? text.len : 0;
    buf_fini(&text);
    return *failed == 0 && cause != ENOENT;
}

static bool ends_with(const char *name, const char *end)
{
    size_t len = strlen(name), end_len = strlen(end);
    return len > end_len && strcmp(name + len - end_len, end) == 0;
}

bool edition_is_lua_name(const char *name)
{
    return name[0] != '.' && ends_with(name, ".lua");
}

bool edition_is_rule_name(const char *name)
{
    return edition_is_lua_name(name) && !ends_with(name, "_spec.lua");
}

bool edition_is_library_folder(const char *name)
{
    return strcmp(name, "lib") == 0 || strcmp(name, "schemas") == 0;
}

static int read_folder(struct reading *r, const char *below, const struct steps *above,
                       struct error *error);

/* One item of a folder, when it is one of ours. */
static int read_item(struct reading *r, const char *folder, const char *below, const char *name,
                     const struct steps *steps, struct error *error)
{
    char path[8192], shown[4096];
    bool is_top = *below == '\0';
    struct stat about;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    snprintf(shown, sizeof shown, "%s%s%s", below, is_top ? "" : "/", name);
    if (name[0] == '.')
        return 0;
    int cause = stat(path, &about) == 0 ? 0 : errno;
    if (cause == 0 && S_ISDIR(about.st_mode) && (!is_top || edition_is_library_folder(name)))
        return read_folder(r, shown, steps, error);
    bool is_ours = is_top ? edition_is_rule_name(name) : edition_is_lua_name(name);
    if (!is_ours || cause == ENOENT || (cause == 0 && !S_ISREG(about.st_mode)))
        return 0;
    struct edition_file file;
    int failed = 0;
    if (cause != 0)
        file = unreadable(shown, cause);
    else if (!read_file(r, path, shown, &file, &failed, error))
        return failed;
    if (is_top)
        insert(r->edition,
               (struct edition_unit){.file = file, .libraries = libraries_keep(r->libraries)});
    else
        libraries_add(r->libraries, file);
    return 0;
}

/* Reads the .lua files of dir/below: rules at the top, libraries below lib and schemas. */
static int read_folder(struct reading *r, const char *below, const struct steps *above,
                       struct error *error)
{
    char path[4096];
    struct steps here;
    struct stat about;
    struct dirent **items = NULL;
    snprintf(path, sizeof path, "%s%s%s", r->dir, *below == '\0' ? "" : "/", below);
    bool is_there = stat(path, &about) == 0;
    if (is_there && !steps_enter(&here, above, &about))
        return 0;
    int count = is_there ? scandir(path, &items, NULL, alphasort) : -1;
    if (count < 0 && errno == ENOENT && *below != '\0')
        return 0; /* removed meanwhile */
    if (count < 0)
        return error_set(error, ERROR_SYSTEM,
                         "cannot read the rules folder %s: %s; name another with --rules DIR", path,
                         strerror(errno));
    int failed = 0;
    for (int i = 0; i < count; i++) {
        if (failed == 0)
            failed = read_item(r, path, below, items[i]->d_name, &here, error);
        free(items[i]);
    }
    free(items);
    return failed;
}

int edition_read(const char *dir, struct edition **out, struct error *error)
{
    struct reading reading = {.edition = edition_create(0),
                              .libraries = libraries_create(),
                              .dir = dir,
                              .left = (size_t)EDITION_MIB << 20};
    int failed = read_folder(&reading, "", NULL, error);
    libraries_release(reading.libraries);
    if (failed != 0)
        edition_destroy(reading.edition);
    else
        *out = reading.edition;
    return failed;
}

/* ── as bytes
 * ─────────────────────────────────────────────────────────────────────────────────────────────────────────
 * number, then sets of libraries, then units, each of which names its set; every count and length
 * in eight bytes of this machine. */

static void put_number(struct buf *out, uint64_t number)
{
    buf_append(out, (const char *)&number, sizeof number);
}

static void put_file(struct buf *out, const struct edition_file *file)
{
    size_t name_len = strlen(file->name);
    put_number(out, name_len);
    put_number(out, file->len);
    buf_append(out, file->name, name_len);
    buf_append(out, file->text, file->len);
}

/* Numbers the sets of libraries, in the order of the units that come with them first. */
static size_t number_sets(const struct edition *e, size_t *set_of_unit)
{
    size_t count = 0;
    for (size_t i = 0; i < e->count; i++) {
        size_t same = 0;
        while (e->units[same].libraries != e->units[i].libraries)
            same++;
        set_of_unit[i] = same < i ? set_of_unit[same] : count++;
    }
    return count;
}

void edition_write(const struct edition *e, struct buf *out)
{
    size_t *set_of_unit = must(calloc(e->count + 1, sizeof *set_of_unit));
    size_t sets = number_sets(e, set_of_unit), written = 0;
    put_number(out, e->number);
    put_number(out, sets);
    for (size_t i = 0; i < e->count; i++) {
        if (set_of_unit[i] != written)
            continue;
        const struct edition_libraries *libraries = e->units[i].libraries;
        put_number(out, libraries->count);
        for (size_t k = 0; k < libraries->count; k++)
            put_file(out, &libraries->list[k]);
        written++;
    }
    put_number(out, e->count);
    for (size_t i = 0; i < e->count; i++) {
        put_number(out, set_of_unit[i]);
        put_number(out, e->units[i].is_pinned);
        put_file(out, &e->units[i].file);
    }
    free(set_of_unit);
}

struct bytes {
    const char *at;
    size_t left;
};

static bool take_number(struct bytes *from, uint64_t *number)
{
    if (from->left < sizeof *number)
        return false;
    memcpy(number, from->at, sizeof *number);
    from->at += sizeof *number;
    from->left -= sizeof *number;
    return true;
}

static bool take_file(struct bytes *from, struct edition_file *file)
{
    uint64_t name_len, len;
    if (!take_number(from, &name_len) || !take_number(from, &len) || name_len > from->left ||
        len > from->left - name_len)
        return false;
    *file = file_of(from->at, name_len, from->at + name_len, len);
    from->at += name_len + len;
    from->left -= name_len + len;
    return true;
}

static bool take_libraries(struct bytes *from, struct edition_libraries *into)
{
    uint64_t count;
    struct edition_file file;
    if (!take_number(from, &count))
        return false;
    for (uint64_t i = 0; i < count; i++) {
        if (!take_file(from, &file))
            return false;
        libraries_add(into, file);
    }
    return true;
}

static bool take_units(struct bytes *from, struct edition *e, struct edition_libraries **sets,
                       uint64_t set_count)
{
    uint64_t count, set, is_pinned;
    struct edition_file file;
    if (!take_number(from, &count))
        return false;
    for (uint64_t i = 0; i < count; i++) {
        if (!take_number(from, &set) || set >= set_count || !take_number(from, &is_pinned) ||
            !take_file(from, &file))
            return false;
        insert(e, (struct edition_unit){.file = file,
                                        .libraries = libraries_keep(sets[set]),
                                        .is_pinned = is_pinned != 0});
    }
    return from->left == 0;
}

int edition_parse(const char *bytes, size_t len, struct edition **out, struct error *error)
{
    struct bytes from = {.at = bytes, .left = len};
    struct edition *e = edition_create(0);
    struct edition_libraries **sets = NULL;
    uint64_t set_count = 0, made = 0;
    bool is_fine = take_number(&from, &e->number) && take_number(&from, &set_count) &&
                   set_count <= from.left / sizeof set_count;
    if (is_fine)
        sets = must(calloc(set_count + 1, sizeof *sets));
    while (is_fine && made < set_count) {
        sets[made] = libraries_create();
        is_fine = take_libraries(&from, sets[made++]);
    }
    is_fine = is_fine && take_units(&from, e, sets, set_count);
    for (uint64_t i = 0; i < made; i++)
        libraries_release(sets[i]);
    free(sets);
    if (!is_fine) {
        edition_destroy(e);
        return error_set(error, ERROR_FORMAT, "these bytes are no edition of rules");
    }
    *out = e;
    return 0;
}
