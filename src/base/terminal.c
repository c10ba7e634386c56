/* terminal.c: see terminal.h. */
#include "base/terminal.h"

#include "base/escape.h"

#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

bool terminal_is_watched(int fd)
{
    return isatty(fd) == 1;
}

bool terminal_has_colour(int fd)
{
    const char *no_colour = getenv("NO_COLOR");
    const char *terminal = getenv("TERM");
    return terminal_is_watched(fd) && (no_colour == NULL || no_colour[0] == '\0') &&
           (terminal == NULL || strcmp(terminal, "dumb") != 0);
}

/* The program itself stays in the locale "C", so that its numbers look the same for everybody: only
 * this question is asked in another one. */
size_t terminal_columns(const char *character, size_t len)
{
    static locale_t utf8;
    static bool is_tried;
    wchar_t code;
    mbstate_t state = {0};
    if (len == 1)
        return 1;
    if (!is_tried)
        utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", NULL);
    is_tried = true;
    if (utf8 == NULL)
        return 1;
    locale_t before = uselocale(utf8);
    int columns = mbrtowc(&code, character, len, &state) == len ? wcwidth(code) : -1;
    uselocale(before);
    return columns < 0 ? 1 : (size_t)columns;
}

size_t terminal_fit(const char *text, size_t len, size_t most, size_t *columns)
{
    size_t at = 0;
    *columns = 0;
    while (at < len) {
        size_t size = escape_utf8_len(text + at, len - at);
        size_t wide = size > 0 ? terminal_columns(text + at, size) : 1;
        if (*columns + wide > most)
            break;
        *columns += wide;
        at += size > 0 ? size : 1;
    }
    return at;
}
