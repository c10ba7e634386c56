/* help.c: see help.h. Text is wrapped here, not in the tables, so that sentences there stay
 * sentences. */
#include "config/help.h"

#include "base/version.h"
#include "config/options.h"

#include <stdio.h>
#include <string.h>

enum { WIDTH = 90, LEFT = 2, COLUMN_MOST = 26 };

/* -- Layout -- */

static void heading(struct buf *out, const char *text, bool is_coloured)
{
    buf_printf(out, is_coloured ? "\n\033[1m%s\033[0m\n" : "\n%s\n", text);
}

static size_t columns_of(const char *text, size_t len)
{
    size_t columns = 0;
    for (size_t i = 0; i < len; i++)
        columns += ((unsigned char)text[i] & 0xc0) != 0x80;
    return columns;
}

/* Appends words up to WIDTH; `column` is where the first one is, later lines start at `indent`. */
static void wrap(struct buf *out, const char *text, size_t len, size_t column, size_t indent)
{
    const char *end = text + len;
    bool is_first = true;
    while (text < end) {
        const char *space = memchr(text, ' ', (size_t)(end - text));
        size_t word = (size_t)((space == NULL ? end : space) - text), wide = columns_of(text, word);
        if (!is_first && column + 1 + wide > WIDTH) {
            buf_printf(out, "\n%*s", (int)indent, "");
            column = indent;
        } else if (!is_first) {
            buf_append(out, " ", 1);
            column++;
        }
        buf_append(out, text, word);
        column += wide;
        is_first = false;
        text += word + (space != NULL);
    }
    buf_append(out, "\n", 1);
}

/* A name on the left, what it is on the right. */
static void row(struct buf *out, const char *name, const char *text, size_t column)
{
    buf_printf(out, "%*s%s", LEFT, "", name);
    size_t used = LEFT + columns_of(name, strlen(name));
    if (used + 2 > column)
        buf_printf(out, "\n%*s", (int)column, "");
    else
        buf_printf(out, "%*s", (int)(column - used), "");
    wrap(out, text, strlen(text), column, column);
}

static void paragraphs(struct buf *out, const char *text)
{
    while (*text != '\0') {
        const char *end = strstr(text, "\n\n");
        size_t len = end == NULL ? strlen(text) : (size_t)(end - text);
        buf_append(out, "\n", 1);
        wrap(out, text, len, 0, 0);
        text += len + (end == NULL ? 0 : 2);
    }
}

static void lines(struct buf *out, const char *text, const char *before)
{
    while (*text != '\0') {
        size_t len = strcspn(text, "\n");
        buf_printf(out, "%*s%s%.*s\n", LEFT, "", before, (int)len, text);
        text += len + (text[len] == '\n');
    }
}

/* -- Options -- */

static void option_title(const struct option *o, char *title, size_t size)
{
    if (o->flag != NULL && o->placeholder == NULL)
        snprintf(title, size, "%s", o->flag);
    else if (o->flag != NULL)
        snprintf(title, size, "%s %s", o->flag, o->placeholder);
    else
        snprintf(title, size, "%s = %s", o->path, o->placeholder);
    char *star = strchr(title, '*');
    if (star != NULL) {
        char rest[128];
        snprintf(rest, sizeof rest, "%s", star + 1);
        snprintf(star, size - (size_t)(star - title), "NAME%s", rest);
    }
}

/* The sentence, and behind it what one has to know: choices, default, variable. */
static void option_text(const struct option *o, bool has_range, char *text, size_t size)
{
    char range[512];
    struct buf notes = {0};
    option_describe_range(o, range, sizeof range);
    bool is_number =
        o->type == OPTION_INTEGER || o->type == OPTION_DURATION || o->type == OPTION_SHARE;
    bool is_choice = o->choices != NULL && strchr(o->choices, '|') != NULL;
    if (is_choice || (has_range && is_number))
        buf_printf(&notes, "; %s", range);
    if (o->standard != NULL)
        buf_printf(&notes, "; default %s", o->standard);
    if (o->environment != NULL)
        buf_printf(&notes, "; $%s", o->environment);
    if (notes.len > 0)
        snprintf(text, size, "%s (%s)", o->help, buf_text(&notes) + 2);
    else
        snprintf(text, size, "%s", o->help);
    buf_fini(&notes);
}

