"""The workloads in PyTorch: eager, or with the loss compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from workloads import MODELS, Array, Case

VERSION = torch.__version__

Tensors = dict[str, torch.Tensor]


def mlp(p: Tensors, case: Case, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    h = torch.relu(torch.addmm(p["b0"], x, p["w0"]))
    h = torch.relu(torch.addmm(p["b1"], h, p["w1"]))
    return functional.cross_entropy(torch.addmm(p["b2"], h, p["w2"]), labels.long())


def lstm_unrolled(p: Tensors, case: Case, xs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    c = h = torch.zeros(xs.shape[1], p["w0"].shape[0])
    for x in xs.unbind():
        i, f, g, o = torch.addmm(p["b"], torch.cat([x, h], 1), p["w"]).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
    return functional.cross_entropy(torch.addmm(p["b0"], h, p["w0"]), labels.long())


def lstm_loop(p: Tensors, case: Case, xs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """By the function behind nn.LSTM; its second bias, which the other frameworks do not have, stays zero."""
    zeros = torch.zeros(1, xs.shape[1], p["w0"].shape[0])
    weights = [p["wx"], p["wh"], p["b"], torch.zeros_like(p["b"])]
    _, h, _ = torch._VF.lstm(xs, (zeros, zeros), weights, True, 1, 0.0, True, False, False)
    return functional.cross_entropy(torch.addmm(p["b0"], h[0], p["w0"]), labels.long())


def conv(p: Tensors, case: Case, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    h = images.permute(0, 3, 1, 2)
    for i in range(2):
        h = functional.max_pool2d(torch.relu(functional.conv2d(h, p[f"k{i}"], p[f"c{i}"], padding=2)), 2)
    h = torch.relu(torch.addmm(p["b0"], h.reshape(len(labels), -1), p["w0"]))
    return functional.cross_entropy(torch.addmm(p["b1"], h, p["w1"]), labels.long())


def embedding(p: Tensors, case: Case, ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return torch.mean((functional.embedding(ids, p["table"], sparse=True) @ p["w"] - targets) ** 2)


def layer_norm(x: torch.Tensor, gain: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred * torch.rsqrt(torch.mean(centred**2, -1, keepdim=True) + 1e-5) * gain + bias


def softmax(x: torch.Tensor) -> torch.Tensor:
    raised = torch.exp(x - x.amax(-1, keepdim=True).detach())
    return raised / raised.sum(-1, keepdim=True)


def attention(x: torch.Tensor, qkv: torch.Tensor, out: torch.Tensor, heads: int) -> torch.Tensor:
    batch, sequence, width = x.shape
    split = (x @ qkv).reshape(batch, sequence, 3, heads, width // heads)
    q, k, v = split.permute(2, 0, 3, 1, 4).unbind()
    weights = softmax(q @ k.transpose(-1, -2) * (width // heads) ** -0.5)
    return (weights @ v).permute(0, 2, 1, 3).reshape(batch, sequence, width) @ out


def transformer(p: Tensors, case: Case, x: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    for i in range(case.length):
        x = layer_norm(x + attention(x, p[f"qkv{i}"], p[f"out{i}"], 4), p[f"ngain{i}"], p[f"nbias{i}"])
        x = layer_norm(x + torch.relu(x @ p[f"up{i}"]) @ p[f"down{i}"], p[f"mgain{i}"], p[f"mbias{i}"])
    return torch.mean((x - targets) ** 2)


def elementwise(p: Tensors, case: Case, x: torch.Tensor) -> torch.Tensor:
    h, w = x, p["w"]
    for _ in range(case.length):
        h = torch.tanh(h * w + x) * 0.9
    return h.mean()


def scalars(p: Tensors, case: Case, x: torch.Tensor) -> torch.Tensor:
    h = v = p["v"]
    for _ in range(case.length):
        h = torch.tanh(h * x + v) - 0.1
    return h**2


def perceptron(p: Tensors, case: Case, x: torch.Tensor) -> torch.Tensor:
    """A net with tanh between its layers."""
    for i in range(case.length):
        x = torch.addmm(p[f"b{i}"], torch.tanh(x) if i else x, p[f"w{i}"])
    return x


def penalty(p: Tensors, case: Case, x: torch.Tensor) -> torch.Tensor:
    x.requires_grad_()
    y = perceptron(p, case, x)
    (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    return y.mean() + 10.0 * torch.mean((torch.sqrt(torch.sum(slope**2, 1)) - 1.0) ** 2)


def pinn(p: Tensors, case: Case, x: torch.Tensor) -> torch.Tensor:
    x.requires_grad_()
    u = perceptron(p, case, x)
    (u_x,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    (u_xx,) = torch.autograd.grad(u_x.sum(), x, create_graph=True)
    return torch.mean((u_xx + torch.sin(x)) ** 2)


def penalty_compiled(p: Tensors, case: Case, x: torch.Tensor) -> torch.Tensor:
    """By torch.func: what torch.autograd.grad has made cannot be differentiated again in compiled code."""
    slope = torch.func.grad(lambda x: perceptron(p, case, x).sum())(x)
    return perceptron(p, case, x).mean() + 10.0 * torch.mean((torch.sqrt(torch.sum(slope**2, 1)) - 1.0) ** 2)


def pinn_compiled(p: Tensors, case: Case, x: torch.Tensor) -> torch.Tensor:
    u_x = torch.func.grad(lambda x: perceptron(p, case, x).sum())
    u_xx = torch.func.grad(lambda x: u_x(x).sum())(x)
    return torch.mean((u_xx + torch.sin(x)) ** 2)


def null_step(p: Tensors, case: Case, x: torch.Tensor) -> torch.Tensor:
    return x * 2.0


def native(name: str, parameters: dict[str, Array]) -> dict[str, Array]:
    """The parameters laid out as PyTorch has them: channels first, LSTM weights transposed and in two parts."""
    p = dict(parameters)
    if name == "conv":
        channels, hidden = p["k1"].shape[3], p["w0"].shape[1]
        side = int((len(p["w0"]) // channels) ** 0.5)
        p |= {key: p[key].transpose(3, 2, 0, 1) for key in ("k0", "k1")}
        p["w0"] = p["w0"].reshape(side, side, channels, hidden).transpose(2, 0, 1, 3).reshape(-1, hidden)
    if name == "lstm_loop":
        w = p.pop("w").T
        inputs = w.shape[1] - len(p["w0"])
        p |= {"wx": w[:, :inputs], "wh": w[:, inputs:]}
    return p


def optimizer(case: Case, parameters: Tensors) -> torch.optim.Optimizer:
    tensors = list(parameters.values())
    if case.optimizer == "adagrad":
        return torch.optim.Adagrad(tensors, case.rate, initial_accumulator_value=0.1)  # 0.1 as in TensorFlow 1
    return (torch.optim.Adam if case.optimizer == "adam" else torch.optim.SGD)(tensors, case.rate)


def build(name: str, case: Case, mode: str, threads: int) -> Callable[..., Any]:
    """The step of a workload: a function from a batch to the loss."""
    torch.set_num_threads(threads)
    parameters = {
        key: torch.tensor(np.ascontiguousarray(value), requires_grad=True)
        for key, value in native(name, case.parameters).items()
    }
    loss_of = globals()[MODELS.get(name, name)]
    if mode == "compile":
        loss_of = torch.compile(globals().get(f"{name}_compiled", loss_of))
    update = optimizer(case, parameters) if case.optimizer else None

    def step(*batch: Array) -> float:
        loss = loss_of(parameters, case, *map(torch.from_numpy, batch))
        if update is not None:
            update.zero_grad()
            loss.backward()
            update.step()
        return float(loss.item())

    return step
