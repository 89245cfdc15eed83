"""What `hogpen bench sync queue spawn pool elementwise` measures, done with Python's own means; one JSON object on stdout.

    .venv/bin/python tests/peers/python_runtime.py [--seconds 1]

multiprocessing with fork, as on Linux; the tensors with torch.multiprocessing. Names and units are those of `hogpen bench`.
"""

import argparse
import json
import multiprocessing
import os
import queue
import statistics
import sys
import threading
import time

import numpy
import torch
import torch.multiprocessing

FORK = multiprocessing.get_context("fork")
TORCH = torch.multiprocessing.get_context("fork")
LEAST_SAMPLES = 5


class Recorder:
    def __init__(self, seconds):
        self.seconds = seconds
        self.figures = []

    def measure(self, suite, name, unit, sample):
        sample()
        samples, end = [], time.perf_counter() + self.seconds
        while len(samples) < LEAST_SAMPLES or time.perf_counter() < end:
            samples.append(sample())
        self.figures.append({"suite": suite, "name": name, "unit": unit, "median": statistics.median(samples),
                             "least": min(samples), "most": max(samples), "samples": len(samples)})
        print(self.figures[-1], file=sys.stderr)


def seconds_of(body):
    begin = time.perf_counter()
    body()
    return time.perf_counter() - begin


def median_microseconds(count, body):
    return 1e6 * statistics.median(seconds_of(body) for _ in range(count))


class Child:
    """A forked child for the time of a `with`; it is told to stop, and joined."""

    def __init__(self, target, *args, context=FORK):
        self.process = context.Process(target=target, args=args, daemon=True)

    def __enter__(self):
        self.process.start()
        return self

    def __exit__(self, *_):
        self.process.join(10)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


# --- sync

def answer_semaphores(ask, reply):
    while ask.acquire() and not reply.release():
        if stop_flag.value:
            return


def pass_barrier(barrier, rounds):
    for _ in range(rounds):
        barrier.wait()


stop_flag = FORK.Value("i", 0, lock=False)


def bench_sync(recorder):
    lock = FORK.Lock()

    def lock_once():
        with lock:
            pass

    def lock_ns():
        count = 10_000
        return 1e9 * seconds_of(lambda: [lock_once() for _ in range(count)]) / count

    recorder.measure("sync", "mutex lock and unlock", "ns", lock_ns)

    ask, reply = FORK.Semaphore(0), FORK.Semaphore(0)
    stop_flag.value = 0
    with Child(answer_semaphores, ask, reply):
        def round_trip():
            ask.release()
            reply.acquire()

        recorder.measure("sync", "semaphore round trip", "us", lambda: median_microseconds(500, round_trip))
        stop_flag.value = 1
        round_trip()

    def barrier_us():
        rounds = 200
        barrier = FORK.Barrier(2)
        with Child(pass_barrier, barrier, rounds + 1):
            barrier.wait()
            return 1e6 * seconds_of(lambda: pass_barrier(barrier, rounds)) / rounds

    recorder.measure("sync", "barrier of 2 processes", "us", barrier_us)


# --- queue

def echo_queue(ask, reply):
    for message in iter(ask.get, None):
        reply.put(message)


def echo_pipe(end):
    for message in iter(end.recv, None):
        end.send(message)


def produce(messages, count, item):
    for _ in range(count):
        messages.put(item)


def produce_tensors(messages, permits, tensors):
    # The sender of a torch tensor must live, and keep its files open, until the receiver has opened them.
    for tensor in tensors:
        messages.put(tensor)
    permits.acquire()


def drain(messages, count):
    for _ in range(count):
        messages.get()