static bool is_shown(const struct option *o, enum command_id id, enum option_section section)
{
    return !o->is_hidden && o->section == section && (o->commands & COMMAND_BIT(id)) != 0;
}

static void option_rows(struct buf *out, enum command_id id, enum option_section section,
                        const char *title, bool is_coloured)
{
    size_t column = 0;
    char name[128], text[1024];
    for (size_t i = 0; i < option_count; i++) {
        if (!is_shown(&option_table[i], id, section))
            continue;
        option_title(&option_table[i], name, sizeof name);
        size_t wide = LEFT + strlen(name) + 2;
        column = wide > column && wide <= COLUMN_MOST ? wide : column;
    }
    column = column == 0 ? COLUMN_MOST : column;
    bool is_begun = false;
    for (size_t i = 0; i < option_count; i++) {
        if (!is_shown(&option_table[i], id, section))
            continue;
        if (!is_begun)
            heading(out, title, is_coloured);
        is_begun = true;
        option_title(&option_table[i], name, sizeof name);
        option_text(&option_table[i], false, text, sizeof text);
        row(out, name, text, column);
    }
}

/* -- Help -- */

void help_command(struct buf *out, const struct command *command, bool is_coloured)
{
    enum command_id id = command_id_of(command);
    char before[64];
    buf_printf(out, "tidemill %s: %s\n", command->name, command->summary);
    heading(out, "Usage:", is_coloured);
    snprintf(before, sizeof before, "tidemill %s ", command->name);
    lines(out, command->usage, before);
    paragraphs(out, command->about);
    option_rows(out, id, SECTION_COMMAND, "Options:", is_coloured);
    option_rows(out, id, SECTION_COMMON, "Common options:", is_coloured);
    option_rows(out, id, SECTION_SETTINGS,
                "Settings, in tidemill.lua (return { batch_ms = 10, ... }):", is_coloured);
    option_rows(out, id, SECTION_LIMITS,
                "Limits, in tidemill.lua (limits = { state_kb = 128, ... }):", is_coloured);
    heading(out, "Examples:", is_coloured);
    lines(out, command->examples, "");
    buf_append_text(out, "\nExit status: 0 fine, 1 failed, 2 wrong usage or settings.\n");
}

static const char about_program[] =
    "Tidemill runs business rules, written as Lua scripts, on Redis Streams. It reads streams of a "
    "Redis that is already "
    "there, runs every rule of a folder on each event, and writes state and results back to Redis, "
    "exactly once.\n\n"
    "A rule is one file in the folder rules. Options may also stand in the environment and in a "
    "settings file, "
    "tidemill.lua: return { group = \"shop\", redis = \"redis://10.0.0.5\" }.";

/* An example needs its command. */
static const struct {
    enum command_id command;
    const char *text;
} examples[] = {
    {COMMAND_RUN,
     "# run the rules in ./rules on the Redis of this machine, from the start of their streams\n"
     "tidemill run --from start\n"},
    {COMMAND_SEND,
     "# give it something to do\n"
     "echo '{\"type\":\"add\",\"user_id\":\"u1\",\"total\":12.5}' | tidemill send cart\n"},
    {COMMAND_TAIL, "# see what comes out\n"
                   "tidemill tail reminders --from start\n"},
};

/* So wide that the longest name fits. */
static void command_rows(struct buf *out, uint32_t works)
{
    size_t column = 0;
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        size_t wide = LEFT + strlen(command_table[i].name) + 2;
        if ((works & COMMAND_BIT(i)) != 0 && wide > column)
            column = wide;
    }
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if ((works & COMMAND_BIT(i)) != 0)
            row(out, command_table[i].name, command_table[i].summary, column);
    }
}

void help_program(struct buf *out, uint32_t works, bool is_coloured)
{
    buf_printf(out, "tidemill %s: rules in Lua on Redis Streams\n", TIDEMILL_VERSION);
    heading(out, "Usage:", is_coloured);
    buf_append_text(out, "  tidemill COMMAND [OPTIONS]\n");
    paragraphs(out, about_program);
    heading(out, "Commands:", is_coloured);
    command_rows(out, works);
    option_rows(out, COMMAND_RUN, SECTION_COMMON, "Common options:", is_coloured);
    heading(out, "Examples:", is_coloured);
    for (size_t i = 0; i < sizeof examples / sizeof examples[0]; i++) {
        if ((works & COMMAND_BIT(examples[i].command)) != 0)
            lines(out, examples[i].text, "");
    }
    buf_append_text(out, "\ntidemill COMMAND --help says more of each; man tidemill says all.\n");
}

