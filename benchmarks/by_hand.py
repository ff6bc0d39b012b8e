"""Workloads as a step of NumPy calls written by hand: gradients by their formulas, every array made once, `out=` throughout.

What local.py calls a workload's model and optimizer is one class here. Its instance is a step: called with a batch it
returns the loss and updates its own copy of the parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from workloads import Array, Case

Step = Callable[..., Any]

#: Called with the array, axis, type and `out`; its declared signatures know `out` only by name.
add_up: Any = np.add.reduce


def like(arrays: dict[str, Array]) -> dict[str, Array]:
    return {name: np.empty_like(array) for name, array in arrays.items()}


def new(*shape: int) -> Array:
    return np.empty(shape, np.float32)


class ByHand:
    """What all have: parameters of their own, room for the gradients, and gradient descent."""

    def __init__(self, case: Case) -> None:
        self.p = {name: array.copy() for name, array in case.parameters.items()}
        self.d = like(self.p)
        self.rate = np.float32(case.rate)

    def descend(self) -> None:
        for name, value in self.p.items():
            change = self.d[name]
            np.multiply(change, self.rate, out=change)
            np.subtract(value, change, out=value)


class CrossEntropy:
    """The mean cross entropy of some logits, and its gradient in their place."""

    def __init__(self, batch: int, classes: int) -> None:
        self.rows = np.arange(batch)
        self.column, self.terms = new(batch, 1), new(batch)
        self.part = np.float32(1 / batch)

    def __call__(self, logits: Array, labels: Array) -> Any:
        np.maximum.reduce(logits, 1, None, out=self.column, keepdims=True)
        np.subtract(logits, self.column, out=logits)
        at_label = logits[self.rows, labels]
        np.exp(logits, out=logits)
        add_up(logits, 1, None, self.column, True)
        np.log(self.column[:, 0], out=self.terms)
        np.subtract(self.terms, at_label, out=self.terms)
        np.divide(logits, self.column, out=logits)
        logits[self.rows, labels] -= 1
        np.multiply(logits, self.part, out=logits)
        return add_up(self.terms) * self.part


class Mlp(ByHand):
    """Three layers."""

    def __init__(self, case: Case) -> None:
        ByHand.__init__(self, case)
        batch = len(case.batches[0][0])
        widths = [self.p[f"b{i}"].size for i in range(3)]
        self.h = [new(batch, width) for width in widths]
        self.dh = [new(batch, width) for width in widths]
        self.mask = [np.empty((batch, width), bool) for width in widths]
        self.loss = CrossEntropy(batch, widths[-1])

    def __call__(self, x: Array, labels: Array) -> Any:
        p, d, h, dh = self.p, self.d, self.h, self.dh
        below = x
        for i in range(3):
            np.matmul(below, p[f"w{i}"], out=h[i])
            np.add(h[i], p[f"b{i}"], out=h[i])
            if i < 2:
                np.maximum(h[i], 0, out=h[i])
            below = h[i]
        loss = self.loss(h[2], labels)
        above = h[2]
        for i in (2, 1, 0):
            below = h[i - 1] if i else x
            add_up(above, 0, None, d[f"b{i}"])
            np.matmul(below.T, above, out=d[f"w{i}"])
            if i:
                np.matmul(above, p[f"w{i}"].T, out=dh[i - 1])
                np.greater(below, 0, out=self.mask[i - 1])
                above = np.multiply(dh[i - 1], self.mask[i - 1], out=dh[i - 1])
        self.descend()
        return loss


class Lstm(ByHand):
    """An unrolled LSTM. Gates i, f, g, o lie side by side in one matrix a step.

    `together`: the weights' gradient as one product over all steps, which rounds otherwise; else a product a step.
    """

    def __init__(self, case: Case, together: bool = False) -> None:
        ByHand.__init__(self, case)
        steps, batch, inputs = case.batches[0][0].shape
        width = self.p["w0"].shape[0]
        self.together, self.width, self.inputs = together, width, inputs
        self.xh, self.z = new(steps, batch, inputs + width), new(steps, batch, 4 * width)
        self.xh[0, :, inputs:] = 0
        self.c, self.tanh_c = new(steps + 1, batch, width), new(steps, batch, width)
        self.c[0] = 0
        self.h, self.logits = new(batch, width), new(batch, 10)
        self.dz, self.dxh = new(steps, batch, 4 * width), new(batch, inputs + width)
        self.dc, self.dh, self.work = new(batch, width), new(batch, width), new(batch, width)
        self.dw, self.db = np.empty_like(self.p["w"]), np.empty_like(self.p["b"])
        self.loss = CrossEntropy(batch, 10)

    def gates(self, z: Array) -> list[Array]:
        width = self.width
        return [z[:, i * width : (i + 1) * width] for i in range(4)]

    def __call__(self, xs: Array, labels: Array) -> Any:
        steps = len(xs)
        for t in range(steps):
            self.forward(t, xs[t], self.xh[t + 1, :, self.inputs :] if t + 1 < steps else self.h)
        np.matmul(self.h, self.p["w0"], out=self.logits)
        np.add(self.logits, self.p["b0"], out=self.logits)
        loss = self.loss(self.logits, labels)
        add_up(self.logits, 0, None, self.d["b0"])
        np.matmul(self.h.T, self.logits, out=self.d["w0"])
        dh = np.matmul(self.logits, self.p["w0"].T, out=self.dh)
        self.dc[...] = 0
        for t in reversed(range(steps)):
            self.backward(t, dh, first=t == steps - 1)
            dh = self.dxh[:, self.inputs :]
        if self.together:
            flat_z = self.dz.reshape(-1, 4 * self.width)
            np.matmul(self.xh.reshape(len(flat_z), -1).T, flat_z, out=self.d["w"])
            add_up(flat_z, 0, None, self.d["b"])
        self.descend()
        return loss

    def forward(self, t: int, x: Array, h: Array) -> None:
        xh, z, c = self.xh[t], self.z[t], self.c[t + 1]
        xh[:, : self.inputs] = x
        np.matmul(xh, self.p["w"], out=z)
        np.add(z, self.p["b"], out=z)
        i, f, g, o = self.gates(z)
        for gate in (z[:, : 2 * self.width], o):  # the sigmoids of i and f are one
            np.negative(gate, out=gate)
            np.exp(gate, out=gate)
            np.add(gate, 1, out=gate)
            np.reciprocal(gate, out=gate)
        np.tanh(g, out=g)
        np.multiply(f, self.c[t], out=c)
        np.multiply(i, g, out=self.work)
        np.add(c, self.work, out=c)
        np.tanh(c, out=self.tanh_c[t])
        np.multiply(o, self.tanh_c[t], out=h)

    def backward(self, t: int, dh: Array, first: bool) -> None:
        dz, tanh_c, dc, work = self.dz[t], self.tanh_c[t], self.dc, self.work
        i, f, g, o = self.gates(self.z[t])
        di, df, dg, do = self.gates(dz)
        np.multiply(tanh_c, tanh_c, out=work)
        np.subtract(1, work, out=work)
        np.multiply(work, o, out=work)
        np.multiply(work, dh, out=work)
        np.add(dc, work, out=dc)
        np.multiply(dh, tanh_c, out=do)
        np.multiply(dc, g, out=di)
        np.multiply(dc, self.c[t], out=df)
        for gate, back in ((i, di), (f, df), (o, do)):
            np.subtract(1, gate, out=work)
            np.multiply(work, gate, out=work)
            np.multiply(back, work, out=back)
        np.multiply(g, g, out=work)
        np.subtract(1, work, out=work)
        np.multiply(work, i, out=work)
        np.multiply(work, dc, out=dg)
        np.multiply(dc, f, out=dc)
        if t:
            np.matmul(dz, self.p["w"].T, out=self.dxh)
        if self.together:
            return
        dw, db = (self.d["w"], self.d["b"]) if first else (self.dw, self.db)
        np.matmul(self.xh[t].T, dz, out=dw)
        add_up(dz, 0, None, db)
        if not first:
            np.add(self.d["w"], dw, out=self.d["w"])
            np.add(self.d["b"], db, out=self.d["b"])


class Embedding(ByHand):
    """Rows of a table, a matrix; squares. Rows that come several times get all their gradients."""

    def __init__(self, case: Case) -> None:
        ByHand.__init__(self, case)
        batch, width = len(case.batches[0][0]), self.p["w"].shape[0]
        self.rows, self.drows = new(batch, width), new(batch, width)
        self.y, self.squares = new(batch, 1), new(batch, 1)
        self.part = np.float32(1 / batch)

    def __call__(self, ids: Array, targets: Array) -> Any:
        table, w = self.p["table"], self.p["w"]
        np.take(table, ids, 0, self.rows, "clip")
        np.matmul(self.rows, w, out=self.y)
        np.subtract(self.y, targets, out=self.y)
        np.square(self.y, out=self.squares)
        loss = add_up(self.squares, None) * self.part
        np.multiply(self.y, 2 * self.part, out=self.y)
        np.matmul(self.rows.T, self.y, out=self.d["w"])
        np.multiply(self.y, w.T, out=self.drows)
        self.update(ids)
        return loss

    def update(self, ids: Array) -> None:
        """Gradient descent."""
        table, w, dw = self.p["table"], self.p["w"], self.d["w"]
        np.multiply(self.drows, self.rate, out=self.drows)
        where, rows = self.summed(ids)
        table[where] -= rows
        np.multiply(dw, self.rate, out=dw)
        np.subtract(w, dw, out=w)

    def summed(self, ids: Array) -> tuple[Array, Array]:
        """Each row once, with the sum of what is to be done to it."""
        where, inverse = np.unique(ids, return_inverse=True)
        if len(where) == len(ids):
            return ids, self.drows
        order = np.argsort(inverse, kind="stable")
        starts = np.searchsorted(inverse[order], np.arange(len(where)))
        return where, np.add.reduceat(self.drows[order], starts, 0)


class EmbeddingAdagrad(Embedding):
    """The same with Adagrad, whose sums of squares start at 0.1."""

    def __init__(self, case: Case) -> None:
        Embedding.__init__(self, case)
        self.sums = {name: np.full_like(array, 0.1) for name, array in self.p.items()}

    def update(self, ids: Array) -> None:
        where, rows = self.summed(ids)
        sums = self.sums["table"][where]
        sums += rows * rows
        self.sums["table"][where] = sums
        np.sqrt(sums, out=sums)
        np.divide(rows, sums, out=sums)
        np.multiply(sums, self.rate, out=sums)
        self.p["table"][where] -= sums
        dw, total = self.d["w"], self.sums["w"]
        total += dw * dw
        self.p["w"] -= self.rate * dw / np.sqrt(total)


class Scalars(ByHand):
    """The chain of single numbers, in arrays of no dimensions that are made once."""

    def __init__(self, case: Case) -> None:
        ByHand.__init__(self, case)
        self.tanhs = [np.empty((), np.float32) for _ in range(case.length)]
        self.h, self.dh, self.work, self.dv = (np.empty((), np.float32) for _ in range(4))
        self.shift, self.one, self.two = np.array([0.1, 1, 2], np.float32).reshape(3, 1)
        self.shift, self.one, self.two = self.shift.reshape(()), self.one.reshape(()), self.two.reshape(())

    def __call__(self, x: Array) -> Any:
        v, h, dh, dv, work, one = self.p["v"], self.h, self.dh, self.dv, self.work, self.one
        now = v
        for tanh in self.tanhs:
            np.multiply(now, x, out=h)
            np.add(h, v, out=h)
            np.tanh(h, out=tanh)
            now = np.subtract(tanh, self.shift, out=h)
        loss = np.square(now)
        np.multiply(now, self.two, out=dh)
        np.copyto(dv, 0)
        for tanh in reversed(self.tanhs):
            np.multiply(tanh, tanh, out=work)
            np.subtract(one, work, out=work)
            np.multiply(dh, work, out=dh)
            np.add(dv, dh, out=dv)
            np.multiply(dh, x, out=dh)
        np.add(dv, dh, out=dv)  # what reaches the start of the chain
        np.multiply(dv, self.rate, out=dv)
        np.subtract(v, dv, out=v)
        return loss


class NumpyScalars(Scalars):
    """The same with NumPy's single numbers, which have no `out=` and are faster."""

    def __call__(self, x: Array) -> Any:
        v, a = self.p["v"][()], x[()]
        shift, one = self.shift[()], self.one[()]
        now, tanhs = v, []
        for _ in self.tanhs:
            tanh = np.tanh(now * a + v)
            tanhs.append(tanh)
            now = tanh - shift
        loss = now * now
        dh, dv = now + now, np.float32(0)
        for tanh in reversed(tanhs):
            dh = dh * (one - tanh * tanh)
            dv = dv + dh
            dh = dh * a
        self.p["v"][()] = v - self.rate * (dv + dh)
        return loss


#: What is measured: a title, the workload, and the step by hand.
BY_HAND: dict[str, tuple[str, Callable[[Case], Step]]] = {
    "mlp_small": ("mlp_small", Mlp),
    "lstm_unrolled": ("lstm_unrolled", Lstm),
    "lstm_unrolled, one product": ("lstm_unrolled", lambda case: Lstm(case, together=True)),
    "embedding_sgd": ("embedding_sgd", Embedding),
    "embedding_adagrad": ("embedding_adagrad", EmbeddingAdagrad),
    "scalars": ("scalars", Scalars),
    "scalars, NumPy's numbers": ("scalars", NumpyScalars),
}
