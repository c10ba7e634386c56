/* pending.c: see pending.h. Where timers stand, and lists of them. */
#include "cli/pending.h"

#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const clocks[PENDING_CLOCKS] = {[TIMER_WALL] = "wall", [TIMER_EVENT] = "event"};

const char *pending_clock_name(enum timer_kind clock)
{
    return clocks[clock];
}

int pending_refuse(const struct buf *key, const struct reply *reply, struct error *error)
{
    return error_set(error, ERROR_REPLY, "cannot read %s: Redis says %s", key->data,
                     reply->type == REPLY_ERROR ? reply->text : "something unexpected");
}

/* -- Rules -- */

static void add_rule(struct pending *p, const struct partitions *partitions, size_t partition,
                     const char *rule, size_t len)
{
    struct pending_rule *list = realloc(p->list, (p->count + 1) * sizeof *list);
    const char *prefix = partitions->list[partition].prefix.data;
    if (list == NULL)
        abort();
    p->list = list;
    struct pending_rule *r = &p->list[p->count++];
    *r = (struct pending_rule){.partition = partition};
    snprintf(r->rule, sizeof r->rule, "%.*s", (int)len, rule);
    for (size_t clock = 0; clock < PENDING_CLOCKS; clock++) {
        buf_append(&r->queues[clock], prefix, partitions->list[partition].prefix.len);
        buf_printf(&r->queues[clock], "timers:%s:%s", r->rule, clocks[clock]);
        buf_text(&r->queues[clock]);
    }
    buf_append(&r->payloads, prefix, partitions->list[partition].prefix.len);
    buf_printf(&r->payloads, "timerdata:%s", r->rule);
    buf_text(&r->payloads);
}

static void rule_fini(struct pending_rule *r)
{
    for (size_t clock = 0; clock < PENDING_CLOCKS; clock++)
        buf_fini(&r->queues[clock]);
    buf_fini(&r->payloads);
}

/* PREFIX timers:RULE:CLOCK of one of the partitions. */
static void add_found(struct pending *p, const struct partitions *partitions,
                      const struct reply *key)
{
    static const char middle[] = "timers:";
    for (size_t i = 0; i < partitions->count; i++) {
        const struct buf *prefix = &partitions->list[i].prefix;
        size_t head = prefix->len + sizeof middle - 1;
        if (key->len <= head || memcmp(key->text, prefix->data, prefix->len) != 0 ||
            memcmp(key->text + prefix->len, middle, sizeof middle - 1) != 0)
            continue;
        const char *rule = key->text + head, *colon = memrchr(rule, ':', key->len - head);
        size_t len = colon == NULL ? 0 : (size_t)(colon - rule);
        char name[RULE_NAME];
        snprintf(name, sizeof name, "%.*s", (int)len, rule);
        if (len >= sizeof name || !cli_is_rule_name(name))
            continue;
        for (size_t clock = 0; clock < PENDING_CLOCKS; clock++) {
            if (strlen(clocks[clock]) == key->len - head - len - 1 &&
                memcmp(colon + 1, clocks[clock], strlen(clocks[clock])) == 0)
                add_rule(p, partitions, i, rule, len);
        }
    }
}

static int compare_rules(const void *a, const void *b)
{
    const struct pending_rule *x = a, *y = b;
    if (x->partition != y->partition)
        return x->partition < y->partition ? -1 : 1;
    return strcmp(x->rule, y->rule);
}

/* SCAN may give a key twice, and a rule can have two queues. */
static void sort_rules(struct pending *p)
{
    size_t kept = 0;
    if (p->count == 0)
        return;
    qsort(p->list, p->count, sizeof p->list[0], compare_rules);
    for (size_t i = 1; i < p->count; i++) {
        if (compare_rules(&p->list[kept], &p->list[i]) == 0)
            rule_fini(&p->list[i]);
        else
            p->list[++kept] = p->list[i];
    }
    p->count = kept + 1;
}

