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

from saccade.demo.crew import ALONE, Crew

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the odd polynomial that drives singular values to about 1 in five steps (same source)."""


ADAM_BETAS = (0.9, 0.98)


@dataclass(slots=True)
class Stack:
    """All matrices of one shape, [G, r, c]: views of the optimiser's flat tensors."""

    grad: Tensor
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
    share of the Adam rate that each gets.

    Everything lies in flat tensors, stack behind stack and the others at the end: gradients of a crew are averaged by
    one all-reduce, and a step on the others is one kernel.
    """

    def __init__(
        self,
        matrices: Iterable[tuple[nn.Parameter, Sequence[int]]],
        others: Sequence[tuple[nn.Parameter, float]],
        *,
        compiled: bool,
        crew: Crew = ALONE,
    ) -> None:
        self.crew = crew
        groups: dict[tuple[int, int], list[tuple[nn.Parameter, slice]]] = defaultdict(list)
        for parameter, rows in matrices:
            start = 0
            for count in rows:
                groups[(count, parameter.shape[1])].append((parameter, slice(start, start + count)))
                start += count
        self.places = [place for group in groups.values() for place in group]
        self.places += [(parameter, slice(None)) for parameter, _ in others]
        self.weights = [p.detach()[rows] for p, rows in self.places]
        self.master = torch.cat([w.float().flatten() for w in self.weights])
        self.grad, self.first = torch.zeros_like(self.master), torch.zeros_like(self.master)
        self.grad_views, self.master_views = (_views(flat, self.weights) for flat in (self.grad, self.master))
        self.stacks, at = list[Stack](), 0
        for (count, columns), group in groups.items():
            end = at + len(group) * count * columns
            grad, master, first = (f[at:end].view(-1, count, columns) for f in (self.grad, self.master, self.first))
            self.stacks.append(Stack(grad, master, first))
            at = end
        self.second = torch.zeros_like(self.master[at:])
        self.small = self.grad[at:], self.first[at:], self.second, self.master[at:]
        self.share = torch.cat([torch.full((p.numel(),), share, device=p.device) for p, share in others])
        self.scalars = torch.zeros(6, device=self.master.device).unbind()
        self.steps = 0
        self.state = (self.master, self.first, self.second)
        """What the next step depends on, beside its gradients."""
        self.muon = torch.compile(muon_update, dynamic=False) if compiled else muon_update
        self.adam = torch.compile(adam_update, dynamic=False) if compiled else adam_update

    def forget(self) -> None:
        """Start the momenta anew, as after steps at rate zero that only served to compile."""
        self.first.zero_()
        self.second.zero_()
        self.steps = 0

    def step(self, *, muon_rate: float, adam_rate: float, beta: float, decay: float) -> None:
        """Take one step from the parameters' gradients, averaged over the crew, and clear them."""
        self.tell(muon_rate=muon_rate, adam_rate=adam_rate, beta=beta, decay=decay)
        self.collect()
        self.crew.average_(self.grad)
        self.update()
        # Kernels tuned apart may round apart.
        self.crew.follow_(self.master)
        self.publish()

    def tell(self, *, muon_rate: float, adam_rate: float, beta: float, decay: float) -> None:
        """Begin a step: put what it depends on where `update` reads it."""
        self.steps += 1
        bias = [1 - beta**self.steps for beta in ADAM_BETAS]
        # A fill passes its value with the kernel; a copy from the host could wait for the device.
        for scalar, value in zip(self.scalars, (beta, muon_rate, decay, adam_rate, *bias), strict=True):
            scalar.fill_(value)

    @torch.no_grad()
    def collect(self) -> None:
        """The parameters' gradients go to the flat tensor and are cleared; a missing one is zero."""
        grads = [torch.zeros_like(p[rows]) if p.grad is None else p.grad[rows] for p, rows in self.places]
        torch._foreach_copy_(self.grad_views, grads)
        for parameter, _ in self.places:
            parameter.grad = None

    @torch.no_grad()
    def update(self) -> None:
        """Momenta and masters, from the flat gradient and what was told. Reads and writes the same memory in every
        step."""
        b, rate, d, small_rate, bias1, bias2 = self.scalars
        for stack in self.stacks:
            self.muon(stack.grad, stack.momentum, stack.master, b, rate, d)
        self.adam(*self.small, self.share, small_rate, bias1, bias2)

    @torch.no_grad()
    def publish(self) -> None:
        """The masters become the weights."""
        torch._foreach_copy_(self.weights, self.master_views)


def _views(flat: Tensor, shapes: Sequence[Tensor]) -> list[Tensor]:
    parts = torch.split(flat, [shape.numel() for shape in shapes])
    return [part.view(shape.shape) for part, shape in zip(parts, shapes, strict=True)]
