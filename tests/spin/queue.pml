/* RecordQueue of runtime/channel: two producers, two consumers, and one who closes it at any time, or, with DEATH, when
 * the producers are over; then a producer and a consumer may be killed at any step, also with a lock.
 *
 * Shown: a message that was put (its store to the tail was made) is taken once and whole, and is lost only with a taker
 * who dies after that; those of a producer come in its order; the block of the shared heap that a message refers to is
 * there until its taker has a share; nobody waits for good. How one waits is a matter of wait_point.pml, how one comes
 * by a lock of robust_mutex.pml: here both are one step. What producers remember of the head, and consumers of the tail,
 * is left out: an older value of it, which errs on the safe side.
 */
#define UNITS 3
#define CAPACITY 2
#define WRAP 8        /* instead of a message: the ring goes on at its begin */
#define NOBODY 9
#define NOTHING 9
#define MESSAGES 3    /* 0 and 1 of producer 0, 2 of producer 1 */
#define FROM(message) ((message) / 2)
#define LENGTH(message) (FROM(message) + 1)  /* in units */

typedef Cursor { byte count; byte position };  /* one word of the code */
Cursor tail, head;
bool closed;                 /* a bit of the tail */
byte ring[UNITS];            /* the number of a message in each of its units */
byte put_lock = NOBODY, get_lock = NOBODY;

bool dead[4], finished[4];   /* producers 0 and 1, consumers 2 and 3 */
byte own[4] = NOTHING;       /* the message in whose block a process has a share */
byte shares[MESSAGES];       /* in a message's block: at 0 it is freed */
bool was_put[MESSAGES];
bool was_taken[MESSAGES];
byte taken_from[2];          /* how many */

#define AT(place) ring[(place) % UNITS]
#define PLACE(position, units) \
  ((position) % UNITS + (units) <= UNITS -> (position) : (position) + UNITS - (position) % UNITS)
#define HAS_ROOM (PLACE(tail.position, units) + units - head.position <= UNITS && tail.count - head.count < CAPACITY)
#define HAS_MESSAGE (tail.count != head.count)

#ifdef MISTAKE_NO_RECOVERY
#define FREE(lock) (lock == NOBODY)
#else
#define FREE(lock) (lock == NOBODY || dead[lock])  /* a robust mutex; nothing has to be mended */
#endif

inline write_payload() {
  if
  :: place != begin -> AT(begin) = WRAP
  :: else
  fi;
  AT(place) = message;
  if
  :: units == 2 -> AT(place + 1) = message
  :: else
  fi
}

inline commit_put() {
#ifdef MISTAKE_COMMIT_IN_TWO_STORES
  d_step { tail.count++; was_put[message] = true };
  tail.position = place + units
#else
  d_step {
#ifdef MISTAKE_CLOSE_IS_OVERWRITTEN
    closed = false;  /* as it was when the tail was loaded */
#endif
    if
    :: closed -> refused = true  /* compare and exchange fails */
    :: else -> tail.count++; tail.position = place + units; was_put[message] = true
    fi
  }
#endif
}

inline put() {
#ifndef MISTAKE_RETAIN_AFTER_COMMIT
  shares[message]++;
#endif
  d_step { begin = tail.position; place = PLACE(begin, units) };
#ifdef MISTAKE_COMMIT_BEFORE_PAYLOAD
  commit_put();
  write_payload();
#else
  write_payload();
  commit_put();
#endif
  put_lock = NOBODY;
#ifdef MISTAKE_RETAIN_AFTER_COMMIT
  shares[message]++;
#endif
  if
  :: refused -> shares[message]--
  :: else
  fi
}

proctype Producer(byte me) {
  byte message = 2 * me, units = me + 1, begin, place;
  bool refused;
  {
    do
    :: message == (me == 0 -> 2 : 3) || refused -> break
    :: else ->
      d_step { own[me] = message; shares[message] = 1 };
      do
      :: atomic { FREE(put_lock) -> put_lock = me };
        if
        :: closed -> refused = true; put_lock = NOBODY; break
        :: !closed && HAS_ROOM -> put(); break
        :: !closed && !HAS_ROOM -> put_lock = NOBODY
        fi;
        HAS_ROOM || closed
      od;
      atomic { shares[message]--; own[me] = NOTHING; message++; begin = 0; place = 0 }
    od;
    finished[me] = true
  } unless { dead[me] }
}

inline read_message() {
  message = AT(place);
  assert(was_put[message] && (LENGTH(message) == 1 || AT(place + 1) == message));
  assert(shares[message] > 0);
  d_step { shares[message]++; own[me] = message }
}

inline commit_get() {
  d_step {
    message = AT(place);
    head.count++;
    head.position = place + LENGTH(message);
    assert(!was_taken[message] && taken_from[FROM(message)] == message % 2);
    was_taken[message] = true;
    taken_from[FROM(message)]++
  }
}

proctype Consumer(byte me) {
  byte message, place;
  {
    do
    :: atomic { FREE(get_lock) -> get_lock = me };
      if
      :: HAS_MESSAGE ->
        d_step { place = (AT(head.position) == WRAP -> PLACE(head.position, UNITS) : head.position) };
#ifdef MISTAKE_COMMIT_BEFORE_READING
        commit_get();
        read_message();
#else
        read_message();
#ifdef MISTAKE_RELEASE_BEFORE_COMMIT
        shares[message]--;
#endif
        commit_get();
#endif
        get_lock = NOBODY;
#ifndef MISTAKE_RELEASE_BEFORE_COMMIT
        shares[message]--;
#endif
        d_step { shares[message]--; own[me] = NOTHING; message = 0; place = 0 }
      :: !HAS_MESSAGE && closed -> get_lock = NOBODY; break
      :: !HAS_MESSAGE && !closed -> get_lock = NOBODY; HAS_MESSAGE || closed
      fi
    od;
    finished[me] = true
  } unless { dead[me] }
}

/* The shares of the dead are given back. */
inline kill(victim) {
  d_step {
    !dead[victim] && !finished[victim];
    dead[victim] = true;
    if
    :: own[victim] != NOTHING -> shares[own[victim]]--
    :: else
    fi
  }
}

#ifdef DEATH
active proctype Death() {
  do
  :: kill(1)
  :: kill(2)
  :: break
  od
}
#endif

#define OVER(process) (finished[process] || dead[process])

init {
  byte message;
  atomic { run Producer(0); run Producer(1); run Consumer(2); run Consumer(3) };
#ifdef DEATH
  finished[0] && OVER(1);
#endif
  closed = true;
  OVER(0) && OVER(1) && OVER(2) && OVER(3);
  d_step {
    for (message : 0 .. MESSAGES - 1) {
      assert(!was_put[message] || was_taken[message])
    }
  }
}
