"""`wf.test`: a unittest.TestCase with sessions, and checks of gradients. It stands on all the rest, as the programs do."""

# ruff: noqa: PT009, PT027, PT028 (these assertions are the ones that programs use without pytest)

from __future__ import annotations

import contextlib
import re
import unittest
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..autodiff.numeric import compute_gradient as compute_gradient, compute_gradient_error as compute_gradient_error
from ..graph.context import get_default_session, reset_default_graph
from ..graph.errors import OpError
from ..graph.ir import Graph, Tensor
from ..graph.random_seed import set_random_seed
from ..runtime.session import Session

#: The seed that every test begins with.
_SEED = 87654321

__all__ = [
    "TestCase", "compute_gradient", "compute_gradient_error", "get_temp_dir", "gpu_device_name", "is_built_with_cuda",
    "is_gpu_available", "main",
]  # fmt: skip


class TestCase(unittest.TestCase):
    """A unittest.TestCase whose tests each begin with a graph and a seed of their own, and can ask for a session.

    Values given to the assertions may be arrays, nested lists, tensors or variables. Source: `tf.test.TestCase`.
    """

    def setUp(self) -> None:
        reset_default_graph()
        set_random_seed(_SEED)
        self._cached: Session | None = None
        self._temporary: contextlib.ExitStack | None = None
        self._folder = ""

    def tearDown(self) -> None:
        if self._cached is not None:
            self._cached.close()
        if self._temporary is not None:
            self._temporary.close()

    def get_temp_dir(self) -> str:
        """A directory of this test's own, removed after it."""
        if self._temporary is None:
            from tempfile import TemporaryDirectory  # it takes long: not before it is used

            self._temporary = contextlib.ExitStack()
            self._folder = self._temporary.enter_context(TemporaryDirectory())
        return self._folder

    @contextlib.contextmanager
    def session(
        self, graph: Graph | None = None, config: Any = None, use_gpu: bool = False, force_gpu: bool = False
    ) -> Iterator[Session]:
        """A new session on `graph` (the default graph), both made the default. The last two are for compatibility."""
        with Session(graph=graph, config=config) as made, made.graph.as_default():
            yield made

    @contextlib.contextmanager
    def cached_session(
        self, graph: Graph | None = None, config: Any = None, use_gpu: bool = False, force_gpu: bool = False
    ) -> Iterator[Session]:
        """As `session`, but the same one each time in a test. Raises ValueError for another graph than the first time."""
        if self._cached is None:
            self._cached = Session(graph=graph, config=config)
        if graph is not None and self._cached.graph is not graph:
            raise ValueError(
                "The graph used to get the cached session is different than the one that was used to create it."
            )
        with self._cached.as_default(), self._cached.graph.as_default():
            yield self._cached

    def test_session(self, graph: Graph | None = None, config: Any = None, use_gpu: bool = False,
                     force_gpu: bool = False) -> Any:  # fmt: skip
        """The same by its old name, which looks like that of a test."""
        if self._testMethodName == "test_session":
            self.skipTest("Not a test.")
        return self.cached_session(graph, config, use_gpu, force_gpu)

    def evaluate(self, tensors: Any) -> Any:
        """The values of a structure of tensors, in the default session."""
        session = get_default_session()
        if session is None:
            with self.session() as made:
                return made.run(tensors)
        return session.run(tensors)

    def _array(self, value: Any) -> Any:
        if isinstance(value, Tensor) or hasattr(value, "initializer"):
            value = self.evaluate(value)
        return np.asarray(value)

    def assertAllEqual(self, a: Any, b: Any, msg: str | None = None) -> None:
        """The same shape and elements; NaN equals NaN."""
        np.testing.assert_array_equal(self._array(a), self._array(b), err_msg=msg or "", strict=False)
        self._assert_same_shape(a, b)

    def assertNotAllEqual(self, a: Any, b: Any, msg: str | None = None) -> None:
        """Not the same shape and elements."""
        with self.assertRaises(AssertionError, msg=msg):
            self.assertAllEqual(a, b)

    def assertAllClose(self, a: Any, b: Any, rtol: float = 1e-6, atol: float = 1e-6, msg: str | None = None) -> None:
        """The same shape, and elements closer than atol + rtol * abs(b); of structures, each part."""
        if isinstance(a, dict) or isinstance(b, dict):
            self.assertEqual(set(a), set(b), msg)
            for key in a:
                self.assertAllClose(a[key], b[key], rtol, atol, msg)
            return
        np.testing.assert_allclose(self._array(a), self._array(b), rtol, atol, err_msg=msg or "")
        self._assert_same_shape(a, b)

    def assertNotAllClose(self, a: Any, b: Any, rtol: float = 1e-6, atol: float = 1e-6, msg: str | None = None) -> None:
        """Not `assertAllClose`."""
        with self.assertRaises(AssertionError, msg=msg):
            self.assertAllClose(a, b, rtol, atol)

    def _assert_same_shape(self, a: Any, b: Any) -> None:
        self.assertEqual(self._array(a).shape, self._array(b).shape)

    def assertNear(self, f1: float, f2: float, err: float, msg: str | None = None) -> None:
        """Two numbers that are equal or closer than `err`."""
        self.assertTrue(f1 == f2 or abs(f1 - f2) <= err, f"{f1} != {f2} +/- {err}{msg or ''}")

    def assertArrayNear(self, farray1: Any, farray2: Any, err: float, msg: str | None = None) -> None:
        """Two vectors whose elements are `assertNear`."""
        self.assertEqual(len(farray1), len(farray2), msg)
        for one, other in zip(farray1, farray2, strict=True):
            self.assertNear(float(one), float(other), err, msg)

    def assertShapeEqual(self, np_array: Any, tf_tensor: Any, msg: str | None = None) -> None:
        """An array's shape is the tensor's static one."""
        self.assertEqual(list(np.shape(np_array)), tf_tensor.shape.as_list(), msg)

    def assertRaisesWithPredicateMatch(self, kind: Any, predicate: str | Callable[[Any], Any]) -> Any:
        """A context in which an error is raised of whose text a pattern is found, or for which a function holds."""
        return _raises(self, kind, predicate)

    def assertRaisesOpError(self, expected_err_re_or_predicate: str | Callable[[Any], Any]) -> Any:
        """The same, for the errors of a run."""
        return _raises(self, OpError, expected_err_re_or_predicate)


@contextlib.contextmanager
def _raises(case: unittest.TestCase, kind: Any, predicate: str | Callable[[Any], Any]) -> Iterator[None]:
    with case.assertRaises(kind) as caught:
        yield
    error = caught.exception
    fits = predicate(error) if callable(predicate) else re.search(predicate, str(error))
    case.assertTrue(fits, f"{type(error).__name__} is not as expected: {error}")


def main(argv: list[str] | None = None) -> None:
    """Run the tests of the program, and exit. Source: `tf.test.main`."""
    unittest.main(argv=argv)


def is_gpu_available(cuda_only: bool = False, min_cuda_compute_capability: Any = None) -> bool:
    """False: devices are CPUs. Source: `tf.test.is_gpu_available`."""
    return False


def is_built_with_cuda() -> bool:
    """False. Source: `tf.test.is_built_with_cuda`."""
    return False


def gpu_device_name() -> str:
    """The empty string: there is none. Source: `tf.test.gpu_device_name`."""
    return ""


def get_temp_dir() -> str:
    """A directory for temporary files; nobody removes it. Source: `tf.test.get_temp_dir`."""
    from tempfile import mkdtemp

    return mkdtemp()
