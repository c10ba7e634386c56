/* work.c: see work.h. */
#include "worker/work.h"

void work_forget(struct work *work)
{
    read_batch_release(work->batch);
    retry_fini(&work->retry);
    rulebook_release(work->book);
    *work = (struct work){0};
}

bool work_is_some(const struct work *work)
{
    return work->batch != NULL || work_is_moment(work);
}

bool work_is_letter(const struct work *work)
{
    return work->batch != NULL && work->batch->is_inbox;
}

bool work_is_moment(const struct work *work)
{
    return work->until_ms > 0;
}

struct batch_entry *work_first_entry(struct work *work)
{
    if (work->batch == NULL)
        return NULL;
    return work_is_letter(work) ? &work->retry.entry : &work->batch->entries[work->first];
}

const struct batch_entry *work_entry(const struct work *work, const struct sealed_batch *sealed,
                                     uint32_t entry)
{
    const struct batch_entry *fired = sealed_batch_fired(sealed, entry);
    if (fired != NULL)
        return fired;
    return work_is_letter(work) ? &work->retry.entry : &work->batch->entries[work->first + entry];
}

bool work_advance(const struct work *work)
{
    if (work->batch == NULL || work->batch->is_inbox)
        return false;
    for (uint32_t i = work->first; i < work->first + work->count; i++) {
        struct source *s = work->batch->sources[i];
        s->sent = work->batch->ids[i];
        s->sent_count++;
    }
    return work->count > 0;
}

void work_refuse(const struct work *work, const struct sealed_batch *sealed, struct bridge *bridge,
                 uint32_t place, const char *message)
{
    const struct effect *effect = &sealed->effects[place];
    bridge_refuse(bridge, work_entry(work, sealed, effect->entry), effect,
                  sealed->out.data + effect->at, message);
}

void work_describe_refused(const struct work *work, const struct sealed_batch *sealed,
                           const struct bridge *bridge, uint32_t place, struct letter *letter,
                           struct bridge_described *texts)
{
    if (work->retry.is_command) {
        retry_describe(&work->retry, letter);
        return;
    }
    const struct effect *effect = &sealed->effects[place];
    bridge_describe(bridge, work->book, work_entry(work, sealed, effect->entry), effect->rule,
                    letter, texts);
    letter->payload = sealed->out.data + effect->at;
    letter->payload_len = effect->len;
    if (!work_is_letter(work))
        letter->attempts = 1;
}
