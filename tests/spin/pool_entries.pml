/* The ring of entries of a Pool's job table (runtime/work/job_table.cpp): in which order the workers come by the jobs,
 * and how they leave once the pool is closed, which may be at any time. A task may kill its worker, or end its process as
 * if all were well; then the supervisor gives the chunk back and replaces the worker. Jobs may be cancelled.
 *
 * Shown: the ring has always room; a chunk that is free is found, also one that a dead worker leaves when all others
 * have stepped over its job; each is done once; the owner has all its results, then the workers leave and the supervisor
 * ends. What is lost here leaves somebody waiting, which Spin reports as an invalid end state.
 *
 * How a chunk is claimed and a slot is retired is shown by pool.pml: here a claim is one step, and chunks are counted. So
 * a worker that dies without a chunk leaves nothing behind, and dies here only as it leaves. Also left out: retries that
 * come to their end (the chunk is final then), the sleep of those who wait (wait_point.pml), and the deaths of the owner
 * and the supervisor, which end the pool.
 *
 * By hand: spin -a -DDEATHS=2 pool_entries.pml && cc -O2 -DSAFETY -o pan pan.c && ./pan -m100000
 * After an error (add -DMISTAKE_…), spin -t -p -g with the same flags prints the way there.
 */
#define WORKERS 2
#ifndef SLOTS
#define SLOTS 2
#endif
#define JOBS (SLOTS + 1)  /* the last one in the slot of the first, whose entry may still be there */
#ifndef CHUNKS
#define CHUNKS 1
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#define ROOM (SLOTS + 1)  /* as much as is needed; in the code twice the slots */
#define NOWHERE 255

mtype = { ALIVE, ENDED, LEFT }

bool ticket[SLOTS];      /* a job is in this slot */
byte entry[SLOTS];       /* 1 + the index of the last entry that names it; under the lock */
byte free[SLOTS];        /* how many chunks are free, */
byte final[SLOTS];       /* and how many are done or cancelled */

byte order[ROOM];        /* the entries: slots */
byte head, tail;
bool append_lock;
bool closed;
bool submits;            /* the lock of the owner's threads, as far as it matters here */

byte place[WORKERS] = NOWHERE;  /* the slot of the chunk that it runs */
bool is_over[WORKERS];          /* its stage: nothing is left to do */
mtype life[WORKERS] = ALIVE;
bool exit_is_ok[WORKERS];
byte deaths;                    /* so far */

inline lock_and_look() {
  d_step { !append_lock -> append_lock = true; seen_head = head }
}

inline append_with_lock(which) {
  if
#ifdef MISTAKE_APPEND_EACH_TIME
  :: true ->
#elif defined(MISTAKE_COUNT_THE_ENTRY_AT_HEAD)
  :: entry[which] > seen_head -> append_lock = false
  :: entry[which] <= seen_head ->
#else
  :: entry[which] > seen_head + 1 -> append_lock = false
  :: entry[which] <= seen_head + 1 ->
#endif
     assert(tail - head < ROOM);
     d_step { order[tail % ROOM] = which; tail++; entry[which] = tail; append_lock = false }
  fi;
  seen_head = 0
}

inline append(which) {
  lock_and_look();
  append_with_lock(which)
}

/* JobTable::claim. `place` is a slot afterwards if there was a free chunk. */
inline claim() {
  do
  :: seen_head = head;
     if
     :: seen_head == tail -> break
     :: seen_head != tail
     fi;
     slot = order[seen_head % ROOM];
     d_step {
       if
       :: ticket[slot] && free[slot] > 0 -> free[slot]--; place[me] = slot
       :: else
       fi;
       slot = 0
     };
     if
     :: place[me] != NOWHERE -> break
     :: else
     fi;
     d_step {
       if
       :: head == seen_head -> head++
       :: else
       fi
     }
  od;
  seen_head = 0
}

