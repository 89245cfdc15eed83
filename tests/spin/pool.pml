/* The jobs of a Pool in runtime/work: workers claim chunks, an owner submits and retires jobs, a supervisor repairs what
 * a dead worker leaves and replaces it. Any worker may be killed at any step.
 *
 * Shown: each chunk becomes final once, with the result of its own job; it fails only when its workers have died more
 * often than the retries allow; nobody is left waiting; nobody touches a job's memory once the owner has taken it back.
 * With ALL_END also that nobody goes round in circles.
 *
 * There is one slot, used by one job after the other, so that what a slow worker has read of one meets the next. The
 * words of the code are those of the steps: what stands in one d_step is one atomic operation there. Idle workers wait
 * for an entry; how a wait is woken is shown by wait_point.pml.
 */
#define WORKERS 2
#define CHUNKS 2
#ifndef JOBS
#define JOBS 2
#endif
#define RETRIES 1
#ifndef KILLS
#define KILLS 1
#endif

mtype = { FREE, RUNNING, DONE, FAILED }
#define NOWHERE 255

mtype status[CHUNKS];    /* these three are one word */
byte attempt[CHUNKS];
byte runner[CHUNKS];

byte cursor;             /* these two are one word */
byte repairs;

byte ticket;             /* 0: no job */
byte head, tail;         /* of the entries, all of which name the one slot, */
byte entry;              /* its last one, counted from 1 */
bool appending;          /* the lock of both who append */
byte place[WORKERS] = NOWHERE;

byte memory;             /* the job whose memory it is; 0: nobody's */
byte result[CHUNKS];
byte commits[CHUNKS];    /* for the assertions alone, as */
byte deaths[CHUNKS];

mtype = { ALIVE, KILLED, GONE }
mtype fate[WORKERS] = ALIVE;
bool over;

#define IS_FINAL(c) (status[c] == DONE || status[c] == FAILED)
#ifdef ALL_END
ltl the_owners_wait_ends { <> over }
#endif

/* Whoever works on a job finds its memory. */
#define TOUCH assert(memory == seen_ticket)

inline look_at_job() {
#ifdef MISTAKE_TICKET_BEFORE_PLACE
  seen_ticket = ticket;
  place[me] = 0
#else
  place[me] = 0;
  seen_ticket = ticket
#endif
}

/* JobTable::claim_of: `mine` tells whether `chunk` was claimed. */
inline claim_chunk() {
  do
  :: d_step { TOUCH; chunk = cursor; seen_repairs = repairs };
     if
     :: chunk == CHUNKS -> break
     :: else
     fi;
#ifndef MISTAKE_PLACE_AFTER_CLAIM
     place[me] = chunk;
#endif
     d_step { TOUCH; was_free = status[chunk] == FREE; seen_attempt = attempt[chunk] };
     d_step {
       TOUCH;
       if
#ifdef MISTAKE_CLAIM_WITHOUT_COMPARING
       :: was_free ->
#else
       :: was_free && status[chunk] == FREE && attempt[chunk] == seen_attempt ->
#endif
         status[chunk] = RUNNING;
         runner[chunk] = me;
         mine = true
       :: else
       fi
     };
#ifdef MISTAKE_PLACE_AFTER_CLAIM
     place[me] = chunk;
#endif
     d_step {
       TOUCH;
       if
       :: cursor == chunk && repairs == seen_repairs -> cursor++
       :: else
       fi
     };
     if
     :: mine -> break
     :: else
     fi
  od
}

inline run_and_commit() {
  d_step { TOUCH; result[chunk] = seen_ticket };
#ifdef MISTAKE_LEAVE_BEFORE_COMMIT
  place[me] = NOWHERE;
#endif
  d_step {
    TOUCH;
    assert(status[chunk] == RUNNING && runner[chunk] == me);
    status[chunk] = DONE;
    commits[chunk]++
  }
}

/* So that what no longer matters makes no states of its own. */
inline forget() {
  seen_head = 0;
  seen_ticket = 0;
  chunk = 0;
  seen_repairs = 0;
  seen_attempt = 0;
  was_free = false
}

