/* terminal.c: see terminal.h. */
#include "base/terminal.h"

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

/* The program's own locale is "C", where numbers and messages are what they are everywhere: only
 * the question for a width is asked in another one. */
size_t terminal_columns(const char *character, size_t len)
{
    static locale_t utf8;
    wchar_t code;
    mbstate_t state = {0};
    if (len == 1)
        return 1;
    if (utf8 == NULL)
        utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", NULL);
    if (utf8 == NULL)
        return 1;
    locale_t before = uselocale(utf8);
    int columns = mbrtowc(&code, character, len, &state) == len ? wcwidth(code) : -1;
    uselocale(before);
    return columns < 0 ? 1 : (size_t)columns;
}
