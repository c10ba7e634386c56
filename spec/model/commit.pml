/* commit.pml: the commit protocol (design 4, parts 1 to 4) for a model checker: scripts/model.
 *
 * Two owners take the partition whenever they like, since the lease is about liveness and never about safety: so every zombie and
 * every takeover is in here. Each works event after event, over links that break at any moment. What was sent on a broken link
 * may still arrive, at any later moment, or never; and its reply is never seen. With EDITS, a shell edits once. With TAIL, Redis
 * loses its tail once: every link breaks, and it is as it was at some moment of before.
 *
 * Claim: a commit that lands is always about the event that comes next (no event is lost, doubled or out of order).
 *
 *   READ_FIRST_ACQUIRE, READ_FIRST_COMMIT    ctl is read before WATCH: the claim must fail
 *   NO_FENCE                                 commits do not WATCH ctl, nor look at it: the claim must fail */

#define OWNERS 2
#define LINKS  4 /* each owner has the one of its number; behind them, broken ones whose EXEC is still on its way */
#ifndef EVENTS
#define EVENTS 2
#endif
#ifndef BREAKS
#define BREAKS 2 /* links that break, in all */
#endif
#ifndef TAKES
#define TAKES 4 /* acquires that are tried, in all */
#endif

mtype = { TAKE, COMMIT, DONE, NIL };
#define NOTHING 0 /* as everything is at the beginning */

/* ctl, and what has truly happened; `kept` is what a Redis that loses its tail goes back to. */
typedef redis_state {
    byte fence, commits, edits, offset;
    byte done;
};
redis_state now, kept;
#ifndef TAIL
#define TAIL false
#endif
#ifndef EDITS
#define EDITS false
#endif
bool may_lose_tail = TAIL, may_edit = EDITS, has_kept = false;
byte breaks = BREAKS, fences;

typedef link_state {
    bool broken, watching, dirty;
    mtype sent;     /* an EXEC on its way: TAKE or COMMIT */
    mtype reply;    /* DONE or NIL */
    byte fence;     /* what a TAKE writes */
    byte event;     /* what a COMMIT is about; a TAKE writes the position as it was read */
    byte commits;   /* what either writes */
};
link_state links[LINKS];

inline clear(l)
{
    links[l].broken = false; links[l].watching = false; links[l].dirty = false;
    links[l].sent = NOTHING; links[l].reply = NOTHING; links[l].fence = 0; links[l].event = 0; links[l].commits = 0;
}

/* ctl has changed. */
inline touch()
{
    i = 0;
    do
    :: i < LINKS -> links[i].dirty = links[i].dirty || links[i].watching; i++
    :: else -> break
    od;
    i = 0
}

inline watch(l)
{
    links[l].watching = true; links[l].dirty = false
}

inline read_ctl()
{
    fence = now.fence; commits = now.commits; edits = now.edits; offset = now.offset
}

inline run_exec(l)
{
    if
    :: links[l].watching && links[l].dirty -> links[l].reply = NIL
    :: else ->
        if
        :: links[l].sent == TAKE ->
            now.fence = links[l].fence;
            now.offset = links[l].event;
            now.commits = links[l].commits
        :: links[l].sent == COMMIT ->
            assert(links[l].event == now.done + 1);
            now.done = links[l].event;
            now.offset = links[l].event;
            now.commits = links[l].commits
        fi;
        links[l].watching = false;
        touch();
        links[l].reply = DONE
    fi;
    links[l].watching = false; links[l].dirty = false; links[l].sent = NOTHING;
    if
    :: l >= OWNERS -> clear(l) /* nobody hears the answer */
    :: else
    fi
}

