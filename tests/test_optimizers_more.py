"""Adadelta, AdagradDA, Ftrl and the proximal optimizers against NumPy and TF's figures; slots, errors, optimizers of users."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import weft as wf
from weft.graph.ir import get_default_graph

Array = np.ndarray[Any, Any]
Rule = Callable[[Array, Array, dict[str, Any]], Any]

STEPS = 5
INDICES = np.array([[2, 0, 2], [1, 1, 1], [0, 2, 2], [2, 2, 0], [2, 1, 2]])


@pytest.fixture
def session() -> Iterator[wf.Session]:
    with wf.Session() as made:
        yield made


# the rules, as they are written down; `kept` is what lives from step to step, "step" among it


def towards_zero(x: Array, by: Any) -> Any:
    return np.sign(x) * np.maximum(np.abs(x) - by, 0)


def adadelta(value: Array, grad: Array, kept: dict[str, Any]) -> Any:
    kept["a"] = 0.9 * kept.get("a", 0.0) + 0.1 * grad**2
    step = np.sqrt((kept.get("u", 0.0) + 0.01) / (kept["a"] + 0.01)) * grad
    kept["u"] = 0.9 * kept.get("u", 0.0) + 0.1 * step**2
    return value - 0.5 * step


def adagrad_da(value: Array, grad: Array, kept: dict[str, Any], l1: float = 0.1, l2: float = 0.25) -> Any:
    kept["g"] = kept.get("g", 0.0) + grad
    kept["s"] = kept.get("s", 0.2) + grad**2
    return -0.5 * towards_zero(kept["g"], l1 * kept["step"]) / (0.5 * l2 * kept["step"] + np.sqrt(kept["s"]))


def averaged(value: Array, grad: Array, kept: dict[str, Any]) -> Any:
    return adagrad_da(value, grad, kept, 0.0, 0.0)


def ftrl(
    value: Array, grad: Array, kept: dict[str, Any], power: float = 0.5, l2: float = 0.25, pull: float = 0.0
) -> Any:
    before = kept.get("a", 0.2)
    kept["a"] = after = before + grad**2
    kept["l"] = kept.get("l", 0.0) + grad + 2 * pull * value - (after**power - before**power) / 0.5 * value
    return -towards_zero(kept["l"], 0.4) / (after**power / 0.5 + 2 * l2)


def ftrl_power(value: Array, grad: Array, kept: dict[str, Any]) -> Any:
    return ftrl(value, grad, kept, power=0.25)


def ftrl_beta(value: Array, grad: Array, kept: dict[str, Any]) -> Any:
    return ftrl(value, grad, kept, l2=0.25 + 0.75 / (2 * 0.5))


def ftrl_shrinkage(value: Array, grad: Array, kept: dict[str, Any]) -> Any:
    return ftrl(value, grad, kept, pull=0.125)


def proximal(value: Array, grad: Array, kept: dict[str, Any]) -> Any:
    return towards_zero(value - 0.3 * grad, 0.3 * 0.4) / (1 + 0.3 * 0.2)


def proximal_adagrad(value: Array, grad: Array, kept: dict[str, Any]) -> Any:
    kept["a"] = kept.get("a", 0.2) + grad**2
    rate = 0.3 / np.sqrt(kept["a"])
    return towards_zero(value - rate * grad, rate * 0.4) / (1 + rate * 0.2)


def shrinking(**arguments: Any) -> Any:
    return wf.train.FtrlOptimizer(0.5, arguments.pop("power", -0.5), 0.2, 0.4, 0.25, **arguments)


RULES: dict[str, tuple[Callable[[Any], Any], Rule]] = {
    "adadelta": (lambda step: wf.train.AdadeltaOptimizer(0.5, 0.9, 0.01), adadelta),
    "adagrad_da": (lambda step: wf.train.AdagradDAOptimizer(0.5, step, 0.2, 0.1, 0.25), adagrad_da),
    "averaged": (lambda step: wf.train.AdagradDAOptimizer(0.5, step, 0.2), averaged),
    "ftrl": (lambda step: shrinking(), ftrl),
    "ftrl_power": (lambda step: shrinking(power=-0.25), ftrl_power),
    "ftrl_beta": (lambda step: shrinking(beta=0.75), ftrl_beta),
    "ftrl_shrinkage": (lambda step: shrinking(l2_shrinkage_regularization_strength=0.125), ftrl_shrinkage),
    "proximal": (lambda step: wf.train.ProximalGradientDescentOptimizer(0.3, 0.4, 0.2), proximal),
    "proximal_adagrad": (lambda step: wf.train.ProximalAdagradOptimizer(0.3, 0.2, 0.4, 0.2), proximal_adagrad),
}


def tolerance(dtype: str) -> float:
    return {"float16": 1e-2, "bfloat16": 5e-2, "float32": 1e-5, "float64": 1e-6}[dtype]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("rule", RULES)
def test_dense_steps(rule: str, dtype: str, session: wf.Session) -> None:
    make, step = RULES[rule]
    grads = np.random.default_rng(0).normal(size=(STEPS, 3, 2))
    var, count = wf.Variable(np.ones((3, 2)), dtype=dtype), wf.train.create_global_step()
    fed = wf.placeholder(dtype, [3, 2])
    update = make(count).apply_gradients([(fed, var)], count)
    session.run(wf.global_variables_initializer())
    expected, kept = np.ones((3, 2)), dict[str, Any]()
    for number, grad in enumerate(grads, 1):
        rounded = grad.astype(var.dtype.np)
        session.run(update, {fed: rounded})
        kept["step"] = number
        expected = step(expected, rounded.astype(np.float64), kept)
        close = session.run(var).astype("float64")
        np.testing.assert_allclose(close, expected, rtol=tolerance(dtype), atol=tolerance(dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rule", RULES)
def test_sparse_steps_with_repeated_rows(rule: str, dtype: str, session: wf.Session) -> None:
    make, step = RULES[rule]
    rows = np.random.default_rng(0).normal(size=(STEPS, 3, 2)).astype(dtype)
    var, count = wf.Variable(np.ones((4, 2)), dtype=dtype), wf.train.create_global_step()
    values, indices = wf.placeholder(dtype, [None, 2]), wf.placeholder(wf.int64, [None])
    update = make(count).apply_gradients([(wf.IndexedSlices(values, indices), var)], count)
    session.run(wf.global_variables_initializer())
    expected = np.ones((4, 2))
    kept: list[dict[str, Any]] = [{} for _ in range(4)]
    for number, (where, grad) in enumerate(zip(INDICES, rows, strict=True), 1):
        session.run(update, {values: grad, indices: where})
        for row in set(where.tolist()):
            kept[row]["step"] = number
            expected[row] = step(expected[row], grad[where == row].sum(axis=0), kept[row])
        np.testing.assert_allclose(session.run(var), expected, rtol=tolerance(dtype), atol=tolerance(dtype))


#: What TF 2.21 has in a float64 variable after 5 steps from linspace(-1, 1, 6), with the gradients of `pinned_steps`:
#: dense, then sparse with the INDICES above.
FIGURES: dict[str, tuple[Callable[[Any], Any], list[float], list[float]]] = {
    "adadelta": (
        lambda step: wf.train.AdadeltaOptimizer(0.5, 0.9, 0.01),
        [-1.194552215, -0.6247831911, -0.02051920379, 0.3941310683, 0.6639847575, 0.8368360312],
        [-1.425590287, -0.8995680402, -0.1069635709, 0.1088939204, 1.017896925, 1.474480012],
    ),
    "adagrad_da": (
        lambda step: wf.train.AdagradDAOptimizer(0.5, step, 0.2, 0.1, 0.25),
        [-0.1476508369, 0.0, 0.09914748114, 0.1647366727, 0.0, -0.06984391504],
        [-0.515874245, -0.2717072275, 0.0, -0.01051389665, 0.4215278797, 0.3912002764],
    ),
    "ftrl": (
        lambda step: shrinking(),
        [-0.3053105052, -0.3238930583, 0.02052964103, 0.3052779257, 0.35232706, 0.1965971473],
        [-1.118274306, -0.3315103089, 0.0, -0.05830429603, 0.8694976284, 0.5717139916],
    ),
    "ftrl_power": (
        lambda step: shrinking(power=-0.25),
        [-0.3008868876, -0.150226155, 0.1065699793, 0.3130011155, 0.1946368822, 0.0],
        [-1.014453022, -0.342462972, 0.0, -0.05441245487, 0.8462376071, 0.6065526024],
    ),
    "ftrl_beta": (
        lambda step: wf.train.FtrlOptimizer(0.5, beta=0.75),
        [-0.3451817089, -0.3672498964, 0.07615071189, 0.3369458888, 0.3935020292, 0.2806019214],
        [-1.00952631, -0.4172496802, 0.1078835805, -0.1577747951, 0.8110500865, 0.6107047981],
    ),
    "ftrl_shrinkage": (
        lambda step: shrinking(l2_shrinkage_regularization_strength=0.125),
        [-0.1395039964, -0.1146384346, 0.09152655067, 0.2161451613, 0.1405897585, 0.0],
        [-0.9205454173, -0.2761159754, 0.0, -0.08200495258, 0.6821512449, 0.4466701815],
    ),
    "proximal": (
        lambda step: wf.train.ProximalGradientDescentOptimizer(double(0.3), double(0.4), double(0.2)),
        [-0.4942602711, 0.0, 0.1151044952, 0.0, 0.0, 0.0],
        [-1.17661799, -0.5362422022, 0.0, 0.0, 0.6528248456, 0.9116704533],
    ),
    "proximal_adagrad": (
        lambda step: wf.train.ProximalAdagradOptimizer(double(0.3), 0.2, double(0.4), double(0.2)),
        [-0.4786998247, -0.2081598382, 0.07622309922, 0.0, 0.2352831844, 0.2938651387],
        [-1.153302136, -0.3433054374, 0.0, -0.06955240021, 0.6852222296, 0.7294785721],
    ),
    "adagrad": (
        lambda step: wf.train.AdagradOptimizer(0.25, 0.2),
        [-1.295964832, -0.7629265074, -0.1165160844, 0.4625058948, 0.8026458439, 0.9467525608],
        [-1.499952955, -0.9713261882, -0.080876794, 0.06417724996, 1.098513191, 1.526358666],
    ),
    "rmsprop": (
        lambda step: wf.train.RMSPropOptimizer(0.25, 0.8, 0.5, 1e-3),
        [-1.719890056, -0.9215282341, 0.1593217202, 0.9217759126, 1.009719224, 0.7303668125],
        [-1.936114499, -1.027157191, -0.1237160167, 0.06082436667, 1.692945832, 1.843177511],
    ),
    "centered": (
        lambda step: wf.train.RMSPropOptimizer(0.25, 0.8, 0.5, 1e-3, centered=True),
        [-1.762968881, -0.9539196097, 0.1646464034, 0.9621660298, 1.04658054, 0.730455847],
        [-1.984504823, -1.039716735, -0.1235374777, 0.05919949395, 1.761348041, 1.883522792],
    ),
}


def double(number: float) -> Any:
    return wf.constant(number, wf.float64)


def pinned_steps(make: Callable[[Any], Any], sparse: bool, session: wf.Session) -> Array:
    var, count = wf.Variable(np.linspace(-1, 1, 6).reshape(3, 2)), wf.train.create_global_step()
    fed, indices = wf.placeholder(wf.float64, [3, 2]), wf.placeholder(wf.int64, [3])
    grad = wf.IndexedSlices(fed, indices) if sparse else fed
    update = make(count).apply_gradients([(grad, var)], count)
    session.run(wf.global_variables_initializer())
    for number, where in enumerate(INDICES):
        session.run(update, {fed: np.sin(np.arange(6.0).reshape(3, 2) + number), indices: where})
    return np.asarray(session.run(var))


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("rule", FIGURES)
def test_the_figures_of_tensorflow(rule: str, sparse: bool, session: wf.Session) -> None:
    make, *figures = FIGURES[rule]
    found = pinned_steps(make, sparse, session).ravel()
    np.testing.assert_allclose(found, figures[sparse], rtol=1e-9, atol=1e-12)


# slots


@pytest.mark.parametrize(
    ("make", "slots"),
    [
        (wf.train.AdadeltaOptimizer, {"accum": ("w/Adadelta", 0.0), "accum_update": ("w/Adadelta_1", 0.0)}),
        (
            lambda: wf.train.AdagradDAOptimizer(0.1, wf.constant(0)),
            {"gradient_accumulator": ("w/AdagradDA", 0.0), "gradient_squared_accumulator": ("w/AdagradDA_1", 0.1)},
        ),
        (lambda: wf.train.FtrlOptimizer(0.1), {"accum": ("w/Ftrl", 0.1), "linear": ("w/Ftrl_1", 0.0)}),
        (
            lambda: wf.train.FtrlOptimizer(0.1, accum_name="a", linear_name="l"),
            {"accum": ("w/a", 0.1), "linear": ("w/l", 0.0)},
        ),
        (lambda: wf.train.ProximalGradientDescentOptimizer(0.1), {}),
        (lambda: wf.train.ProximalAdagradOptimizer(0.1), {"accumulator": ("w/ProximalAdagrad", 0.1)}),
    ],
)
def test_names_and_starting_values_of_slots(
    make: Any, slots: dict[str, tuple[str, float]], session: wf.Session
) -> None:
    w = wf.Variable([1.0, 2.0], name="w")
    optimizer = make()
    optimizer.minimize(w * w)
    assert optimizer.get_slot_names() == sorted(slots)
    session.run(wf.global_variables_initializer())
    for name, (op_name, start) in slots.items():
        slot = optimizer.get_slot(w, name)
        assert slot.op.name == op_name
        np.testing.assert_allclose(session.run(slot), [start, start], rtol=1e-6)
    assert [var.op.name for var in optimizer.variables()] == sorted(op_name for op_name, _ in slots.values())


def test_names_of_operations() -> None:
    w = wf.Variable(np.ones((2, 2), np.float32), name="w")
    optimizer = wf.train.FtrlOptimizer(0.1, l2_shrinkage_regularization_strength=0.1)
    assert optimizer.minimize(w * w).name == "Ftrl"
    assert optimizer.minimize(wf.gather(w, [0])).name == "Ftrl_1"
    names = [op.name for op in get_default_graph().get_operations()]
    assert "Ftrl/update_w/ResourceApplyFtrlV2" in names
    assert "Ftrl_1/update_w/ResourceSparseApplyFtrlV2" in names


def test_hyperparameters_may_be_tensors_or_functions(session: wf.Session) -> None:
    x, y = wf.Variable([1.0]), wf.Variable([1.0])
    rate = wf.placeholder(wf.float32, [])
    updates = [
        wf.train.ProximalGradientDescentOptimizer(rate, lambda: 0.5).apply_gradients([(wf.constant([1.0]), x)]),
        wf.train.AdadeltaOptimizer(lambda: rate, 0.5, 0.0).apply_gradients([(wf.constant([1.0]), y)]),
    ]
    session.run(wf.global_variables_initializer())
    session.run(updates, {rate: 0.25})
    assert session.run(x) == [1.0 - 0.25 - 0.25 * 0.5]
    assert session.run(y) == [1.0]  # with epsilon 0 the first step of Adadelta has the size 0


def test_the_global_step_of_adagrad_da_may_be_an_int32_and_is_read_before_it_counts(session: wf.Session) -> None:
    x, count = wf.Variable([5.0]), wf.Variable(0)
    optimizer = wf.train.AdagradDAOptimizer(1.0, count, 1.0, 0.25)
    update = optimizer.apply_gradients([(wf.constant([2.0]), x)], count)
    session.run(wf.global_variables_initializer())
    for number in (1, 2):
        session.run(update)
        expected = -(2.0 * number - 0.25 * number) / np.sqrt(1.0 + 4.0 * number)
        np.testing.assert_allclose(session.run(x), [expected], rtol=1e-6)


# errors


def test_errors_of_construction() -> None:
    with pytest.raises(ValueError, match="initial_gradient_squared_accumulator_value must be positive"):
        wf.train.AdagradDAOptimizer(0.1, wf.constant(0), 0.0)
    with pytest.raises(ValueError, match="initial_accumulator_value must be positive"):
        wf.train.ProximalAdagradOptimizer(0.1, 0.0)
    for name in (
        "initial_accumulator_value", "l1_regularization_strength", "l2_regularization_strength",
        "l2_shrinkage_regularization_strength",
    ):  # fmt: skip
        with pytest.raises(ValueError, match=rf"^{name} -1\.0 needs to be positive or zero"):
            wf.train.FtrlOptimizer(0.1, **{name: -1.0})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"learning_rate_power 0\.5 needs to be negative or zero"):
        wf.train.FtrlOptimizer(0.1, 0.5)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: wf.train.FtrlOptimizer(0.0), "lr is not a positive scalar"),
        (lambda: wf.train.ProximalAdagradOptimizer(-1.0), "lr is not a positive scalar"),
        (lambda: wf.train.ProximalAdagradOptimizer(1.0, 0.1, -1.0), "l1 regularization strength"),
        (lambda: wf.train.ProximalAdagradOptimizer(1.0, 0.1, 0.0, -1.0), "l2 regularization strength"),
    ],
)
def test_errors_of_a_step(make: Any, message: str, sparse: bool, session: wf.Session) -> None:
    x = wf.Variable([[1.0], [2.0]])
    train = make().minimize(wf.gather(x, [0, 0]) if sparse else x * x)
    session.run(wf.global_variables_initializer())
    with pytest.raises(wf.errors.InvalidArgumentError, match=message):
        session.run(train)
    assert session.run(x).tolist() == [[1], [2]]


# optimizers of users, with the methods that programs for TF 1 override


class Decayed(wf.train.Optimizer):
    """RMS-scaled steps and weight decay, in plain operations, as such programs write them."""

    def __init__(self, learning_rate: Any = 0.5, decay: float = 0.25, name: str = "Decayed") -> None:
        super().__init__(False, name)
        self._lr = learning_rate
        self._decay = decay

    def _create_slots(self, var_list: Any) -> None:
        first = min(var_list, key=lambda var: var.name)
        self._create_non_slot_variable(initial_value=0.0, name="steps", colocate_with=first)
        for var in var_list:
            self._zeros_slot(var, "rms", self._name)
            self._get_or_make_slot(var, wf.constant([0.5], var.dtype.base_dtype), "start", "Start")
            self._get_or_make_slot_with_initializer(
                var, wf.ones_initializer(), wf.TensorShape([2]), var.dtype.base_dtype, "pair", "Pair"
            )

    def _prepare(self) -> None:
        self._lr_t = wf.convert_to_tensor(self._call_if_callable(self._lr), name="learning_rate")

    def _apply_dense(self, grad: Any, var: Any) -> Any:
        rate = wf.cast(self._lr_t, var.dtype.base_dtype)
        rms = self.get_slot(var, "rms")
        assert rms is not None
        rms_t = wf.assign(rms, wf.sqrt(rms * rms + grad * grad), use_locking=self._use_locking)
        var_t = wf.assign_sub(var, rate * (grad / rms_t + self._decay * var), use_locking=self._use_locking)
        return wf.group(var_t, rms_t)

    def _apply_sparse(self, grad: Any, var: Any) -> Any:
        return wf.scatter_sub(var, grad.indices, self._lr_t * grad.values, use_locking=self._use_locking)

    def _finish(self, update_ops: Any, name_scope: Any) -> Any:
        steps = self._get_non_slot_variable("steps", graph=get_default_graph())
        with wf.control_dependencies(update_ops):
            counted = steps.assign_add(1.0)
        return wf.group(*update_ops, counted, name=name_scope)

    def _valid_dtypes(self) -> Any:
        return {wf.float32}


def test_an_optimizer_of_a_user(session: wf.Session) -> None:
    x, table = wf.Variable([3.0, -4.0], name="x"), wf.Variable(np.zeros((3, 1), np.float32), name="table")
    optimizer = Decayed(lambda: 0.5)
    grads = [(wf.constant([2.0, -2.0]), x), (wf.IndexedSlices(wf.ones([2, 1]), wf.constant([1, 1])), table)]
    train = optimizer.apply_gradients(grads)
    assert train.name == "Decayed"
    session.run(wf.global_variables_initializer())
    session.run(train)
    assert session.run(x).tolist() == [3.0 - 0.5 * (1 + 0.75), -4.0 - 0.5 * (-1 - 1.0)]
    assert session.run(table).tolist() == [[0], [-1], [0]]
    assert [var.name for var in optimizer.variables()] == [
        "steps:0", "table/Decayed:0", "table/Pair:0", "table/Start:0", "x/Decayed:0", "x/Pair:0", "x/Start:0",
    ]  # fmt: skip
    slots = [optimizer.get_slot(x, name) for name in ("rms", "start", "pair")]
    assert [value.tolist() for value in session.run(slots)] == [[2, 2], [0.5], [1, 1]]
    assert session.run(optimizer.variables()[0]) == 1.0
    with pytest.raises(ValueError, match="Invalid type float64"):
        optimizer.minimize(wf.Variable(np.ones(2)))


def test_the_sparse_methods_call_each_other_from_the_general_to_the_particular(session: wf.Session) -> None:
    seen: list[str] = []

    class All(wf.train.GradientDescentOptimizer):
        def _resource_apply_sparse_duplicate_indices(self, grad: Any, handle: Any, indices: Any) -> Any:
            seen.append("resource duplicates")
            return wf.train.Optimizer._resource_apply_sparse_duplicate_indices(self, grad, handle, indices)

        def _apply_sparse_duplicate_indices(self, grad: Any, var: Any) -> Any:
            seen.append("duplicates")
            return super()._apply_sparse_duplicate_indices(grad, var)

        def _resource_apply_sparse(self, grad: Any, handle: Any, indices: Any) -> Any:
            seen.append("resource")
            return super()._resource_apply_sparse(grad, handle, indices)

        def _apply_sparse(self, grad: Any, var: Any) -> Any:
            seen.append("sparse")
            self.summed = grad
            return wf.no_op()

    x = wf.Variable([[1.0], [2.0]])
    optimizer = All(0.1)
    optimizer.minimize(wf.gather(x, [1, 1]))
    assert seen == ["resource duplicates", "duplicates", "resource", "sparse"]
    assert session.run(optimizer.summed.values).tolist() == [[2]]
    assert session.run(optimizer.summed.indices).tolist() == [1]


def test_a_users_update_without_sums(session: wf.Session) -> None:
    class Unsummed(wf.train.Optimizer):
        def _apply_sparse_duplicate_indices(self, grad: Any, var: Any) -> Any:
            return wf.scatter_update(var, grad.indices, grad.values)

    x = wf.Variable([[1.0], [2.0]])
    grad = wf.IndexedSlices(wf.constant([[5.0], [6.0]]), wf.constant([1, 1]))
    train = Unsummed(False, "Unsummed").apply_gradients([(grad, x)])
    session.run(wf.global_variables_initializer())
    session.run(train)
    assert session.run(x).tolist() == [[1], [6]]
