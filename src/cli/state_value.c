/* state_value.c: see state_value.h. Only the frame is read here; what is inside stays bytes. */
#include "cli/state_value.h"

#include <stdbool.h>

enum { FRAME = 0x93 /* an array of three */ };

struct bytes {
    const uint8_t *at, *end;
};

static uint64_t big_endian(const uint8_t *p, size_t len)
{
    uint64_t number = 0;
    for (size_t i = 0; i < len; i++)
        number = number << 8 | p[i];
    return number;
}

/* Whole numbers from 0 on, in any of their forms, and as doubles: Lua has no other numbers. */
static bool read_number(struct bytes *b, uint64_t *number)
{
    if (b->at == b->end)
        return false;
    uint8_t head = *b->at++;
    if (head < 0x80) {
        *number = head;
        return true;
    }
    if ((head < 0xcc || head > 0xcf) && (head < 0xd1 || head > 0xd3) && head != 0xcb)
        return false;
    size_t len = head == 0xcb   ? 8
                 : head <= 0xcf ? (size_t)1 << (head - 0xcc)
                                : (size_t)1 << (head - 0xd0);
    if ((size_t)(b->end - b->at) < len)
        return false;
    uint64_t bits = big_endian(b->at, len);
    b->at += len;
    if (head == 0xcb) {
        double value;
        memcpy(&value, &bits, sizeof value);
        *number = value >= 0 && value < 1e18 ? (uint64_t)value : 0;
        return value >= 0 && value < 1e18;
    }
    *number = bits;
    return head <= 0xcf || bits >> (8 * len - 1) == 0; /* signed forms: not below 0 */
}

int state_value_read(const void *bytes, size_t len, struct state_value *out, struct error *error)
{
    struct bytes b = {bytes, (const uint8_t *)bytes + len};
    struct state_value value;
    bool is_good = len > 0 && *b.at++ == FRAME && read_number(&b, &value.expires_ms) &&
                   read_number(&b, &value.version) && b.at < b.end;
    if (!is_good)
        return error_set(error, ERROR_FORMAT,
                         "is not written as the engine does: [expiry, version, state] in msgpack");
    value.packed = (const char *)b.at;
    value.len = (size_t)(b.end - b.at);
    *out = value;
    return 0;
}

static void append_number(struct buf *out, uint8_t head, uint64_t number, size_t len)
{
    uint8_t bytes[9] = {head};
    for (size_t i = 0; i < len; i++)
        bytes[1 + i] = (uint8_t)(number >> (8 * (len - 1 - i)));
    buf_append(out, bytes, 1 + len);
}

/* In the fixed forms that the engine writes, too. */
void state_value_append(const struct state_value *value, struct buf *out)
{
    uint8_t frame = FRAME;
    buf_append(out, &frame, 1);
    append_number(out, 0xcf, value->expires_ms, 8);
    append_number(out, 0xce, value->version, 4);
    buf_append(out, value->packed, value->len);
}
