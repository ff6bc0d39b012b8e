"""variable_scope and get_variable: names as in TF 1, sharing, what variables start with, regularizers, getters."""

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import weft as wf
from weft.nn import regularization


@pytest.fixture
def session() -> Iterator[wf.Session]:
    with wf.Session() as made:
        yield made


def started(session: wf.Session) -> wf.Session:
    session.run(wf.global_variables_initializer())
    return session


def test_names_in_variable_scopes() -> None:
    with wf.variable_scope("a") as outer:
        assert wf.get_variable("v", [2]).name == "a/v:0"
        with wf.variable_scope("b"):
            assert wf.get_variable("w", [2]).name == "a/b/w:0"
            assert wf.constant(1.0).name == "a/b/Const:0"
        with wf.variable_scope(None, "d"):
            assert wf.get_variable("x", [1]).name == "a/d/x:0"
        with wf.variable_scope(None, "d") as unique:
            assert wf.get_variable("x", [1]).name == "a/d_1/x:0"
        assert wf.Variable(0.0).name == "a/Variable:0"
    assert (unique.name, unique.original_name_scope) == ("a/d_1", "a/d_1/")
    with wf.variable_scope("a"), wf.variable_scope(None, "d") as again:
        assert (again.name, again.original_name_scope) == ("a/d", "a_1/d/")
    with wf.name_scope("ns"):
        assert wf.get_variable("v", [1]).name == "v:0"
        with wf.variable_scope(outer, reuse=True) as same:
            assert wf.get_variable("v", [2]).name == "a/v:0"
            assert wf.constant(2.0).name == "ns/a/Const:0"
            assert (same.name, same.original_name_scope) == ("a", "a/")
    assert wf.get_variable_scope().name == ""
    assert [v.name for v in outer.global_variables()][:2] == ["a/v:0", "a/b/w:0"]


def test_sharing() -> None:
    with wf.variable_scope("a") as scope:
        v = wf.get_variable("v", [2])
        scope.reuse_variables()
        assert wf.get_variable("v", [2]) is v
    with wf.variable_scope("a", reuse=True), wf.variable_scope("inner"):
        assert wf.get_variable_scope().reuse is True
    with wf.variable_scope("a", reuse=wf.AUTO_REUSE):
        assert wf.get_variable("v", [2]) is v
        made = wf.get_variable("made", [1])
        assert wf.get_variable("made", [1]) is made
    with wf.Graph().as_default(), wf.variable_scope("a"):
        assert wf.get_variable("v", [2]) is not v


def test_errors_of_sharing_and_making() -> None:
    with wf.variable_scope("a"):
        wf.get_variable("v", [2])
        with pytest.raises(ValueError, match=r"a/v already exists, disallowed.*defined at.*test_variable_scope"):
            wf.get_variable("v", [2])
    with wf.variable_scope("a", reuse=True):
        with pytest.raises(ValueError, match="a/none does not exist"):
            wf.get_variable("none", [2])
        with pytest.raises(ValueError, match=r"specified shape \(3,\) and found shape \(2,\)"):
            wf.get_variable("v", [3])
        with pytest.raises(ValueError, match="specified dtype int32 and found dtype float32"):
            wf.get_variable("v", [2], wf.int32)
    with pytest.raises(ValueError, match="`shape` argument must be specified"):
        wf.get_variable("u")
    with pytest.raises(ValueError, match="must be fully defined"):
        wf.get_variable("u", [None, 2])
    with pytest.raises(ValueError, match="do not specify shape"):
        wf.get_variable("u", [2], initializer=[1.0, 2.0])
    with pytest.raises(ValueError, match="'int32' and explicit dtype 'float32'"):
        wf.get_variable("u", initializer=3, dtype=wf.float32)
    with pytest.raises(ValueError, match="An initializer for variable u of complex64 is required"):
        wf.get_variable("u", [2], wf.complex64)
    with pytest.raises(ValueError, match="custom_getter which is not callable"):
        wf.get_variable("u", [2], custom_getter=3)
    with pytest.raises(NotImplementedError, match="partitioned"):
        wf.get_variable("u", [2], partitioner=lambda **_: [1])


def scope_of(*arguments: Any, **named: Any) -> None:
    with wf.variable_scope(*arguments, **named):
        pass


def test_errors_of_scopes() -> None:
    with pytest.raises(TypeError, match="name_or_scope is required"):
        scope_of(None)
    with pytest.raises(TypeError, match="must be a string or VariableScope"):
        scope_of(3)
    with pytest.raises(ValueError, match="reuse=True cannot be used"):
        scope_of(None, "default", reuse=True)


