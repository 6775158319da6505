"""The optimiser of the demo training: Muon for the blocks' matrices, Adam for all else, fp32 masters of bf16 weights.

Muon (Jordan et al. 2024, "Muon: an optimizer for hidden layers"): the momentum of a matrix is replaced by the nearest
orthogonal matrix, found by five Newton-Schulz steps in bf16, so that every direction of the matrix learns at the same
rate. Matrices of one shape are stacked and treated in one batched product.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the odd polynomial that drives singular values to about 1 in five steps (same source)."""


@dataclass(slots=True)
class Stack:
    """All matrices of one shape: where they live in the model, their fp32 masters and their momentum, [G, r, c]."""

    places: list[tuple[nn.Parameter, slice]]
    master: Tensor
    momentum: Tensor


def orthogonalise(matrices: Tensor) -> Tensor:
    """[G, r, c] -> the nearest (semi-)orthogonal matrices, bf16."""
    a, b, c = NEWTON_SCHULZ
    x = matrices.bfloat16()
    wide = x if x.size(1) <= x.size(2) else x.mT
    wide = wide / (wide.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = wide @ wide.mT
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    out: Tensor = wide if x.size(1) <= x.size(2) else wide.mT
    return out


def muon_update(grad: Tensor, momentum: Tensor, master: Tensor, beta: Tensor, rate: Tensor, decay: Tensor) -> None:
    """One Nesterov step on a stack, in place. beta, rate and decay are 0-dim tensors so that nothing recompiles."""
    momentum.lerp_(grad, 1 - beta)
    update = orthogonalise(grad.lerp(momentum, beta)).float()
    scale = max(1.0, grad.size(1) / grad.size(2)) ** 0.5
    master.mul_(1 - rate * decay).sub_(update * (rate * scale))


class Muon:
    """Splits the model's parameters: `matrices` with the row counts of the matrices fused in each, `others` with the
    share of the Adam rate that each gets."""

    def __init__(
        self,
        matrices: Iterable[tuple[nn.Parameter, Sequence[int]]],
        others: Sequence[tuple[nn.Parameter, float]],
        *,
        compiled: bool,
    ) -> None:
        groups: dict[tuple[int, int], list[tuple[nn.Parameter, slice]]] = defaultdict(list)
        for parameter, rows in matrices:
            start = 0
            for count in rows:
                groups[(count, parameter.shape[1])].append((parameter, slice(start, start + count)))
                start += count
        self.stacks = []
        for places in groups.values():
            master = torch.stack([p.detach()[rows].float() for p, rows in places])
            self.stacks.append(Stack(places, master, torch.zeros_like(master)))
        self.others = [parameter for parameter, _ in others]
        self.masters = [p.detach().float().clone() for p in self.others]
        shares = [share for _, share in others]
        self.adam = torch.optim.AdamW(
            [
                {"params": [m for m, s in zip(self.masters, shares, strict=True) if s == share], "share": share}
                for share in sorted(set(shares))
            ],
            betas=(0.9, 0.98),
            eps=1e-10,
            weight_decay=0.0,
        )
        self.update = torch.compile(muon_update, dynamic=False) if compiled else muon_update

    @torch.no_grad()
    def step(self, *, muon_rate: float, adam_rate: float, beta: float, decay: float) -> None:
        """Take one step from the parameters' gradients and clear them."""
        device = self.masters[0].device
        scalars = torch.tensor([beta, muon_rate, decay]).to(device, non_blocking=True)
        for stack in self.stacks:
            grad = torch.stack([p.grad[rows] for p, rows in stack.places if p.grad is not None]).float()
            self.update(grad, stack.momentum, stack.master, scalars[0], scalars[1], scalars[2])
            torch._foreach_copy_([p.data[rows] for p, rows in stack.places], list(stack.master.unbind(0)))
        for master, parameter in zip(self.masters, self.others, strict=True):
            master.grad = None if parameter.grad is None else parameter.grad.float()
        for group in self.adam.param_groups:
            group["lr"] = adam_rate * group["share"]
        self.adam.step()
        torch._foreach_copy_([p.data for p in self.others], self.masters)
        for parameter in {id(p): p for stack in self.stacks for p, _ in stack.places}.values():
            parameter.grad = None
        for parameter in self.others:
            parameter.grad = None
