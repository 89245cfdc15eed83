"""The default model trained on one GPU by PyTorch in eager mode, as its users write it: the peer of tests/gpu/run-suite.sh.

Images and labels lie in the GPU's memory; batches are slices of a permutation made there. Nothing waits for the GPU but the
clock. One JSON object on stdout: samples, seconds, samples per second: the median of the rounds, each of some seconds.
"""

import argparse
import json
import statistics
import time

import torch
from torch import nn

SAMPLES = 60_000


def make_step(batch_size, lr):
    device = torch.device("cuda", 0)
    torch.manual_seed(1)
    images = torch.randn(SAMPLES, 784, device=device)
    labels = torch.randint(10, (SAMPLES,), device=device)
    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10)).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    loss_of = nn.CrossEntropyLoss()
    order = torch.randperm(SAMPLES, device=device)
    places = range(0, SAMPLES - batch_size + 1, batch_size)

    def step(number):
        begin = places[number % len(places)]
        chosen = order[begin : begin + batch_size]
        optimizer.zero_grad()
        loss_of(model(images[chosen]), labels[chosen]).backward()
        optimizer.step()

    return step


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args()
    step = make_step(args.batch_size, args.lr)
    for number in range(200):
        step(number)
    torch.cuda.synchronize()
    steps, rates, all_began = 0, [], time.perf_counter()
    for _ in range(args.rounds):
        began, before = time.perf_counter(), steps
        while time.perf_counter() - began < args.seconds:
            for _ in range(100):
                step(steps)
                steps += 1
            torch.cuda.synchronize()
        rates.append((steps - before) * args.batch_size / (time.perf_counter() - began))
    print(json.dumps({"torch": torch.__version__, "batch_size": args.batch_size, "samples": steps * args.batch_size,
                      "seconds": time.perf_counter() - all_began, "samples_per_second": statistics.median(rates)}))


if __name__ == "__main__":
    main()
