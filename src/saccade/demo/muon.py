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


ADAM_BETAS = (0.9, 0.98)


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


def adam_update(
    grad: Tensor,
    first: Tensor,
    second: Tensor,
    master: Tensor,
    share: Tensor,
    rate: Tensor,
    bias: Tensor,
    bias2: Tensor,
) -> None:
    """One Adam step (Kingma and Ba 2015) on flat tensors, in place; bias and bias2 are 1 - beta^t of both moments."""
    first.lerp_(grad, 1 - ADAM_BETAS[0])
    second.mul_(ADAM_BETAS[1]).addcmul_(grad, grad, value=1 - ADAM_BETAS[1])
    master.sub_(rate * share * (first / bias) / ((second / bias2).sqrt() + 1e-10))


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
        # All small parameters lie behind each other in one flat master, so that a step on them is one kernel.
        self.others = [parameter for parameter, _ in others]
        self.master = torch.cat([p.detach().float().flatten() for p in self.others])
        self.share = torch.cat([torch.full((p.numel(),), share, device=p.device) for p, share in others])
        self.grad, self.first, self.second = (torch.zeros_like(self.master) for _ in range(3))
        self.grad_views, self.master_views = self._views(self.grad), self._views(self.master)
        self.scalars = torch.zeros(6, device=self.master.device)
        self.steps = 0
        self.muon = torch.compile(muon_update, dynamic=False) if compiled else muon_update
        self.adam = torch.compile(adam_update, dynamic=False) if compiled else adam_update
        self.every = [*{id(p): p for stack in self.stacks for p, _ in stack.places}.values(), *self.others]

    def _views(self, flat: Tensor) -> list[Tensor]:
        parts = torch.split(flat, [p.numel() for p in self.others])
        return [part.view(p.shape) for part, p in zip(parts, self.others, strict=True)]

    def forget(self) -> None:
        """Start the momenta anew, as after steps at rate zero that only served to compile."""
        for state in (self.first, self.second, *(stack.momentum for stack in self.stacks)):
            state.zero_()
        self.steps = 0

    @torch.no_grad()
    def step(self, *, muon_rate: float, adam_rate: float, beta: float, decay: float) -> None:
        """Take one step from the parameters' gradients and clear them; a missing gradient is zero."""
        self.steps += 1
        bias = [1 - beta**self.steps for beta in ADAM_BETAS]
        # A fill passes its value with the kernel; a copy from the host could wait for the device.
        for scalar, value in zip(self.scalars, (beta, muon_rate, decay, adam_rate, *bias), strict=True):
            scalar.fill_(value)
        b, rate, d, small_rate, bias1, bias2 = self.scalars.unbind()
        for stack in self.stacks:
            grad = torch.stack([p.grad[rows] for p, rows in stack.places if p.grad is not None]).float()
            self.muon(grad, stack.momentum, stack.master, b, rate, d)
            torch._foreach_copy_([p.data[rows] for p, rows in stack.places], list(stack.master.unbind(0)))
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.others]
        torch._foreach_copy_(self.grad_views, grads)
        self.adam(self.grad, self.first, self.second, self.master, self.share, small_rate, bias1, bias2)
        torch._foreach_copy_([p.data for p in self.others], self.master_views)
        for parameter in self.every:
            parameter.grad = None
