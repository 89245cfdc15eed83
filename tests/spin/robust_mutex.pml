/* The lock under Mutex of runtime/sync: a robust mutex as glibc and the kernel make it, and our part in it.
 *
 * Shown: at most one living process is in the critical section; who enters after a death in there is told; nobody waits
 * for good. Without DEATH nothing ends a sleep but a wake-up. With DEATH one process may be killed at any step; then a
 * wake-up may be lost: one that was woken and is killed before it has the lock takes the wake-up with it
 * if a third has taken the lock meanwhile (MISTAKE_SLEEP_WITHOUT_SLICES: pthread_mutex_lock as it is). So the code
 * sleeps in slices, which end at any time here.
 */
#define PROCESSES 3
#define NOBODY 3
#define ROUNDS (me == 1 -> 2 : 1)  /* one comes again while another still sleeps */

byte owner = NOBODY;      /* the word: who, */
bool waiters;             /* FUTEX_WAITERS, */
bool owner_died;          /* FUTEX_OWNER_DIED */
bool asleep[PROCESSES];   /* in the kernel */
bool pending[PROCESSES];  /* list_op_pending: is locking or unlocking */
bool dead[PROCESSES];
bool finished[PROCESSES];
byte inside = NOBODY;     /* the critical section */
bool half_written;        /* what lies under the lock */

#ifdef DEATH
#define OVER(p) (finished[p] || dead[p])
ltl nobody_waits_for_good { <> (OVER(0) && OVER(1) && OVER(2)) }
#endif

#if defined(DEATH) && !defined(MISTAKE_SLEEP_WITHOUT_SLICES)
#define SLICE_ENDS true
#else
#define SLICE_ENDS false
#endif

/* futex_wake of one: which, is the kernel's choice. */
inline wake_one() {
  if
  :: asleep[0] -> asleep[0] = false
  :: asleep[1] -> asleep[1] = false
  :: asleep[2] -> asleep[2] = false
  :: else
  fi
}

inline lock() {
  d_step { pending[me] = true; told = false; keep_waiters = false };
  do
  :: atomic { owner == NOBODY && !owner_died -> owner = me; waiters = keep_waiters }; break
  :: atomic { owner_died ->
       owner_died = false;
       owner = me;
       waiters = waiters || keep_waiters;
#ifndef MISTAKE_DEATH_IS_NOT_TOLD
       told = true
#endif
     };
     break
  :: atomic { owner != NOBODY ->
       waiters = true;
       seen = owner;
#ifndef MISTAKE_FORGET_OTHER_WAITERS
       keep_waiters = true
#endif
     };
     atomic {  /* futex_wait: the kernel compares and puts to sleep at once */
       if
       :: owner == seen && waiters -> asleep[me] = true
       :: else
       fi
     };
     if
     :: !asleep[me]
     :: atomic { SLICE_ENDS -> asleep[me] = false; keep_waiters = false }  /* the next slice is a call of its own */
     fi
  od;
  pending[me] = false
}

inline unlock() {
  atomic { pending[me] = true; wake = waiters; owner = NOBODY; waiters = false };
#ifndef MISTAKE_UNLOCK_WITHOUT_WAKING
  if
  :: wake -> atomic { wake_one() }
  :: else
  fi;
#endif
  pending[me] = false
}

proctype User(byte me) {
  bool told, keep_waiters, wake;
  byte seen, round;
  {
    for (round : 1 .. ROUNDS) {
      lock();
      atomic {
        assert(inside == NOBODY);
        assert(!half_written || told);
        inside = me;
        half_written = true
      };
      atomic { half_written = false; inside = NOBODY };
      unlock()
    };
    finished[me] = true
  } unless { dead[me] }
}

#ifdef DEATH
/* What the kernel does for a process that ends: exit_robust_list. */
inline kill(victim) {
  dead[victim] = true;
  asleep[victim] = false;
  if
  :: inside == victim -> inside = NOBODY
  :: else
  fi;
#ifndef MISTAKE_NOT_ROBUST
  if
  :: pending[victim] && owner == NOBODY -> wake_one()
  :: !pending[victim] && owner == NOBODY
  :: owner == victim ->
    owner = NOBODY;
    owner_died = true;
    if
    :: waiters -> wake_one()
    :: else
    fi
  :: else
  fi
#endif
}
#endif

init {
  byte id;
  atomic {
    for (id : 0 .. PROCESSES - 1) { run User(id) }
  };
#ifdef DEATH
  if
  :: atomic { !finished[0] -> kill(0) }
  :: true
  fi
#endif
}