active proctype redis()
{
    byte i, l;
    do
    :: atomic { links[0].sent != NOTHING -> run_exec(0) }
    :: atomic { links[1].sent != NOTHING -> run_exec(1) }
    :: atomic { links[2].sent != NOTHING -> run_exec(2) }
    :: atomic { links[3].sent != NOTHING -> run_exec(3) }
    :: d_step { may_edit -> may_edit = false; now.edits++; touch() }
    :: d_step { may_lose_tail && !has_kept -> /* this much is safe on disk */
        has_kept = true;
        kept.fence = now.fence; kept.commits = now.commits; kept.edits = now.edits; kept.offset = now.offset;
        kept.done = now.done
    }
    :: atomic { may_lose_tail -> /* and this much comes back */
        may_lose_tail = false; has_kept = false;
        now.fence = kept.fence; now.commits = kept.commits; now.edits = kept.edits; now.offset = kept.offset;
        now.done = kept.done;
        kept.fence = 0; kept.commits = 0; kept.edits = 0; kept.offset = 0; kept.done = 0;
        l = 0;
        do
        :: l < LINKS -> clear(l); links[l].broken = l < OWNERS; l++
        :: else -> break
        od;
        l = 0
    }
    od
}

/* Our end of the link is gone, and with it what we remember. What was sent is still on its way, if it arrives at all. */
inline move_late(l)
{
    links[l].watching = links[me].watching; links[l].dirty = links[me].dirty; links[l].sent = links[me].sent;
    links[l].fence = links[me].fence; links[l].event = links[me].event; links[l].commits = links[me].commits
}

inline leave()
{
    if
    :: links[me].sent != NOTHING && links[OWNERS].sent == NOTHING -> move_late(OWNERS)
    :: links[me].sent != NOTHING && links[OWNERS].sent != NOTHING && links[OWNERS + 1].sent == NOTHING -> move_late(OWNERS + 1)
    :: true /* it never arrives */
    fi;
    clear(me);
    fence = 0; commits = 0; edits = 0; offset = 0
}

#define GONE (links[me].broken) /* Redis has died under it */

active [OWNERS] proctype owner()
{
    byte fence, commits, edits, offset, me = _pid - 1; /* redis is 0 */

connect:
take:
    if
    :: atomic { GONE -> leave(); goto connect }
    :: else
    fi;
#ifdef READ_FIRST_ACQUIRE
    atomic { read_ctl() };
    atomic { watch(me) };
#else
    atomic { watch(me) };
    atomic { read_ctl() };
#endif
    atomic {
        if
        :: GONE -> leave(); goto connect
        :: else
        fi;
        fences < TAKES;
        fences++;
        fence = fences;
        links[me].fence = fence;
        links[me].event = offset;
        links[me].commits = commits;
        links[me].sent = TAKE
    }
    if
    :: atomic { !GONE && links[me].reply == DONE -> links[me].reply = NOTHING }
    :: atomic { !GONE && links[me].reply == NIL -> links[me].reply = NOTHING; goto take }
    :: atomic { GONE -> leave(); goto connect }
    :: atomic { !GONE && breaks > 0 -> breaks--; leave(); goto connect }
    fi;

arm:
#ifdef NO_FENCE
    skip;
#else
#ifdef READ_FIRST_COMMIT
    atomic {
        if
        :: GONE || now.fence != fence || now.commits != commits || now.edits != edits -> leave(); goto connect
        :: else
        fi
    }
    atomic { watch(me) };
#else
    atomic { watch(me) };
    atomic {
        if
        :: GONE || now.fence != fence || now.commits != commits || now.edits != edits -> leave(); goto connect
        :: else
        fi
    }
#endif
#endif
    if
    :: offset == EVENTS -> goto end_done
    :: else
    fi;
    atomic {
        if
        :: GONE -> leave(); goto connect
        :: else
        fi;
        links[me].event = offset + 1;
        links[me].commits = commits + 1;
        links[me].sent = COMMIT
    }
    if
    :: atomic { !GONE && links[me].reply == DONE -> links[me].reply = NOTHING; offset++; commits++; goto arm }
    :: atomic { !GONE && links[me].reply == NIL -> links[me].reply = NOTHING; goto take }
    :: atomic { GONE -> leave(); goto connect }
    :: atomic { !GONE && breaks > 0 -> breaks--; leave(); goto connect }
    fi;

end_done:
    skip
}
