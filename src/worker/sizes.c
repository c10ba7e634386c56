/* sizes.c: see sizes.h. Two HLEN for each rule there ever was in this process, by the numbers that
 * states are kept under: of its states, and of its windows. */
#include "worker/sizes.h"

#include "redis/command.h"

static void on_size(void *context, const struct reply *reply)
{
    struct sizes *s = context;
    uint32_t rule = s->came / 2 + 1, windows = s->came % 2 == 0 ? 0 : STATE_WINDOWS;
    s->came++;
    if (reply->type == REPLY_INTEGER && reply->integer == 0)
        states_know_all(s->states, windows + rule);
}

void sizes_ask(struct sizes *s, struct link *link, const struct keys *keys,
               const struct registry *registry)
{
    struct buf key = {0};
    uint32_t count = names_count(registry->rules);
    s->came = 0;
    for (uint32_t place = 0; place < 2 * count; place++) {
        uint32_t windows = place % 2 == 0 ? 0 : STATE_WINDOWS;
        registry_state_key(registry, windows + place / 2 + 1, keys->prefix.data, &key);
        command_append(link_out(link), "HLEN", key.data, NULL);
        link_expect(link, on_size, s, NULL, 0);
    }
    buf_fini(&key);
}
