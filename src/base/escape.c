/* escape.c: see escape.h. */
#include "base/escape.h"

enum escape_style { STYLE_TEXT, STYLE_QUOTED, STYLE_JSON };

size_t escape_utf8_len(const void *bytes, size_t len)
{
    const unsigned char *p = bytes;
    if (p[0] < 0x80)
        return 1;
    size_t size = p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
    if (size == 0 || size > len)
        return 0;
    for (size_t i = 1; i < size; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    }
    /* Overlong forms, surrogates and what lies beyond U+10FFFF. */
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return size;
}

bool escape_is_utf8(const void *bytes, size_t len)
{
    const char *p = bytes;
    for (size_t i = 0; i < len;) {
        size_t size = escape_utf8_len(p + i, len - i);
        if (size == 0)
            return false;
        i += size;
    }
    return true;
}

static void append_control(struct buf *out, unsigned char c, enum escape_style style)
{
    if (c == '\n')
        buf_append(out, "\\n", 2);
    else if (c == '\t')
        buf_append(out, "\\t", 2);
    else if (c == '\r')
        buf_append(out, "\\r", 2);
    else
        buf_printf(out, style == STYLE_JSON ? "\\u%04x" : "\\x%02x", c);
}

static void append_styled(struct buf *out, const unsigned char *p, size_t len,
                          enum escape_style style)
{
    size_t plain = 0; /* where the run of bytes that stay as they are begins */
    for (size_t i = 0; i < len;) {
        size_t size = escape_utf8_len(p + i, len - i);
        bool is_c1 = size == 2 && p[i] == 0xc2 && p[i + 1] < 0xa0;
        bool is_control = size == 1 && (p[i] < 0x20 || p[i] == 0x7f);
        bool is_quote = style != STYLE_TEXT && (p[i] == '"' || p[i] == '\\');
        if (size > 0 && !is_c1 && !is_control && !is_quote) {
            i += size;
            continue;
        }
        buf_append(out, p + plain, i - plain);
        if (size == 0)
            buf_printf(out, style == STYLE_JSON ? "\\\\x%02x" : "\\x%02x", p[i]);
        else if (is_quote)
            buf_printf(out, "\\%c", p[i]);
        else if (is_control)
            append_control(out, p[i], style);
        else
            buf_printf(out, style == STYLE_JSON ? "\\u%04x" : "\\x%02x",
                       p[i + 1]); /* U+0080 to U+009F */
        i += size > 0 ? size : 1;
        plain = i;
    }
    buf_append(out, p + plain, len - plain);
}

void escape_text(struct buf *out, const void *bytes, size_t len)
{
    append_styled(out, bytes, len, STYLE_TEXT);
}

void escape_quoted(struct buf *out, const void *bytes, size_t len)
{
    buf_append(out, "\"", 1);
    append_styled(out, bytes, len, STYLE_QUOTED);
    buf_append(out, "\"", 1);
}

void escape_json(struct buf *out, const void *bytes, size_t len)
{
    buf_append(out, "\"", 1);
    append_styled(out, bytes, len, STYLE_JSON);
    buf_append(out, "\"", 1);
}