def test_what_a_variable_starts_with(session: wf.Session) -> None:
    with wf.variable_scope("scope", initializer=wf.constant_initializer(4.0)):
        scoped = wf.get_variable("v", [2])
    variables = [
        scoped,
        wf.get_variable("value", initializer=3),
        wf.get_variable("ints", [2], wf.int32),
        wf.get_variable("by_class", [2], initializer=wf.ones_initializer),
        wf.get_variable("by_nothing", initializer=lambda: wf.constant([5.0])),
        wf.get_variable("by_shape", [2], initializer=lambda shape, dtype, partition_info: wf.ones(shape, dtype) * 6.0),
    ]
    assert [v.dtype.name for v in variables] == ["float32", "int32", "int32", "float32", "float32", "float32"]
    values = started(session).run(variables)
    assert [value.tolist() for value in values] == [[4, 4], 3, [0, 0], [1, 1], [5], [6, 6]]


def test_regularizers_are_collected_once(session: wf.Session) -> None:
    with wf.variable_scope("a", regularizer=regularization.l2_regularizer(0.5), reuse=wf.AUTO_REUSE):
        wf.get_variable("w", [2], initializer=wf.constant_initializer([3.0, 4.0]))
        wf.get_variable("w", [2])
        wf.get_variable("none", [1], regularizer=lambda weights: None)
    wf.get_variable(
        "b", [2], initializer=wf.constant_initializer(-1.0), regularizer=regularization.l1_regularizer(0.25)
    )
    losses = wf.get_collection(wf.GraphKeys.REGULARIZATION_LOSSES)
    assert [loss.name for loss in losses] == ["a/w/Regularizer/l2_regularizer:0", "b/Regularizer/l1_regularizer:0"]
    assert started(session).run([*losses, wf.losses.get_regularization_loss()]) == [6.25, 0.5, 6.75]
    with pytest.raises(ValueError, match="less than 0"):
        regularization.l2_regularizer(-1.0)
    with pytest.raises(ValueError, match="cannot be an integer"):
        regularization.l1_regularizer(1)


def test_custom_getters_nest_and_see_the_arguments() -> None:
    seen = []

    def outer(getter: Callable[..., Any], name: str, *args: Any, **kwargs: Any) -> Any:
        seen.append(("outer", name, kwargs["trainable"]))
        return getter(f"{name}_o", *args, **kwargs)

    def inner(getter: Callable[..., Any], name: str, *args: Any, **kwargs: Any) -> Any:
        seen.append(("inner", name, kwargs["trainable"]))
        return getter(f"{name}_i", *args, **kwargs)

    with wf.variable_scope("a", custom_getter=outer), wf.variable_scope("b", custom_getter=inner):
        assert wf.get_variable("v", [1], trainable=False).name == "a/b/v_i_o:0"
    assert seen == [("inner", "a/b/v", False), ("outer", "a/b/v_i", False)]


def test_local_variables() -> None:
    local = wf.get_local_variable("v", [1])
    assert (wf.local_variables(), wf.global_variables(), local.trainable) == ([local], [], False)


def test_slots_stand_in_the_variable_scope_of_minimize() -> None:
    x = wf.get_variable("x", [2])
    optimizer = wf.train.MomentumOptimizer(0.1, 0.9)
    with wf.variable_scope("train"):
        optimizer.minimize(wf.reduce_sum(x))
    assert [v.name for v in optimizer.variables()] == ["train/x/Momentum:0"]


def test_a_custom_getter_gets_all_arguments_by_name() -> None:
    seen: dict[str, Any] = {}

    def getter(make: Any, *args: Any, **kwargs: Any) -> Any:
        seen.update(kwargs)
        assert args == ()
        return make(**kwargs)

    with wf.variable_scope("scope", custom_getter=getter) as scope:
        made = scope.get_variable("v", [2], wf.float64, wf.zeros_initializer())
    assert set(seen) == {
        "name", "shape", "dtype", "initializer", "regularizer", "reuse", "trainable", "collections", "caching_device",
        "partitioner", "validate_shape", "use_resource", "constraint", "synchronization", "aggregation",
    }  # fmt: skip
    assert (seen["name"], seen["shape"], made.dtype) == ("scope/v", [2], wf.float64)
    with pytest.raises(NotImplementedError, match="partitioned"):
        scope.get_variable("w", [2], partitioner=object())