proctype Worker(byte me) {
  byte seen_head, seen_ticket, chunk, seen_repairs, seen_attempt;
  bool was_free, mine;
  born: {
    do
    :: d_step { !over && head != tail -> seen_head = head };
      look_at_job();
      if
      :: seen_ticket != 0 -> claim_chunk()
      :: else
      fi;
      if
      :: mine -> run_and_commit(); d_step { place[me] = NOWHERE; mine = false; forget() }
      :: else ->
        place[me] = NOWHERE;
        d_step {
          if
#ifndef MISTAKE_POP_NOTHING
          :: head == seen_head -> head++
#endif
          :: else
          fi;
          forget()
        }
      fi
    od
  } unless {
    if
    :: over
    :: d_step { !over && fate[me] == KILLED -> fate[me] = GONE; mine = false; forget() }
    fi
  };
  if
  :: over
  :: fate[me] == ALIVE -> goto born  /* its successor */
  fi
}

/* JobTable::append: none is needed if one behind the head will be looked at anyhow. */
inline append() {
#ifdef MISTAKE_TRUST_THE_ENTRY_AT_HEAD
#define LAST_SEEN head
#else
#define LAST_SEEN (head + 1)
#endif
  d_step { !appending -> appending = true };
  if
  :: entry > LAST_SEEN
  :: else -> d_step { entry = tail + 1; tail++ }
  fi;
  appending = false
}

/* PoolSupervisor::replace: the chunk that the dead worker ran is free again, or has failed. */
inline repair(worker) {
  at = place[worker];
  if
  :: at != NOWHERE && ticket != 0 ->
    d_step {
      assert(memory != 0);
#ifdef MISTAKE_REPAIR_WHAT_IS_NOT_RUNNING
      was_running = true
#else
      was_running = status[at] == RUNNING && runner[at] == worker
#endif
    };
    if
    :: was_running && attempt[at] == RETRIES ->
      d_step { deaths[at]++; status[at] = FAILED; commits[at]++ }
    :: was_running && attempt[at] < RETRIES ->
      d_step { deaths[at]++; status[at] = FREE; attempt[at]++ };
      d_step {
#ifndef MISTAKE_REPAIR_WITHOUT_COUNTING
        repairs++;
#endif
        if
        :: at < cursor -> cursor = at
        :: else
        fi
      };
#ifndef MISTAKE_REPAIR_WITHOUT_ENTRY
      append()
#endif
    :: else
    fi
  :: else
  fi;
  place[worker] = NOWHERE
}

proctype Supervisor() {
  byte at, worker;
  bool was_running;
  do
  :: over -> break
  :: d_step { !over && (fate[0] == GONE || fate[1] == GONE) -> worker = (fate[0] == GONE -> 0 : 1) };
    repair(worker);
    d_step { fate[worker] = ALIVE; at = 0; was_running = false; worker = 0 }
  od
}

inline submit() {
  d_step {
    for (chunk : 0 .. CHUNKS - 1) {
      status[chunk] = FREE;
      attempt[chunk] = 0;
      runner[chunk] = 0;
      result[chunk] = 0;
      commits[chunk] = 0;
      deaths[chunk] = 0
    };
    cursor = 0;
    repairs = 0;
    memory = job
  };
  ticket = job;
  append()
}

inline check_results() {
  d_step {
    for (chunk : 0 .. CHUNKS - 1) {
      assert(commits[chunk] == 1);
      assert(status[chunk] == FAILED || result[chunk] == job);
      assert(status[chunk] == DONE || deaths[chunk] == RETRIES + 1)
    }
  }
}

inline retire() {
  ticket = 0;
#ifndef MISTAKE_RETIRE_UNDER_A_WORKER
  place[0] == NOWHERE;
  place[1] == NOWHERE;
#endif
  memory = 0
}

proctype Owner() {
  byte job, chunk;
  for (job : 1 .. JOBS) {
    submit();
    IS_FINAL(0) && IS_FINAL(1);
    check_results();
    retire()
  };
  over = true
}

#define KILL(id) d_step { kills < KILLS && fate[id] == ALIVE -> fate[id] = KILLED; kills++ }

init {
  byte kills, id;
  atomic {
    run Owner();
    run Supervisor();
    for (id : 0 .. WORKERS - 1) { run Worker(id) }
  }
#ifdef DEATH
  do
  :: KILL(0)
  :: KILL(1)
  :: break
  od
#endif
}
