"""Hogwild training as users of torch.multiprocessing write it: the peer that `compare.py` runs beside hogpen.

Forked processes share a model by share_memory() and train it with SGD on Fashion-MNIST. Models: `mlp`, which is
Sequential(Linear(784,128), ReLU, Linear(128,10)), and `convnet`, the one of PyTorch's mnist_hogwild example, with its
momentum. Variants:

    sgd      torch.optim.SGD; batches are slices of tensors in memory
    inplace  the same without an optimizer: parameters are updated in place under no_grad
    manual   of mlp: forward and backward pass by hand without autograd, updates by addmm_ into the shared weights
    loader   torch.optim.SGD, and a DataLoader that shuffles

One JSON object on stdout: samples, seconds (from a common start to the end of the last), samples per second, accuracy.
"""

import argparse
import gzip
import json
import math
import time

import numpy as np
import torch
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

DATA = "/usr/share/datasets/fashion-mnist"
VARIANTS = ("sgd", "inplace", "manual", "loader")


def load_data(part):
    with gzip.open(f"{DATA}/{part}-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 784)
    with gzip.open(f"{DATA}/{part}-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    images = (images.astype(np.float32) / 255 - 0.2860) / 0.3530
    return torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64))


class ConvNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 10, kernel_size=5)
        self.conv2 = nn.Conv2d(10, 20, kernel_size=5)
        self.drop_channels = nn.Dropout2d()
        self.fc1 = nn.Linear(320, 50)
        self.fc2 = nn.Linear(50, 10)

    def forward(self, images):
        x = F.relu(F.max_pool2d(self.conv1(images.view(-1, 1, 28, 28)), 2))
        x = F.relu(F.max_pool2d(self.drop_channels(self.conv2(x)), 2))
        x = F.dropout(F.relu(self.fc1(x.view(-1, 320))), training=self.training)
        return F.log_softmax(self.fc2(x), dim=1)


def make_model(name):
    if name == "convnet":
        return ConvNet()
    return nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))


class OptimizerStep:
    """Autograd and torch.optim."""

    def __init__(self, model, args):
        self.model = model
        self.optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=args.momentum)
        self.loss_of = nn.NLLLoss() if args.model == "convnet" else nn.CrossEntropyLoss()

    def __call__(self, inputs, targets, rate):
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.zero_grad()
        self.loss_of(self.model(inputs), targets).backward()
        self.optimizer.step()


class InPlaceStep:
    """Autograd, and updates without an optimizer."""

    def __init__(self, model, args):
        self.model = model
        self.parameters = list(model.parameters())
        self.momentum = args.momentum
        self.velocities = [torch.zeros_like(parameter) for parameter in self.parameters] if self.momentum else []
        self.loss_of = nn.NLLLoss() if args.model == "convnet" else nn.CrossEntropyLoss()

    def __call__(self, inputs, targets, rate):
        gradients = torch.autograd.grad(self.loss_of(self.model(inputs), targets), self.parameters)
        with torch.no_grad():
            for velocity, gradient in zip(self.velocities, gradients):
                velocity.mul_(self.momentum).add_(gradient)
            for parameter, change in zip(self.parameters, self.velocities or gradients):
                parameter.sub_(change, alpha=rate)


class ManualStep:
    """Without autograd: five products, of which two add straight to the shared weights. Targets are one-hot rows."""

    def __init__(self, model, _):
        self.w1, self.b1, self.w2, self.b2 = (parameter.detach() for parameter in model.parameters())

    @torch.no_grad()
    def __call__(self, inputs, targets, rate):
        hidden = torch.addmm(self.b1, inputs, self.w1.t()).relu_()
        by_logits = torch.addmm(self.b2, hidden, self.w2.t()).softmax(1).sub_(targets).div_(len(inputs))
        by_hidden = (by_logits @ self.w2).mul_(hidden > 0)
        self.w2.addmm_(by_logits.t(), hidden, alpha=-rate)
        self.b2.sub_(by_logits.sum(0), alpha=rate)
        self.w1.addmm_(by_hidden.t(), inputs, alpha=-rate)
        self.b1.sub_(by_hidden.sum(0), alpha=rate)


STEPS = {"sgd": OptimizerStep, "inplace": InPlaceStep, "manual": ManualStep, "loader": OptimizerStep}


def batches(images, targets, args):
    """One epoch."""
    size = args.batch_size
    if args.variant == "loader":
        yield from DataLoader(TensorDataset(images, targets), batch_size=size, shuffle=True)
    elif args.shuffle:
        for chosen in torch.randperm(len(images)).split(size):
            yield images[chosen], targets[chosen]
    else:
        for begin in range(0, len(images), size):
            yield images[begin : begin + size], targets[begin : begin + size]


def endless_batches(images, targets, args):
    while True:
        yield from batches(images, targets, args)


def train(rank, model, images, targets, args, start):
    torch.set_num_threads(1)
    torch.manual_seed(args.seed + 1 + rank)
    model.train()
    step = STEPS[args.variant](model, args)
    steps = steps_of(args, len(images))
    start.wait()
    for number, (inputs, chosen) in zip(range(steps), endless_batches(images, targets, args)):
        falling = 0.5 * (1 + math.cos(math.pi * number / steps)) if args.lr_schedule == "cosine" else 1
        step(inputs, chosen, args.lr * falling)


def steps_of(args, samples):
    per_epoch = math.ceil(samples / args.batch_size)
    return max(1, round(args.epochs * per_epoch))


def samples_of(steps, samples, batch_size):
    """The last batch of an epoch is smaller."""
    whole, rest = divmod(steps, math.ceil(samples / batch_size))
    return whole * samples + rest * batch_size


def evaluate(model):
    images, labels = load_data("t10k")
    model.eval()
    with torch.no_grad():
        return (model(images).argmax(1) == labels).float().mean().item()


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", choices=VARIANTS, default="sgd")
    parser.add_argument("--model", choices=("mlp", "convnet"), default="mlp")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=float, default=2, help="of each process, over all data; also a part of one")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, help="0.1 for mlp and 0.01 for convnet, by default")
    parser.add_argument("--momentum", type=float, help="0 for mlp and 0.5 for convnet, by default")
    parser.add_argument("--lr-schedule", choices=("constant", "cosine"), default="constant")
    parser.add_argument("--shuffle", action="store_true", help="gather the samples of a new permutation each epoch")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    is_convnet = args.model == "convnet"
    args.lr = (0.01 if is_convnet else 0.1) if args.lr is None else args.lr
    args.momentum = (0.5 if is_convnet else 0.0) if args.momentum is None else args.momentum
    if args.variant == "manual" and (is_convnet or args.momentum):
        parser.error("the variant 'manual' is written for the mlp without momentum")
    return args


def main():
    args = parse_arguments()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    images, labels = load_data("train")
    targets = F.one_hot(labels, 10).float() if args.variant == "manual" else labels
    model = make_model(args.model).share_memory()
    context = mp.get_context("fork")
    start = context.Barrier(args.workers + 1)
    processes = [
        context.Process(target=train, args=(rank, model, images, targets, args, start)) for rank in range(args.workers)
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
    samples = args.workers * samples_of(steps_of(args, len(images)), len(images), args.batch_size)
    print(json.dumps({"samples": samples, "seconds": seconds, "samples_per_second": samples / seconds,
                      "accuracy": evaluate(model)}))


if __name__ == "__main__":
    main()
