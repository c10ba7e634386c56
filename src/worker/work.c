/* work.c: see work.h. */
#include "worker/work.h"

void work_forget(struct work *work)
{
    read_batch_release(work->batch);
    retry_fini(&work->retry);
    rulebook_release(work->book);
    *work = (struct work){0};
}

struct batch_entry *work_first_entry(struct work *work)
{
    return work->batch->is_inbox ? &work->retry.entry : &work->batch->entries[work->first];
}

bool work_advance(const struct work *work)
{
    if (work->batch->is_inbox)
        return false;
    for (uint32_t i = work->first; i < work->first + work->count; i++) {
        struct source *s = work->batch->sources[i];
        s->sent = work->batch->ids[i];
        s->sent_count++;
    }
    return work->count > 0;
}
