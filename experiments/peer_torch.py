"""The signed supermask's train step in PyTorch: a process of its own that imports no JAX.

``python peer_torch.py FOLDER`` reads what `peer` left in the folder, answers ``check`` with the
loss and the score gradients of the first batch, and ``steps N`` with what N steps cost: written as
somebody who knows PyTorch would: channels last, fused lists in the optimiser, no host waits.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

Arrays = dict[str, Any]


class SignedWeights(torch.autograd.Function):
    """weights * mask, where mask is the sign of the scores beyond the threshold; gradient g * w."""

    @staticmethod
    def forward(ctx: Any, scores: torch.Tensor, weights: torch.Tensor, cut: float) -> torch.Tensor:
        ctx.save_for_backward(weights)
        kept = torch.where(scores > cut, weights, 0.0)
        return torch.where(scores < -cut, -weights, kept)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return grad * ctx.saved_tensors[0], None, None


def _to_torch(kernel: np.ndarray) -> torch.Tensor:
    """Takes a kernel [H, W, I, O] or [I, O] to PyTorch's order, convolutions channels last."""
    if kernel.ndim == 2:
        return torch.from_numpy(np.ascontiguousarray(kernel.T))
    kernel = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
    return torch.from_numpy(kernel).contiguous(memory_format=torch.channels_last)


def _from_torch(kernel: torch.Tensor) -> np.ndarray:
    array = kernel.detach().numpy()
    return array.T if array.ndim == 2 else array.transpose(2, 3, 1, 0)


class Peer:
    """The network, its scores and its optimiser."""

    def __init__(self, spec: dict[str, Any], arrays: Arrays) -> None:
        self.spec, self.names = spec, spec["layers"]
        self.dtype = getattr(torch, spec["compute_dtype"])
        self.weights = [_to_torch(arrays[f"weights/{name}"]) for name in self.names]
        self.scores = [_to_torch(arrays[f"scores/{name}"]) for name in self.names]
        for scores in self.scores:
            scores.requires_grad_()
        self.trace = [torch.zeros_like(scores) for scores in self.scores]
        self.images = torch.from_numpy(arrays["images"])
        self.labels = torch.from_numpy(arrays["labels"]).long()
        self.order = torch.randperm(len(self.labels), generator=torch.Generator().manual_seed(0))
        self.index = 0

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Maps standardised images [B, H, W, C] to logits float32 [B, K]."""
        kernels = [
            SignedWeights.apply(s, w, cut).to(self.dtype)
            for s, w, cut in zip(self.scores, self.weights, self.spec["cuts"], strict=True)
        ]
        x, last = images.to(self.dtype).permute(0, 3, 1, 2), len(kernels) - 1
        for i, (name, kernel) in enumerate(zip(self.names, kernels, strict=True)):
            if kernel.ndim == 4:
                x = F.conv2d(x, kernel, padding=1)
                x = F.max_pool2d(x, 2) if name in self.spec["pooled"] else x
            else:  # Flattened in the order height, width, channel.
                x = F.linear(x.permute(0, 2, 3, 1).flatten(1) if x.ndim == 4 else x, kernel)
            x = F.elu(x) if i < last else x
        return x.float()

    def gradients(self, rows: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """Returns the mean loss of some rows and its gradients to the scores."""
        images = self.images[rows].float()
        centred = images - images.mean((1, 2, 3), keepdim=True)
        std = centred.square().mean((1, 2, 3), keepdim=True).sqrt()
        images = centred / std.clamp_min(centred[0].numel() ** -0.5)
        loss = F.cross_entropy(self.logits(images), self.labels[rows])
        return loss, torch.autograd.grad(loss, self.scores)

    @torch.no_grad()
    def update(self, grads: tuple[torch.Tensor, ...]) -> None:
        """SGDW with Nesterov momentum; the decay is not multiplied by the learning rate."""
        rate, decay, momentum = (self.spec[k] for k in ("learning_rate", "decay", "momentum"))
        torch._foreach_mul_(self.trace, momentum)
        torch._foreach_add_(self.trace, grads, alpha=-rate)
        torch._foreach_mul_(self.scores, 1 - decay)
        torch._foreach_add_(self.scores, self.trace, alpha=momentum)
        torch._foreach_add_(self.scores, grads, alpha=-rate)

    def steps(self, count: int) -> None:
        """Takes some train steps."""
        size = self.spec["batch_size"]
        for _ in range(count):
            rows = self.order[self.index : self.index + size]
            self.index = (self.index + size) % len(self.order)
            with torch.enable_grad():
                _, grads = self.gradients(rows)
            self.update(grads)


def _answers(peer: Peer, folder: Path) -> Iterator[dict[str, Any]]:
    for line in sys.stdin:
        command, *rest = line.split()
        if command == "check":
            loss, grads = peer.gradients(torch.arange(peer.spec["batch_size"]))
            named = zip(peer.names, map(_from_torch, grads), strict=True)
            np.savez(folder / "torch.npz", loss=loss.item(), **dict(named))
            yield {}
        else:
            wall, cpu = time.perf_counter(), time.process_time()
            peer.steps(int(rest[0]))
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            yield {"wall": wall, "cpu": cpu}


def main(folder: Path) -> None:
    """Serves commands until standard input ends; every answer is one line of JSON."""
    # As XLA does: with denormal numbers some steps of Conv6 and Conv8 take four times as long.
    # It comes before other threads start, because they inherit the setting from this one.
    torch.set_flush_denormal(True)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    spec = json.loads((folder / "spec.json").read_text())
    with np.load(folder / "arrays.npz") as arrays:
        peer = Peer(spec, dict(arrays))
    ready = {"version": torch.__version__, "threads": torch.get_num_threads()}
    print(json.dumps(ready), flush=True)
    for answer in _answers(peer, folder):
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
