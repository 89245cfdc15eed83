"""Hogwild training as users of torch.multiprocessing write it: the peer that `compare.py` runs beside hogpen.

Forked processes share a Sequential(Linear(784,128), ReLU, Linear(128,10)) by share_memory() and train it with plain SGD on
Fashion-MNIST. One JSON object on stdout: samples, seconds (from a common start to the end of the last), samples per second.
"""

import argparse
import gzip
import json
import time

import numpy as np
import torch
import torch.multiprocessing as mp
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

DATA = "/usr/share/datasets/fashion-mnist"


def load_data():
    with gzip.open(f"{DATA}/train-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 784)
    with gzip.open(f"{DATA}/train-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    images = (images.astype(np.float32) / 255 - 0.2860) / 0.3530
    return torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64))


def sliced_batches(images, labels, batch_size):
    for begin in range(0, len(images), batch_size):
        yield images[begin : begin + batch_size], labels[begin : begin + batch_size]


def train(rank, model, images, labels, args, start):
    torch.set_num_threads(1)
    torch.manual_seed(rank)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loss_of = nn.CrossEntropyLoss()
    loader = DataLoader(TensorDataset(images, labels), batch_size=args.batch_size, shuffle=True)
    start.wait()
    for _ in range(args.epochs):
        batches = loader if args.loader else sliced_batches(images, labels, args.batch_size)
        for inputs, targets in batches:
            optimizer.zero_grad()
            loss_of(model(inputs), targets).backward()
            optimizer.step()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=2, help="of each process, over all data")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--loader", action="store_true", help="through a DataLoader instead of slices of tensors")
    args = parser.parse_args()

    torch.set_num_threads(1)
    images, labels = load_data()
    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10)).share_memory()
    context = mp.get_context("fork")
    start = context.Barrier(args.workers + 1)
    processes = [
        context.Process(target=train, args=(rank, model, images, labels, args, start)) for rank in range(args.workers)
    ]
    for process in processes:
        process.start()
    start.wait()
    began = time.perf_counter()
    for process in processes:
        process.join()
        if process.exitcode != 0:
            raise SystemExit(f"a process ended with {process.exitcode}")
    seconds = time.perf_counter() - began
    samples = args.workers * args.epochs * len(images)
    print(json.dumps({"samples": samples, "seconds": seconds, "samples_per_second": samples / seconds}))


if __name__ == "__main__":
    main()
