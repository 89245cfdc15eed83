/* WaitPoint of runtime/sync: waiters announce themselves, look again and sleep; notifiers look for the announcement.
 *
 * Shown: while a token is there, a waiter does not wait for good. The condition (`ready` of the code) is a number of
 * tokens; a waiter takes one away, or with EVENT leaves it to the others. Without DEATH nothing ends a sleep but a
 * wake-up, so none may be lost: all must come to their end. With DEATH a waiter or a notifier may be killed at any step,
 * and a sleep may end at any time, as the code's slices do.
 *
 * The fences of the code make the order of the steps here that of the memory; LOOK_BEFORE_STORE is also what a missing
 * fence in `notify` does, and ANNOUNCE_AFTER_LOOK a missing one in `announce`.
 */
#define WAITERS 2
#define NOTIFIERS 2
#define PROCESSES 4

byte tokens;
bool sleepers;           /* the lowest bit of the word */
byte wakes;              /* and the count in the others */
bool asleep[WAITERS];    /* in the kernel */
bool served[WAITERS];
bool dead[PROCESSES];

#ifdef DEATH
#define WAITS (!served[0] && !dead[0] || !served[1])  /* of the waiters only the first is killed */
ltl nobody_waits_beside_a_token { [] (tokens > 0 && WAITS -> <> (tokens == 0 || !WAITS)) }
#endif

#ifdef EVENT
#define READY d_step { tokens > 0; served[me] = true }
#else
#define READY d_step { tokens > 0; tokens--; served[me] = true }
#endif

#if defined(DEATH) && !defined(MISTAKE_SLEEP_WITHOUT_SLICES)
#define SLICE_ENDS true
#else
#define SLICE_ENDS false
#endif

proctype Waiter(byte me) {
  bool seen_sleepers;
  byte seen_wakes;
  {
    if
    :: READY -> goto done
    :: else
    fi;
    do
    ::
#ifdef MISTAKE_ANNOUNCE_AFTER_LOOK
      if
      :: READY -> goto done
      :: else
      fi;
#endif
      d_step { sleepers = true; seen_sleepers = true; seen_wakes = wakes };
#ifndef MISTAKE_ANNOUNCE_AFTER_LOOK
      if
      :: READY -> goto done
      :: else
      fi;
#endif
#ifdef MISTAKE_SLEEP_WITHOUT_COMPARING
      asleep[me] = true;
#else
      d_step {  /* futex_wait: the kernel compares and puts to sleep at once */
        if
        :: sleepers == seen_sleepers && wakes == seen_wakes -> asleep[me] = true
        :: else
        fi
      };
#endif
      if
      :: !asleep[me]
      :: SLICE_ENDS -> asleep[me] = false
      fi;
      if
      :: READY -> goto done
      :: else
      fi
    od;
    done: skip
  } unless { dead[me] }
}

inline wake_all() {
#ifdef MISTAKE_WAKE_ONE
  if
  :: asleep[0] -> asleep[0] = false
  :: asleep[1] -> asleep[1] = false
  :: !asleep[0] && !asleep[1]
  fi
#else
  d_step { asleep[0] = false; asleep[1] = false }
#endif
}

inline notify() {
  d_step { seen_sleepers = sleepers; seen_wakes = wakes };
  do
  :: !seen_sleepers -> break
  :: else ->
    d_step {  /* compare and exchange */
      if
      :: sleepers == seen_sleepers && wakes == seen_wakes ->
        sleepers = false;
#ifndef MISTAKE_WAKE_WITHOUT_COUNTING
        wakes++;
#endif
        exchanged = true
      :: else -> seen_sleepers = sleepers; seen_wakes = wakes
      fi
    };
    if
    :: exchanged -> wake_all(); break
    :: else
    fi
  od
}

proctype Notifier(byte me) {
  bool seen_sleepers, exchanged;
  byte seen_wakes;
  {
#ifdef MISTAKE_LOOK_BEFORE_STORE
    notify();
    tokens++
#else
    tokens++;
    notify()
#endif
  } unless { dead[me] }
}

init {
  byte id;
  atomic {
    for (id : 0 .. WAITERS - 1) { run Waiter(id) }
    for (id : WAITERS .. PROCESSES - 1) { run Notifier(id) }
#ifdef DEATH
    if
    :: id = 0
    :: id = WAITERS
    fi
  };
  if
  :: dead[id] = true
  :: true
  fi
#else
  }
#endif
}
