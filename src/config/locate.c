/* locate.c: see locate.h. A scanner of Lua's words that keeps the names of the open table
 * constructors on a stack. */
#include "config/locate.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

enum { LEVELS_MOST = 16 };

enum word_type { WORD_END, WORD_NAME, WORD_STRING, WORD_OTHER };

struct word {
    enum word_type type;
    const char *text; /* of a string: what is between the quotes, escapes as they are written */
    size_t len;
    unsigned line;
};

struct scanner {
    const char *at, *end;
    unsigned line;
};

struct locator {
    const char *const *path;
    size_t depth;
    struct word levels[LEVELS_MOST]; /* names of the open constructors; len 0: it has none */
    size_t level;                    /* how many are open, also those beyond LEVELS_MOST */
    /* Found: the very path, the last key anywhere, `return`; line 0: not found. */
    struct word exact, loose, start;
};

static char peek(const struct scanner *s, size_t ahead)
{
    return (size_t)(s->end - s->at) > ahead ? s->at[ahead] : '\0';
}

static void step(struct scanner *s)
{
    if (s->at < s->end && *s->at++ == '\n')
        s->line++;
}

/* At `[`: the number of `=` of a long bracket, or -1 when it is none. */
static int long_bracket(const struct scanner *s)
{
    int level = 0;
    while (peek(s, 1 + (size_t)level) == '=')
        level++;
    return peek(s, 1 + (size_t)level) == '[' ? level : -1;
}

static void skip_long_bracket(struct scanner *s, int level)
{
    for (; s->at < s->end; step(s)) {
        int count = 0;
        if (*s->at != ']')
            continue;
        while (peek(s, 1 + (size_t)count) == '=')
            count++;
        if (count == level && peek(s, 1 + (size_t)count) == ']') {
            s->at += count + 2;
            return;
        }
    }
}

static void skip_comment(struct scanner *s)
{
    s->at += 2;
    int level = peek(s, 0) == '[' ? long_bracket(s) : -1;
    if (level >= 0) {
        skip_long_bracket(s, level);
        return;
    }
    while (s->at < s->end && *s->at != '\n')
        s->at++;
}

static void skip_blank(struct scanner *s)
{
    for (;;) {
        if (s->at < s->end && isspace((unsigned char)*s->at))
            step(s);
        else if (peek(s, 0) == '-' && peek(s, 1) == '-')
            skip_comment(s);
        else
            return;
    }
}

static void scan_string(struct scanner *s, struct word *w)
{
    char quote = *s->at++;
    w->type = WORD_STRING;
    w->text = s->at;
    while (s->at < s->end && *s->at != quote) {
        if (*s->at == '\\')
            step(s);
        step(s);
    }
    w->len = (size_t)(s->at - w->text);
    if (s->at < s->end)
        s->at++;
}

static struct word scan_word(struct scanner *s)
{
    skip_blank(s);
    struct word w = {.type = WORD_OTHER, .text = s->at, .len = 1, .line = s->line};
    char c = peek(s, 0);
    int level;
    if (s->at >= s->end) {
        w.type = WORD_END;
    } else if (isalnum((unsigned char)c) || c == '_') {
        w.type = isdigit((unsigned char)c) ? WORD_OTHER : WORD_NAME;
        while (s->at < s->end && (isalnum((unsigned char)*s->at) || *s->at == '_'))
            s->at++;
        w.len = (size_t)(s->at - w.text);
    } else if (c == '"' || c == '\'') {
        scan_string(s, &w);
    } else if (c == '[' && (level = long_bracket(s)) >= 0) {
        w.type = WORD_STRING;
        skip_long_bracket(s, level);
        w.len = 0;
    } else if ((c == '=' || c == '~' || c == '<' || c == '>') && peek(s, 1) == '=') {
        s->at += 2;
        w.len = 2;
    } else {
        s->at++;
    }
    return w;
}

static bool word_is(const struct word *w, const char *text)
{
    return strlen(text) == w->len && memcmp(w->text, text, w->len) == 0;
}

static bool is_mark(const struct word *w, char mark)
{
    return w->type == WORD_OTHER && w->len == 1 && w->text[0] == mark;
}