def bench_queue(recorder):
    ask, reply = FORK.Queue(), FORK.Queue()
    with Child(echo_queue, ask, reply):
        def through_queue():
            ask.put(1)
            reply.get()

        recorder.measure("queue", "round trip", "us", lambda: median_microseconds(300, through_queue))
        ask.put(None)

    ours, theirs = FORK.Pipe()
    with Child(echo_pipe, theirs):
        def through_pipe():
            ours.send(1)
            ours.recv()

        recorder.measure("queue", "pipe round trip", "us", lambda: median_microseconds(300, through_pipe))
        ours.send(None)

    def processes_per_second():
        count, messages = 20_000, FORK.Queue()
        with Child(produce, messages, count + 1, 1):
            messages.get()
            return count / seconds_of(lambda: drain(messages, count))

    recorder.measure("queue", "small messages between processes", "1/s", processes_per_second)

    def threads_per_second():
        count, messages = 100_000, queue.SimpleQueue()
        producer = threading.Thread(target=produce, args=(messages, count, 1))
        begin = time.perf_counter()
        producer.start()
        drain(messages, count)
        producer.join()
        return count / (time.perf_counter() - begin)

    recorder.measure("queue", "small messages between threads", "1/s", threads_per_second)
    bench_tensors(recorder)


def bench_tensors(recorder):
    def tensors_per_second(make):
        count, messages, permit = 200, TORCH.Queue(), TORCH.Semaphore(0)
        tensors = make(count + 1)
        with Child(produce_tensors, messages, permit, tensors, context=TORCH):
            messages.get()
            rate = count / seconds_of(lambda: drain(messages, count))
            permit.release()
            return rate

    recorder.measure("queue", "tensors of 1 MB, one sent again and again", "1/s",
                     lambda: tensors_per_second(lambda count: [torch.zeros(1 << 18)] * count))
    recorder.measure("queue", "tensors of 1 MB, each a new one", "1/s",
                     lambda: tensors_per_second(lambda count: [torch.zeros(1 << 18) for _ in range(count)]))

    def message_of_500():
        messages, permit = TORCH.Queue(), TORCH.Semaphore(0)
        with Child(produce_tensors, messages, permit, [0, [torch.zeros(16) for _ in range(500)]], context=TORCH):
            messages.get()
            duration = 1e6 * seconds_of(messages.get)
            permit.release()
            return duration

    recorder.measure("queue", "message of 500 tensors", "us", message_of_500)


# --- spawn

def nothing(*_):
    pass


def bench_spawn(recorder):
    def start_and_join():
        process = FORK.Process(target=nothing)
        process.start()
        process.join()

    recorder.measure("spawn", "process started and joined", "us", lambda: median_microseconds(10, start_and_join))
    recorder.measure("spawn", "spawn of 4 and join", "us",
                     lambda: 1e6 * seconds_of(lambda: torch.multiprocessing.start_processes(
                         nothing, nprocs=4, start_method="fork")))


# --- pool

def square(value):
    return value * value


def bench_pool(recorder):
    def start_of_4():
        begin = time.perf_counter()
        with FORK.Pool(4) as pool:
            pool.apply(square, (1,))
            return 1e3 * (time.perf_counter() - begin)

    recorder.measure("pool", "start of 4 workers and first result", "ms", start_of_4)
    with FORK.Pool(2) as pool:
        recorder.measure("pool", "apply", "us", lambda: median_microseconds(200, lambda: pool.apply(square, (3,))))
        many, few = range(1_000_000), range(5_000)
        recorder.measure("pool", "map of tiny items, automatic chunks", "1/s",
                         lambda: len(many) / seconds_of(lambda: pool.map(square, many)))
        recorder.measure("pool", "map of tiny items, chunks of 1", "1/s",
                         lambda: len(few) / seconds_of(lambda: pool.map(square, few, chunksize=1)))


# --- elementwise

def bench_elementwise(recorder):
    column = numpy.random.rand(100, 100)[:, 0]
    chunks = [column[i:i + 25] for i in range(0, 100, 25)]
    with FORK.Pool(len(os.sched_getaffinity(0))) as pool:
        recorder.measure("elementwise", "exp of four chunks of 25, processes", "us",
                         lambda: median_microseconds(200, lambda: pool.map(numpy.exp, chunks)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="*", default=["sync", "queue", "spawn", "pool", "elementwise"])
    parser.add_argument("--seconds", type=float, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    recorder = Recorder(args.seconds)
    benches = {"sync": bench_sync, "queue": bench_queue, "spawn": bench_spawn, "pool": bench_pool,
               "elementwise": bench_elementwise}
    for suite in args.suites:
        benches[suite](recorder)
    json.dump({"figures": recorder.figures}, sys.stdout)


if __name__ == "__main__":
    main()
