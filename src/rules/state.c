/* state.c: an open-addressing table of pointers to slots, a list of the slots that the batch has
 * changed, and a clock hand. */
#include "rules/state.h"

#include "base/hash.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct slot {
    struct state_slot view; /* first: the kernel holds a pointer to it */
    char *before; /* bytes of before the batch, while is_changed; NULL when there were none */
    uint32_t before_len, before_head, before_version;
    double before_expiry_ms;
    uint32_t value_cap; /* room behind view.bytes */
    uint32_t rule;
    uint64_t hash;
    uint32_t key_len;
    bool is_changed; /* in `changed`: must not be dropped */
    bool is_touched; /* since the clock hand came by */
    char key[];
};

struct states {
    struct slot **table; /* NULL: empty; never a tombstone (removal shifts back) */
    size_t mask, count;
    struct slot **changed;
    size_t changed_count, changed_cap;
    size_t bytes, most_bytes;
    size_t hand;
    bool *is_all; /* by number of the rule: every state of it is here */
    uint32_t is_all_count;
    uint64_t seed;
};

enum { STATES_SMALLEST = 1024 };

static void *must(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

static size_t slot_bytes(const struct slot *slot)
{
    return sizeof *slot + slot->key_len + slot->value_cap +
           48; /* 48: the table's share and the allocator's */
}

struct states *states_create(size_t most_bytes)
{
    struct states *s = must(calloc(1, sizeof *s));
    s->mask = STATES_SMALLEST - 1;
    s->table = must(calloc(STATES_SMALLEST, sizeof *s->table));
    s->most_bytes = most_bytes;
    s->seed = hash_seed(s);
    return s;
}

static void slot_free(struct states *s, struct slot *slot)
{
    s->bytes -= slot_bytes(slot);
    s->count--;
    free((char *)slot->view.bytes);
    free(slot->before);
    free(slot);
}

void states_drop(struct states *s)
{
    for (size_t i = 0; i <= s->mask; i++) {
        if (s->table[i] != NULL)
            slot_free(s, s->table[i]);
        s->table[i] = NULL;
    }
    s->changed_count = s->is_all_count = 0;
    assert(s->count == 0 && s->bytes == 0);
}

void states_destroy(struct states *s)
{
    if (s == NULL)
        return;
    states_drop(s);
    free(s->table);
    free(s->changed);
    free(s->is_all);
    free(s);
}

/* The place of a key: where it is, or the empty place where it belongs. */
static size_t place_of(const struct states *s, uint64_t hash, uint32_t rule, const char *key,
                       size_t len)
{
    size_t i = hash & s->mask;
    for (;; i = (i + 1) & s->mask) {
        const struct slot *slot = s->table[i];
        if (slot == NULL)
            return i;
        if (slot->hash == hash && slot->rule == rule && slot->key_len == len &&
            (len == 0 || memcmp(slot->key, key, len) == 0))
            return i;
    }
}

static void grow(struct states *s)
{
    size_t old_count = s->mask + 1;
    struct slot **old = s->table;
    s->mask = old_count * 2 - 1;
    s->table = must(calloc(s->mask + 1, sizeof *s->table));
    for (size_t i = 0; i < old_count; i++)
        if (old[i] != NULL)
            s->table[place_of(s, old[i]->hash, old[i]->rule, old[i]->key, old[i]->key_len)] =
                old[i];
    free(old);
    s->hand = 0;
}

static bool has_all(const struct states *s, uint32_t rule)
{
    return rule < s->is_all_count && s->is_all[rule];
}

/* A slot, without a state, for a key that has none. */
static struct slot *add_slot(struct states *s, uint64_t hash, uint32_t rule, const char *key,
                             size_t key_len)
{
    if ((s->count + 1) * 4 > (s->mask + 1) * 3)
        grow(s);
    struct slot *slot = must(calloc(1, sizeof *slot + key_len));
    slot->rule = rule;
    slot->hash = hash;
    slot->key_len = (uint32_t)key_len;
    if (key_len > 0)
        memcpy(slot->key, key, key_len);
    slot->is_touched = true;
    s->table[place_of(s, hash, rule, key, key_len)] = slot;
    s->count++;
    s->bytes += slot_bytes(slot);
    return slot;
}

struct state_slot *states_find(struct states *s, uint32_t rule, const char *key, size_t key_len)
{
    uint64_t hash = hash_key(s->seed, rule, key, key_len);
    struct slot *slot = s->table[place_of(s, hash, rule, key, key_len)];
    if (slot == NULL && has_all(s, rule))
        slot = add_slot(s, hash, rule, key, key_len);
    if (slot == NULL)
        return NULL;
    slot->is_touched = true;
    return &slot->view;
}

void states_know_all(struct states *s, uint32_t rule)
{
    if (rule >= s->is_all_count) {
        s->is_all = must(realloc(s->is_all, (rule + 1) * sizeof *s->is_all));
        memset(s->is_all + s->is_all_count, 0, (rule + 1 - s->is_all_count) * sizeof *s->is_all);
        s->is_all_count = rule + 1;
    }
    s->is_all[rule] = true;
}

bool state_head(const char *bytes, size_t len, double *expiry_ms, uint32_t *version, uint32_t *head)
{
    const unsigned char *p = (const unsigned char *)bytes, *end = p + len;
    if (len < 4 || *p++ != 0x93)
        return false;
    uint64_t numbers[2];
    for (int i = 0; i < 2; i++) {
        if (p == end)
            return false;
        unsigned char first = *p++;
        size_t width = first == 0xcc                    ? 1
                       : first == 0xcd                  ? 2
                       : first == 0xce                  ? 4
                       : first == 0xcf || first == 0xd3 ? 8
                                                        : 0;
        if (first >= 0x80 && width == 0)
            return false;
        if ((size_t)(end - p) <= width)
            return false;
        numbers[i] = width == 0 ? first : 0;
        while (width-- > 0)
            numbers[i] = numbers[i] << 8 | *p++;
        if (first == 0xd3 && numbers[i] > INT64_MAX) /* negative */
            return false;
    }
    if (numbers[1] > UINT32_MAX)
        return false;
    *expiry_ms = (double)numbers[0];
    *version = (uint32_t)numbers[1];
    *head = (uint32_t)(p - (const unsigned char *)bytes);
    return true;
}

static void set_value(struct states *s, struct slot *slot, const char *bytes, uint32_t len,
                      uint32_t head, double expiry_ms, uint32_t version)
{
    if (len > slot->value_cap) {
        s->bytes += len - slot->value_cap;
        slot->view.bytes = must(realloc((char *)slot->view.bytes, len));
        slot->value_cap = len;
    }
    if (len > 0)
        memcpy((char *)slot->view.bytes, bytes, len);
    slot->view.len = len;
    slot->view.head = head;
    slot->view.expiry_ms = expiry_ms;
    slot->view.version = version;
}

bool states_load(struct states *s, uint32_t rule, const char *key, size_t key_len,
                 const char *bytes, size_t len)
{
    uint64_t hash = hash_key(s->seed, rule, key, key_len);
    if (s->table[place_of(s, hash, rule, key, key_len)] != NULL)
        return true;
    struct slot *slot = add_slot(s, hash, rule, key, key_len);
    double expiry_ms;
    uint32_t version, head;
    if (len == 0)
        return true;
    if (len > UINT32_MAX || !state_head(bytes, len, &expiry_ms, &version, &head))
        return false;
    set_value(s, slot, bytes, (uint32_t)len, head, expiry_ms, version);
    return true;
}

static void note_change(struct states *s, struct slot *slot)
{
    if (slot->is_changed)
        return;
    if (s->changed_count == s->changed_cap) {
        s->changed_cap = s->changed_cap > 0 ? s->changed_cap * 2 : 1024;
        s->changed = must(realloc(s->changed, s->changed_cap * sizeof *s->changed));
    }
    s->changed[s->changed_count++] = slot;
    slot->is_changed = true;
    slot->before_len = slot->view.len;
    slot->before_head = slot->view.head;
    slot->before_expiry_ms = slot->view.expiry_ms;
    slot->before_version = slot->view.version;
    if (slot->view.len > 0) {
        slot->before = must(malloc(slot->view.len));
        memcpy(slot->before, slot->view.bytes, slot->view.len);
    }
}

void states_put(struct states *s, struct state_slot *view, const char *bytes, uint32_t len,
                uint32_t head, double expiry_ms, uint32_t version, double now_ms)
{
    struct slot *slot = (struct slot *)view;
    bool is_expired = view->expiry_ms != 0 && view->expiry_ms <= now_ms;
    assert(head <= len);
    if (len > 0 && view->len > 0 && !is_expired && version == view->version &&
        len - head == view->len - view->head &&
        memcmp(bytes + head, view->bytes + view->head, len - head) == 0)
        return;
    if (len == 0 && view->len == 0)
        return;
    note_change(s, slot);
    set_value(s, slot, bytes, len, head, expiry_ms, version);
}

static void forget_before(struct slot *slot)
{
    free(slot->before);
    slot->before = NULL;
    slot->is_changed = false;
}

void states_discard(struct states *s)
{
    for (size_t i = 0; i < s->changed_count; i++) {
        struct slot *slot = s->changed[i];
        set_value(s, slot, slot->before, slot->before_len, slot->before_head,
                  slot->before_expiry_ms, slot->before_version);
        forget_before(slot);
    }
    s->changed_count = 0;
}

void states_seal(struct states *s)
{
    for (size_t i = 0; i < s->changed_count; i++)
        forget_before(s->changed[i]);
    s->changed_count = 0;
}

/* Takes a slot out of the table; those behind it that belong earlier move up (Knuth 6.4, algorithm
 * R). */
static void remove_at(struct states *s, size_t i)
{
    slot_free(s, s->table[i]);
    s->table[i] = NULL;
    for (size_t j = (i + 1) & s->mask; s->table[j] != NULL; j = (j + 1) & s->mask) {
        size_t home = s->table[j]->hash & s->mask;
        bool stays = i <= j ? home > i && home <= j : home > i || home <= j;
        if (!stays) {
            s->table[i] = s->table[j];
            s->table[j] = NULL;
            i = j;
        }
    }
}

void states_begin(struct states *s)
{
    assert(s->changed_count == 0);
    /* Two turns at most: the first may only clear marks, the second takes whatever it meets. So it
     * ends with enough gone. */
    while (s->bytes > s->most_bytes) {
        struct slot *slot = s->table[s->hand];
        if (slot != NULL && !slot->is_touched) {
            if (slot->view.len > 0 && has_all(s, slot->rule))
                s->is_all[slot->rule] = false;
            remove_at(s, s->hand); /* the hand stays: another may have moved here */
            continue;
        }
        if (slot != NULL)
            slot->is_touched = false;
        s->hand = (s->hand + 1) & s->mask;
    }
}

bool states_next_change(const struct states *s, size_t *cursor, struct state_change *change)
{
    if (*cursor == s->changed_count)
        return false;
    const struct slot *slot = s->changed[(*cursor)++];
    *change = (struct state_change){
        .rule = slot->rule,
        .key = slot->key,
        .key_len = slot->key_len,
        .bytes = slot->view.bytes,
        .len = slot->view.len,
    };
    return true;
}

size_t states_bytes(const struct states *s)
{
    return s->bytes;
}

size_t states_count(const struct states *s)
{
    return s->count;
}
