/* replay_numbers.c: numbers of a back-test, for people and for programs. */
#include "base/escape.h"
#include "cli/replay.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

void replay_count(struct buf *out, uint64_t count)
{
    char digits[32];
    int len = snprintf(digits, sizeof digits, "%" PRIu64, count);
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            buf_append(out, ",", 1);
        buf_append(out, &digits[i], 1);
    }
}

void replay_number(struct buf *out, double number)
{
    if (fabs(number) < 1e15 && floor(number) == number)
        buf_printf(out, "%.0f", number);
    else
        buf_printf(out, "%.10g", number);
}

void replay_signed(struct buf *out, double number)
{
    if (number > 0)
        buf_append(out, "+", 1);
    replay_number(out, number);
}

void replay_json_number(struct buf *out, double number)
{
    if (!isfinite(number))
        buf_append_text(out, "null");
    else if (fabs(number) < 9007199254740992.0 && floor(number) == number)
        buf_printf(out, "%.0f", number);
    else
        buf_printf(out, "%.17g", number);
}

void replay_json_figures(struct buf *out, const struct figures *f)
{
    static const char *const names[] = {"sum", "mean", "min", "max"};
    const double numbers[] = {f->sum, figures_mean(f), f->least, f->most};
    for (size_t i = 0; f->count > 0 && i < sizeof names / sizeof names[0]; i++) {
        buf_printf(out, ",\"%s\":", names[i]);
        replay_json_number(out, numbers[i]);
    }
}

void replay_table_count(struct table *t, uint64_t count)
{
    struct buf text = {0};
    replay_count(&text, count);
    table_add(t, text.data, text.len);
    buf_fini(&text);
}

void replay_json_lines(struct buf *out, const struct buf *says)
{
    const char *at = says->data, *end = at + says->len;
    buf_append_text(out, "[");
    while (at < end) {
        const char *line = memchr(at, '\n', (size_t)(end - at));
        if (at > says->data)
            buf_append_text(out, ",");
        escape_json(out, at, (size_t)(line - at));
        at = line + 1;
    }
    buf_append_text(out, "]");
}

const char *replay_kind_name(enum tally_kind kind)
{
    static const char *const names[] = {
        [TALLY_EMIT] = "emit", [TALLY_COMMAND] = "command", [TALLY_LETTER] = "letter"};
    return names[kind];
}