/* -- Manual -- */

/* Text for roff: a backslash, a dash that must stay one, and a line that begins like a request. */
static void roff(struct buf *out, const char *text)
{
    for (const char *p = text; *p != '\0'; p++) {
        bool is_line_start = p == text || p[-1] == '\n';
        if (is_line_start && (*p == '.' || *p == '\''))
            buf_append_text(out, "\\&");
        if (*p == '\\')
            buf_append_text(out, "\\e");
        else if (*p == '-')
            buf_append_text(out, "\\-");
        else if (strncmp(p, "…", strlen("…")) == 0) {
            buf_append_text(out, "...");
            p += strlen("…") - 1;
        } else
            buf_append(out, p, 1);
    }
}

static void roff_paragraphs(struct buf *out, const char *text)
{
    for (;;) {
        const char *end = strstr(text, "\n\n");
        char paragraph[2048];
        snprintf(paragraph, sizeof paragraph, "%.*s",
                 end == NULL ? (int)strlen(text) : (int)(end - text), text);
        roff(out, paragraph);
        buf_append(out, "\n", 1);
        if (end == NULL)
            return;
        buf_append_text(out, ".PP\n");
        text = end + 2;
    }
}

static void roff_option(struct buf *out, const struct option *o)
{
    char title[128], text[1024];
    option_title(o, title, sizeof title);
    option_text(o, true, text, sizeof text);
    buf_append_text(out, ".TP\n.B \"");
    roff(out, title);
    buf_append_text(out, "\"\n");
    roff(out, text);
    buf_append(out, "\n", 1);
}

static void roff_options(struct buf *out, enum command_id id, enum option_section section)
{
    for (size_t i = 0; i < option_count; i++) {
        if (is_shown(&option_table[i], id, section))
            roff_option(out, &option_table[i]);
    }
}

static void roff_literal(struct buf *out, const char *text, const char *before)
{
    buf_append_text(out, ".PP\n.nf\n.RS\n");
    while (*text != '\0') {
        char line[512];
        size_t len = strcspn(text, "\n");
        snprintf(line, sizeof line, "%s%.*s", before, (int)len, text);
        roff(out, line);
        buf_append(out, "\n", 1);
        text += len + (text[len] == '\n');
    }
    buf_append_text(out, ".RE\n.fi\n.PP\n");
}

static void manual_commands(struct buf *out, uint32_t works)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        char before[64];
        if ((works & COMMAND_BIT(i)) == 0)
            continue;
        buf_printf(out, ".SS %s: %s\n", command_table[i].name, command_table[i].summary);
        snprintf(before, sizeof before, "tidemill %s ", command_table[i].name);
        roff_literal(out, command_table[i].usage, before);
        roff_paragraphs(out, command_table[i].about);
        roff_options(out, (enum command_id)i, SECTION_COMMAND);
        roff_literal(out, command_table[i].examples, "");
    }
    buf_append_text(out, ".SH COMMON OPTIONS\n");
    roff_options(out, COMMAND_RUN, SECTION_COMMON);
}

/* Every setting, also those that are flags as well. */
static void manual_settings(struct buf *out)
{
    for (size_t i = 0; i < option_count; i++) {
        struct option setting = option_table[i];
        if (setting.path == NULL || setting.is_hidden)
            continue;
        setting.flag = NULL;
        setting.environment = NULL;
        if (setting.placeholder == NULL)
            setting.placeholder = "true";
        roff_option(out, &setting);
    }
}

static void manual_environment(struct buf *out)
{
    for (size_t i = 0; i < option_count; i++) {
        const struct option *o = &option_table[i];
        if (o->environment == NULL || o->is_hidden)
            continue;
        buf_printf(out, ".TP\n.B %s\nas ", o->environment);
        roff(out, o->flag);
        buf_append_text(out, "\n");
    }
}

bool help_manual(struct buf *out, const char *part, uint32_t works)
{
    if (strcmp(part, "commands") == 0)
        manual_commands(out, works);
    else if (strcmp(part, "settings") == 0)
        manual_settings(out);
    else if (strcmp(part, "environment") == 0)
        manual_environment(out);
    else
        return false;
    return true;
}
