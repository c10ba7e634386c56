/* message.h: what a worker and its supervisor say to each other over their channel (channel.h).
 *
 *   worker                              supervisor
 *   LOADED edition, rules      ──>      knows what the numbers in its notes mean
 *   FOUND tag …, SCANNED       ──>      gives each tag to one worker, once and for all
 *                              <──      BLAME …, TAKE tag
 *                              <──      RULES edition
 *   LOADED edition, rules      ──>      a successor gets these rules, too
 *   BLAMED                     ──>      forgets the blame: its letter has landed
 *   REFUSED edition, why       ──>      tells people: it goes on with the rules of before
 *                              <──      STATUS serial
 *   STATUS serial, JSON        ──>
 *                              <──      STOP
 *
 * Both are the same program, forked without exec: structs travel as they are. A tag is the hash tag
 * that names a partition, of length 0 for the streams without one. */
#ifndef TIDEMILL_WORKER_MESSAGE_H
#define TIDEMILL_WORKER_MESSAGE_H

#include "rules/note.h"

#include <stdint.h>

enum message_type {
    MESSAGE_LOADED,  /* struct message_loaded, then as many struct message_rule as its count */
    MESSAGE_FOUND,   /* struct message_tag, then the tag */
    MESSAGE_SCANNED, /* struct message_scanned: all that its rules read was told of */
    MESSAGE_TAKE,    /* struct message_tag, then the tag */
    MESSAGE_BLAME,   /* struct blame */
    MESSAGE_BLAMED,  /* struct blame */
    MESSAGE_RULES,   /* an edition, as edition_write writes it: to run from now on */
    MESSAGE_REFUSED, /* struct message_refused */
    MESSAGE_STATUS,  /* struct message_status; in the answer, JSON behind it (status.h) */
    MESSAGE_STOP,    /* nothing: drain, give the leases back, end */
};

struct message_loaded {
    uint64_t edition;
    uint64_t count;
};

/* The rules that it runs from now on, in the order of their numbers, the first of which is 1. */
struct message_rule {
    char name[RULE_NAME];
    char version[16];
};

/* Which of a partition's streams came when the group knew their glob already: those begin at their
 * start, others where --from says. It matters until the partition has been owned once; then its ctl
 * knows. Who found it first says so; but what is found when another worker had seen all there was
 * already has come later, though its finder has never looked before. */
enum message_later { LATER_NONE, LATER_SOME /* each worker can tell which */, LATER_ALL };

struct message_refused {
    uint64_t edition;
    char why[512];
};

struct message_tag {
    uint64_t edition; /* of the rules that read it */
    uint32_t later;   /* enum message_later */
};

struct message_scanned {
    uint64_t edition;
};

struct message_status {
    uint64_t serial; /* of the question */
};

#endif