def test_a_local_variable_by_position() -> None:
    made = wf.get_local_variable("v", [2], wf.int32, wf.ones_initializer())
    assert (wf.local_variables(), wf.trainable_variables()) == ([made], [])
    assert wf.get_local_variable("w", [2], trainable=True) not in wf.trainable_variables()


def test_strings_start_empty() -> None:
    made = wf.get_variable("v", [2], wf.string)
    with wf.Session() as session:
        session.run(made.initializer)
        assert session.run(made).tolist() == [b"", b""]


def test_a_scope_tells_and_takes_its_defaults() -> None:
    with wf.variable_scope("a", use_resource=True) as scope:
        scope.set_dtype(wf.float64)
        scope.set_caching_device("/cpu:0")
        scope.set_partitioner(None)
        with wf.variable_scope("b") as inner:
            assert wf.get_variable("v", []).dtype is wf.float64
    assert (inner.use_resource, inner.caching_device, inner.partitioner) == (True, "/cpu:0", None)
    scope.set_use_resource(False)
    assert scope.use_resource is False
    with pytest.raises(NotImplementedError, match="partitioned"):
        scope.set_partitioner(lambda **_: [1])


def test_no_regularizer_and_the_older_order_of_arguments() -> None:
    with wf.variable_op_scope([wf.constant(1)], "a", "default", regularizer=wf.reduce_sum):
        wf.get_variable("v", [2])
        assert wf.get_variable("w", [2], regularizer=wf.no_regularizer).name == "a/w:0"
    with wf.variable_op_scope([], None, "default") as scope:
        assert scope.name == "default"
    assert [loss.name for loss in wf.losses.get_regularization_losses()] == ["a/v/Regularizer/Sum:0"]


# templates


def test_a_template_shares_the_variables_of_its_first_call() -> None:
    template = wf.make_template("t", lambda size: wf.get_variable("v", [size]), size=3)
    assert (template.name, template.variables, template.variable_scope) == ("t", [], None)
    with wf.variable_scope("around"):
        first = template()
    assert template() is first
    assert (first.name, first.shape) == ("around/t/v:0", [3])
    assert (template.name, template.variable_scope_name) == ("around/t", "around/t/")
    assert template.trainable_variables == template.global_variables == template.variables == [first]
    assert wf.make_template("t", lambda: wf.get_variable("v", []))().name == "t/v:0"
    assert wf.make_template("t", lambda: wf.get_variable("v", []))().name == "t_1/v:0"


def test_a_template_may_make_its_scope_now_and_have_a_name_of_its_own() -> None:
    with wf.variable_scope("around"):
        now = wf.make_template("t", lambda: wf.get_variable("v", []), create_scope_now_=True)
    assert now.name == "around/t"
    assert now() is now()
    named = wf.make_template("t", lambda: wf.get_variable("v", []), unique_name_="named")
    assert named() is named()
    assert named.local_variables == []
    with pytest.raises(ValueError, match="named/v already exists"):
        wf.make_template("t", lambda: wf.get_variable("v", []), unique_name_="named")()


def test_a_template_makes_no_variable_later() -> None:
    template = wf.make_template("t", wf.Variable)
    template(1.0)
    with pytest.raises(ValueError, match="Trainable variable created when calling a template after the first time"):
        template(1.0)
    named = wf.make_template("u", lambda name: wf.get_variable(name, []))
    named("v")
    with pytest.raises(ValueError, match="u/w does not exist"):
        named("w")


def test_the_custom_getter_of_a_template() -> None:
    def getter(make: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        return make(f"{name}_own", *args, **kwargs)

    template = wf.make_template("t", lambda: wf.get_variable("v", []), custom_getter_=getter)
    assert template() is template()
    assert template().name == "t/v_own:0"


def test_a_graph_with_variables_by_name_ends_when_nobody_needs_it() -> None:
    def train() -> "weakref.ref[wf.Graph]":
        with (
            wf.Graph().as_default() as graph,
            wf.variable_scope("net", custom_getter=lambda get, *a, **k: get(*a, **k)),
        ):
            wf.get_variable_scope().set_initializer(wf.constant(0.5))
            hidden = wf.layers.dense(wf.ones([2, 3]), 4, kernel_initializer=wf.ones_initializer(), name="layer")
            scale = wf.get_variable("scale")
            step = wf.train.AdamOptimizer().minimize(wf.reduce_sum(hidden * scale))
            with wf.Session() as session:
                session.run(wf.global_variables_initializer())
                session.run(step)
        return weakref.ref(graph)

    graph = train()
    gc.collect()
    assert graph() is None