inline work() {
  if
  :: d_step { deaths < DEATHS -> deaths++; exit_is_ok[me] = true }; goto dead
  :: d_step { deaths < DEATHS -> deaths++ }; goto dead
  :: d_step { final[place[me]]++; place[me] = NOWHERE }
  fi
}

proctype Worker(byte me) {
  byte seen_head, slot;
  bool was_closed;
begin:
  do
  :: was_closed = closed;
     claim();
#ifdef MISTAKE_LOOK_BEFORE_CLOSED
     was_closed = closed;
#endif
     if
     :: place[me] != NOWHERE -> work()
     :: place[me] == NOWHERE && was_closed -> break
     :: place[me] == NOWHERE && !was_closed -> head != tail || closed
     fi
  od;
  is_over[me] = true;
  if
  :: exit_is_ok[me] = true
  :: d_step { deaths < DEATHS -> deaths++ }
  fi;
dead:
  was_closed = false;
  life[me] = ENDED;
  if
  :: life[me] == ALIVE -> goto begin  /* the next process */
  :: life[me] == LEFT
  fi
}

/* JobTable::free_again */
inline give_back() {
#ifdef MISTAKE_LOOK_BEFORE_REPAIR
  lock_and_look();
  free[place[worker]]++;
  append_with_lock(place[worker])
#else
  free[place[worker]]++;
#ifndef MISTAKE_REPAIR_WITHOUT_ENTRY
  append(place[worker])
#endif
#endif
}

/* PoolSupervisor::replace */
inline replace() {
#ifdef MISTAKE_CLEAR_PLACE_FIRST
  place[worker] = NOWHERE;
#endif
  if
  :: place[worker] != NOWHERE -> give_back()
  :: else
  fi;
  d_step {
    place[worker] = NOWHERE;
    if
#ifdef MISTAKE_BELIEVE_THE_EXIT_CODE
    :: closed && exit_is_ok[worker] -> life[worker] = LEFT; left++
#else
    :: closed && is_over[worker] -> life[worker] = LEFT; left++
#endif
    :: else -> life[worker] = ALIVE
    fi;
    is_over[worker] = false;
    exit_is_ok[worker] = false;
    worker = 0
  }
}

proctype Supervisor() {
  byte worker, left, seen_head;
  do
  :: left == WORKERS -> break
  :: d_step { life[0] == ENDED -> worker = 0 }; replace()
  :: d_step { life[1] == ENDED -> worker = 1 }; replace()
  od
}

inline open(which) {
  d_step { free[which] = CHUNKS; final[which] = 0 };
#ifdef MISTAKE_ENTRY_BEFORE_TICKET
  append(which);
  ticket[which] = true
#else
  ticket[which] = true;
  append(which)
#endif
}

/* PoolCore::collect, for a job that was cancelled perhaps. */
inline collect(which) {
  if
  :: d_step { final[which] = final[which] + free[which]; free[which] = 0 }
  :: true
  fi;
  final[which] == CHUNKS;
  ticket[which] = false;
  place[0] != which && place[1] != which;
  assert(free[which] == 0 && final[which] == CHUNKS)
}

proctype Owner() {
  byte job, seen_head;
  for (job : 0 .. JOBS - 1) {
    if
    :: job >= SLOTS -> collect(job % SLOTS)
    :: else
    fi;
    if
    :: closed -> break
    :: d_step { !closed -> submits = true }
    fi;
    open(job % SLOTS);
    submits = false
  };
  for (job : 0 .. SLOTS - 1) {
    if
    :: ticket[job] -> collect(job)
    :: else
    fi
  }
}

/* Another thread of the owner's process, at any time. */
proctype Closer() {
#ifdef MISTAKE_CLOSE_WITHOUT_LOCK
  closed = true
#else
  d_step { !submits -> closed = true }
#endif
}

init {
  byte worker;
  atomic {
    run Owner();
    run Closer();
    run Supervisor();
    for (worker : 0 .. WORKERS - 1) { run Worker(worker) }
  }
}
