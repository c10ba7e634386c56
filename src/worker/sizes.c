/* sizes.c: see sizes.h. One HLEN for each rule there ever was in this process, by the numbers that
 * states are kept under. */
#include "worker/sizes.h"

#include "base/names.h"
#include "redis/command.h"

static void on_size(void *context, const struct reply *reply)
{
    struct sizes *s = context;
    s->came++;
    if (reply->type == REPLY_INTEGER && reply->integer == 0)
        states_know_all(s->states, s->came);
}

void sizes_ask(struct sizes *s, struct link *link, const struct keys *keys,
               const struct registry *registry)
{
    struct buf key = {0};
    uint32_t count = names_count(registry->rules);
    s->came = 0;
    for (uint32_t id = 1; id <= count; id++) {
        keys_state(keys, names_text(registry->rules, id, NULL), &key);
        command_append(link_out(link), "HLEN", key.data, NULL);
        link_expect(link, on_size, s, NULL, 0);
    }
    buf_fini(&key);
}