/* The outermost constructor has a name only when it stands behind `local NAME =`: then its name is
 * the first of the path. */
static bool is_exact(const struct locator *l, const struct word *key)
{
    size_t unnamed = l->level > 0 && l->levels[0].len == 0;
    if (l->level > LEVELS_MOST || l->level == 0 || l->level - unnamed + 1 != l->depth)
        return false;
    for (size_t i = unnamed; i < l->level; i++) {
        if (!word_is(&l->levels[i], l->path[i - unnamed]))
            return false;
    }
    return word_is(key, l->path[l->depth - 1]);
}

static void meet_key(struct locator *l, const struct word *key)
{
    if (l->depth == 0)
        return;
    if (is_exact(l, key))
        l->exact = *key;
    if (l->loose.line == 0 && word_is(key, l->path[l->depth - 1]))
        l->loose = *key;
}

static void open_level(struct locator *l, const struct word *name)
{
    if (l->level < LEVELS_MOST)
        l->levels[l->level] = *name;
    l->level++;
}

static void scan(struct locator *l, struct scanner *s)
{
    struct word none = {0}, pending = {0}; /* pending: `name =` was read, its value follows */
    struct word w = scan_word(s), before = {0};
    for (; w.type != WORD_END; before = w, w = scan_word(s)) {
        if (is_mark(&w, '=') && (before.type == WORD_NAME || before.type == WORD_STRING)) {
            pending = before;
            meet_key(l, &pending);
        } else if (is_mark(&w, ']') && before.type == WORD_STRING) {
            w = before; /* ["key"] is as good as key: the `=` behind it finds the string */
        } else if (is_mark(&w, '{')) {
            open_level(l, &pending);
            pending = none;
        } else if (is_mark(&w, '}')) {
            l->level -= l->level > 0;
        } else if (w.type == WORD_NAME && word_is(&w, "return")) {
            l->start = w;
            pending = none;
        } else if (is_mark(&w, ',') || is_mark(&w, ';')) {
            pending = none;
        }
    }
}

static struct located place_of(const char *source, const struct word *w)
{
    const char *begin = w->text;
    while (begin > source && begin[-1] != '\n')
        begin--;
    return (struct located){w->line, (unsigned)(w->text - begin) + 1, (unsigned)w->len};
}

struct located locate(const char *source, size_t len, const char *const *path, size_t depth)
{
    for (;; depth--) {
        struct locator l = {.path = path, .depth = depth};
        struct scanner s = {.at = source, .end = source + len, .line = 1};
        scan(&l, &s);
        if (l.exact.line > 0)
            return place_of(source, &l.exact);
        if (l.loose.line > 0)
            return place_of(source, &l.loose);
        if (depth == 0 && l.start.line > 0)
            return place_of(source, &l.start);
        if (depth == 0)
            return (struct located){.line = 1};
    }
}

const char *locate_text(const char *source, size_t len, unsigned line, size_t *line_len)
{
    const char *at = source, *end = source + len;
    for (unsigned i = 1; i < line && at < end; i++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        at = stop != NULL ? stop + 1 : end;
    }
    const char *stop = at < end ? memchr(at, '\n', (size_t)(end - at)) : NULL;
    *line_len = (size_t)((stop != NULL ? stop : end) - at);
    if (*line_len > 0 && at[*line_len - 1] == '\r')
        --*line_len;
    return at;
}

static bool is_word_byte(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

struct located locate_on_line(const char *source, size_t len, unsigned line, const char *word,
                              unsigned after)
{
    size_t left, width = strlen(word);
    const char *text = locate_text(source, len, line, &left);
    for (size_t i = after; width > 0 && i + width <= left; i++) {
        bool is_cut =
            (i > 0 && is_word_byte(text[i - 1]) && is_word_byte(word[0])) ||
            (i + width < left && is_word_byte(text[i + width]) && is_word_byte(word[width - 1]));
        if (!is_cut && memcmp(text + i, word, width) == 0)
            return (struct located){line, (unsigned)i + 1, (unsigned)width};
    }
    return (struct located){.line = line};
}