static int scan(struct client *client, const struct config *config,
                const struct partitions *partitions, struct pending *p, struct error *error)
{
    struct buf pattern = {0};
    char cursor[32] = "0";
    int code;
    buf_printf(&pattern, "tidemill:*%s:timers:*", config->group);
    do {
        const struct reply *reply;
        code = client_call(client, &reply, error, "SCAN", cursor, "MATCH", buf_text(&pattern),
                           "COUNT", "5000", NULL);
        if (code == 0 && reply->type != REPLY_ARRAY)
            code = error_set(
                error, ERROR_REPLY,
                "cannot look for the timers of %s (give a rule with --rule): Redis says %s",
                config->group, reply->type == REPLY_ERROR ? reply->text : "something unexpected");
        if (code != 0)
            break;
        snprintf(cursor, sizeof cursor, "%s", reply->elements[0]->text);
        for (uint32_t i = 0; i < reply->elements[1]->count; i++)
            add_found(p, partitions, reply->elements[1]->elements[i]);
    } while (strcmp(cursor, "0") != 0);
    buf_fini(&pattern);
    return code;
}

int pending_find(struct client *client, const struct config *config,
                 const struct partitions *partitions, struct pending *out, struct error *error)
{
    struct pending found = {0};
    const char *rule = config->timers.rule;
    int code = rule == NULL ? scan(client, config, partitions, &found, error) : 0;
    for (size_t i = 0; rule != NULL && i < partitions->count; i++)
        add_rule(&found, partitions, i, rule, strlen(rule));
    if (code != 0) {
        pending_fini(&found);
        return code;
    }
    sort_rules(&found);
    *out = found;
    return 0;
}

void pending_fini(struct pending *p)
{
    for (size_t i = 0; i < p->count; i++)
        rule_fini(&p->list[i]);
    free(p->list);
    *p = (struct pending){0};
}

/* -- Lists -- */

void pending_list_add(struct pending_list *l, const struct pending_timer *timer, const char *member)
{
    if (l->count == l->room) {
        l->room = l->room == 0 ? 64 : l->room * 2;
        l->list = realloc(l->list, l->room * sizeof *l->list);
        if (l->list == NULL)
            abort();
    }
    struct pending_timer *added = &l->list[l->count++];
    *added = *timer;
    added->at = l->members.len;
    buf_append(&l->members, member, timer->len);
}

/* The order of design 3.5: due, rule, key and name; what is left is only a partition's place. */
static int compare_timers(const void *a, const void *b, void *context)
{
    const struct pending_timer *x = a, *y = b;
    const char *members = context;
    if (x->due_ms != y->due_ms)
        return x->due_ms < y->due_ms ? -1 : 1;
    int order = compare_rules(x->rule, y->rule);
    if (order == 0)
        order = (x->clock > y->clock) - (x->clock < y->clock);
    if (order != 0)
        return order;
    order = memcmp(members + x->at, members + y->at, x->len < y->len ? x->len : y->len);
    return order != 0 ? order : (x->len > y->len) - (x->len < y->len);
}

static bool is_same(const struct pending_timer *x, const struct pending_timer *y,
                    const char *members)
{
    return x->rule == y->rule && x->clock == y->clock && x->len == y->len &&
           memcmp(members + x->at, members + y->at, x->len) == 0;
}

/* Bytes of timers that go are given back by copying those that stay. */
void pending_list_sort(struct pending_list *l, size_t most)
{
    struct pending_list kept = {0};
    if (l->count == 0)
        return;
    qsort_r(l->list, l->count, sizeof l->list[0], compare_timers, l->members.data);
    for (size_t i = 0; i < l->count && (most == 0 || kept.count < most); i++) {
        const struct pending_timer *timer = &l->list[i];
        if (i == 0 || !is_same(timer, &l->list[i - 1], l->members.data))
            pending_list_add(&kept, timer, l->members.data + timer->at);
    }
    pending_list_fini(l);
    *l = kept;
}

void pending_list_clear(struct pending_list *l)
{
    l->count = 0;
    l->members.len = 0;
}

void pending_list_fini(struct pending_list *l)
{
    free(l->list);
    buf_fini(&l->members);
    *l = (struct pending_list){0};
}
