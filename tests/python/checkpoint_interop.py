"""Reads and writes hogpen's checkpoints as users of PyTorch do, without any code of hogpen.

usage: checkpoint_interop.py read CHECKPOINT        load into torch.nn.Sequential, check CRCs, print sums of the tensors
       checkpoint_interop.py write FILE             save such a model's state_dict, print sums of its tensors
       checkpoint_interop.py accuracy CHECKPOINT DATA    classify the test set of IDX files, print the accuracy
"""

import gzip
import json
import sys
import zlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file


def make_model() -> torch.nn.Sequential:
    return torch.nn.Sequential(torch.nn.Linear(784, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))


def sums(tensors: dict[str, torch.Tensor]) -> dict[str, float]:
    return {name: tensor.double().sum().item() for name, tensor in tensors.items()}


def load_model(checkpoint: Path) -> torch.nn.Sequential:
    model = make_model()
    model.load_state_dict(load_file(checkpoint / "model.safetensors"), strict=True)
    return model


def check_crcs(checkpoint: Path) -> None:
    """Compares what docs/formats.md says of state.json with zlib's own CRC-32."""
    for name, record in json.loads((checkpoint / "state.json").read_text())["files"].items():
        path = checkpoint / name
        assert path.stat().st_size == record["bytes"], f"{path}: size"
        tensors = load_file(path)
        assert tensors.keys() == record["crc32"].keys(), f"{path}: names"
        for key, tensor in tensors.items():
            crc = f"{zlib.crc32(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()):08x}"
            assert crc == record["crc32"][key], f"{path}: {key}: {crc}"


def read_idx(directory: Path, name: str) -> np.ndarray:
    plain = directory / name
    data = plain.read_bytes() if plain.exists() else gzip.decompress((directory / f"{name}.gz").read_bytes())
    rank = data[3]
    shape = [int(size) for size in np.frombuffer(data, ">u4", rank, 4)]
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


def accuracy(checkpoint: Path, data: Path) -> float:
    normalization = json.loads((checkpoint / "state.json").read_text())["normalization"]
    images = torch.from_numpy(read_idx(data, "t10k-images-idx3-ubyte").copy()).flatten(1).float()
    labels = torch.from_numpy(read_idx(data, "t10k-labels-idx1-ubyte").astype(np.int64))
    images = (images / 255 - normalization["mean"]) / normalization["stddev"]
    with torch.no_grad():
        predicted = load_model(checkpoint)(images).argmax(dim=1)
    return (predicted == labels).double().mean().item()


def main(arguments: list[str]) -> int:
    match arguments:
        case ["read", checkpoint]:
            check_crcs(Path(checkpoint))
            print(json.dumps(sums(load_model(Path(checkpoint)).state_dict())))
        case ["write", file]:
            torch.manual_seed(1)
            tensors = make_model().state_dict()
            save_file(tensors, file, metadata={"format": "pt"})
            print(json.dumps(sums(tensors)))
        case ["accuracy", checkpoint, data]:
            print(json.dumps({"accuracy": accuracy(Path(checkpoint), Path(data))}))
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
