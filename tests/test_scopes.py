"""The scopes that a graph is built under: names, devices, colocation, control dependencies, collections."""

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
import weft as wf


def const(name: str = "c") -> wf.Tensor:
    return wf.constant(1.0, name=name)


def graph() -> wf.Graph:
    return wf.get_default_graph()


# names


def test_names_begin_with_their_scopes() -> None:
    with wf.name_scope("a") as a:
        with wf.name_scope("b") as b:
            x = const("x")
            assert graph().get_name_scope() == "a/b"
        y = wf.placeholder(wf.float32, name="p") + 1.0
    with wf.name_scope("a") as again:
        z = const("x")
    assert (a, b, again) == ("a/", "a/b/", "a_1/")
    assert (x.name, y.name, z.name) == ("a/b/x:0", "a/add:0", "a_1/x:0")
    assert [i.name for i in y.op.inputs] == ["a/p:0", "a/add/y:0"]
    assert graph().get_name_scope() == ""


def test_a_scope_is_entered_again_by_its_slash() -> None:
    with wf.name_scope("re") as scope:
        const("x")
    with wf.name_scope("other"), wf.name_scope(scope) as again:
        assert again == "re/"
        assert const("x").name == "re/x_1:0"
    with wf.name_scope("new/") as new:
        assert new == "new/"
        assert const("x").name == "new/x:0"
    with wf.name_scope("RE") as upper:
        assert upper == "RE_1/"


@pytest.mark.parametrize("nothing", [None, ""])
def test_no_name_leaves_all_scopes(nothing: str | None) -> None:
    with wf.name_scope("a"):
        with wf.name_scope(nothing) as top:
            assert top == ""
            assert const("x").name == "x:0"
        assert const("x").name == "a/x:0"
        with graph().name_scope(nothing) as top:
            assert top == ""


def test_the_default_name_counts_where_there_is_no_name() -> None:
    with wf.name_scope(None, "fallback") as scope:
        assert scope == "fallback/"
    with wf.name_scope("mine", "fallback") as scope:
        assert scope == "mine/"
    with pytest.raises(ValueError, match="At least one of name"):
        wf.name_scope(None, values=[])


def test_values_choose_the_graph() -> None:
    a = const()
    with wf.Graph().as_default() as other:
        b = const()
        with wf.name_scope(None, "scope", [3.0, a]) as scope:
            assert scope == "scope/"
            assert graph() is a.graph
        assert graph() is other
        with pytest.raises(ValueError, match="must be from the same graph"):
            wf.name_scope("scope", values=[a, b])


@pytest.mark.parametrize("name", [" a", "a b", "-x", "_x", "a:0", "\\a", "a\n"])
def test_invalid_names_of_scopes(name: str) -> None:
    with pytest.raises(ValueError, match="not a valid scope name"), wf.name_scope(name):
        pass
    assert graph().get_name_scope() == ""


def test_inner_scopes_may_begin_with_what_outer_ones_may_not() -> None:
    with wf.name_scope("outer"):
        for name in ("_x", "-x", "\\x"):
            with wf.name_scope(name) as scope:
                assert scope == f"outer/{name}/"
        with pytest.raises(ValueError, match="not a valid scope name"), wf.name_scope("a b"):
            pass


def test_a_scopes_name_is_a_string() -> None:
    with pytest.raises(TypeError, match="must be a string"):
        wf.name_scope(3)  # type: ignore[arg-type]


def test_scopes_end_when_their_block_fails() -> None:
    a = const()
    blocks: list[Callable[[], Any]] = [
        lambda: wf.name_scope("s"),
        lambda: wf.device("/cpu:0"),
        lambda: wf.colocate_with(a),
        lambda: wf.control_dependencies([a]),
    ]
    for block in blocks:
        with pytest.raises(KeyError), block():
            raise KeyError
    c = const("clean")
    assert (c.name, c.device, c.op.colocation_groups(), c.op.control_inputs) == ("clean:0", "", [b"loc:@clean"], ())


def test_a_block_may_be_entered_again_also_inside_itself() -> None:
    block = graph().device("/job:ps")
    with block:
        with wf.device("/job:worker"), block:
            assert const().device == "/job:ps"
        assert const().device == "/job:ps"
    assert const().device == ""
    scope = graph().name_scope("n")
    with scope as first, scope as second:
        assert (first, second) == ("n/", "n/n/")
    assert graph().get_name_scope() == ""


# devices


def device_in(*scopes: Any) -> str:
    with contextlib.ExitStack() as stack:
        for scope in scopes:
            stack.enter_context(wf.device(scope))
        return const().device


@pytest.mark.parametrize(
    ("scopes", "device"),
    [
        (["/cpu:0"], "/device:CPU:0"),
        (["/job:ps/task:1", "/cpu:0"], "/job:ps/task:1/device:CPU:0"),
        (["/cpu:0", "/job:ps/task:1"], "/job:ps/task:1/device:CPU:0"),
        (["/job:ps/task:1", "/job:worker"], "/job:worker/task:1"),
        (["/cpu:1", "/gpu:0"], "/device:GPU:0"),
        (["/cpu:0", "/device:CPU:*"], "/device:CPU:0"),
        (["/job:ps", None, "/cpu:0"], "/device:CPU:0"),
        (["/job:ps", None], ""),
        (["/job:ps", ""], "/job:ps"),
        ([wf.DeviceSpec(job="q", device_type="GPU", device_index=2)], "/job:q/device:GPU:2"),
    ],
)
def test_devices_merge_from_outside_in(scopes: list[Any], device: str) -> None:
    assert device_in(*scopes) == device


@pytest.mark.parametrize(("value", "error"), [("/foo:0", ValueError), ("bad", ValueError), (3, TypeError)])
def test_what_is_no_device(value: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        device_in(value)


def test_device_functions_are_asked_innermost_first_and_see_what_was_chosen_so_far() -> None:
    seen = []

    def outer(op: wf.Operation) -> str:
        seen.append((op.device, op.type, op.name, op.node_def.op if hasattr(op.node_def, "op") else op.type))
        return "/job:outer"

    def inner(op: wf.Operation) -> str:
        seen.append((op.device,))  # type: ignore[arg-type]
        return op.device or "/cpu:0"

    assert device_in(outer, "/task:3", inner) == "/job:outer"
    assert seen == [("",), ("/task:3/device:CPU:0", "Const", "c", "Const")]


def test_what_a_device_function_says_replaces_and_outer_names_fill_in() -> None:
    assert device_in(lambda op: "/job:f/task:9", "/job:in/cpu:3") == "/job:f/task:9"
    assert device_in("/job:out/cpu:0", lambda op: "/job:f/task:9") == "/job:f/task:9/device:CPU:0"
    assert device_in("/cpu:0", lambda op: None) == "/device:CPU:0"
    assert device_in(lambda op: "", "/cpu:0") == ""
    assert device_in(lambda op: wf.DeviceSpec(job="q", task=1)) == "/job:q/task:1"
    assert device_in(lambda op: "/job:f", None) == ""


def test_device_functions_choose_by_operation() -> None:
    with wf.device("/cpu:0"), wf.device(lambda op: "/gpu:0" if op.type == "MatMul" else op.device):
        product = wf.matmul(wf.ones([2, 2]), wf.ones([2, 2]))
    assert (product.device, product.op.inputs[0].device) == ("/device:GPU:0", "/device:CPU:0")


def test_device_functions_that_name_no_device() -> None:
    with pytest.raises(ValueError, match="Unknown attribute"):
        device_in(lambda op: "/bad:0")


# colocation


def groups(tensor: wf.Tensor) -> list[bytes]:
    return tensor.op.colocation_groups()


def test_colocation_takes_device_and_group_and_hides_outer_devices() -> None:
    with wf.device("/gpu:0"):
        a = const("a")
    with wf.device("/cpu:1"):
        with wf.colocate_with(a):
            b = const("b")
            with wf.device("/cpu:3"):
                inner = const("inner")
        after = const("after")
    assert [(x.device, groups(x)) for x in (b, inner, after)] == [
        ("/device:GPU:0", [b"loc:@a"]),
        ("/device:GPU:0", [b"loc:@a"]),
        ("/device:CPU:1", [b"loc:@after"]),
    ]


def test_groups_of_nested_colocations_are_joined_and_sorted() -> None:
    a, b, z = const("a"), const("b"), const("z")
    with wf.colocate_with(z), wf.colocate_with(a):
        both = const("both")
        with wf.colocate_with(b, ignore_existing=True):
            only_b = const("only_b")
        with wf.colocate_with(None, ignore_existing=True):
            free = const("free")
    with wf.colocate_with(both):
        through = const("through")
    assert groups(both) == [b"loc:@a", b"loc:@z"]
    assert groups(only_b) == [b"loc:@b"]
    assert groups(free) == [b"loc:@free"]
    assert groups(through) == [b"loc:@a", b"loc:@z"]
    assert both.op.get_attr("_class") == [b"loc:@a", b"loc:@z"]


def test_the_innermost_colocation_with_a_device_gives_it() -> None:
    with wf.device("/gpu:0"):
        a = const("a")
    with wf.device("/gpu:1"):
        b = const("b")
    free = const("free")
    with wf.colocate_with(b), wf.colocate_with(a), wf.colocate_with(free):
        assert const().device == "/device:GPU:0"


def test_leaving_colocations_hides_devices_too() -> None:
    with wf.device("/cpu:0"), wf.colocate_with(None, ignore_existing=True):
        assert const().device == ""


def test_colocation_with_operations_and_variables() -> None:
    with wf.device("/cpu:2"):
        v = wf.Variable(1.0, name="v")
    with wf.colocate_with(v):
        a = const()
    with wf.colocate_with(a.op):
        b = const()
    assert [(x.device, groups(x)) for x in (a, b)] == [("/device:CPU:2", [b"loc:@v"])] * 2


def test_what_nothing_can_be_colocated_with() -> None:
    with pytest.raises(ValueError, match="Trying to reset colocation"):
        wf.colocate_with(None)
    for value in (3, "a"):
        with pytest.raises(TypeError, match="colocate_with takes"):
            wf.colocate_with(value)


# control dependencies


def controls(tensor: wf.Tensor) -> list[str]:
    return [operation.name for operation in tensor.op.control_inputs]


def test_control_inputs_are_the_blocks_operations_once_each() -> None:
    a, b = const("a"), const("b")
    with wf.control_dependencies([a, b, a.op, "a", "b:0"]):
        assert controls(const()) == ["a", "b"]
    assert controls(const()) == []


def test_data_inputs_are_no_control_inputs() -> None:
    a, b = const("a"), const("b")
    with wf.control_dependencies([a, b]):
        assert controls(wf.identity(a)) == ["b"]


def test_a_block_is_skipped_for_what_depends_on_it_already() -> None:
    a, b = const("a"), const("b")
    with wf.control_dependencies([a, b]):
        d = const("d")
        assert controls(wf.identity(d)) == []
        with wf.control_dependencies([d]):
            h = const("h")
            assert controls(h) == ["a", "b", "d"]
            assert controls(wf.identity(wf.identity(a))) == []
            assert controls(wf.identity(h)) == []
            e = wf.identity(b, name="e")
            assert controls(e) == ["a", "d"]
        with wf.control_dependencies([const("q")]):
            assert controls(wf.identity(d)) == ["q"]


def test_none_leaves_all_blocks() -> None:
    with wf.control_dependencies([const("a")]):
        with wf.control_dependencies(None):
            assert controls(const()) == []
            with wf.control_dependencies([const("b")]):
                assert controls(const()) == ["b"]
        with wf.control_dependencies([]):
            assert controls(const()) == ["a"]


def test_reading_a_tensor_inside_a_block_orders_nothing() -> None:
    a = const("a")
    with wf.control_dependencies([const("b")]):
        same = wf.convert_to_tensor(a)
    assert same is a
    assert controls(same) == []


def test_a_variable_stands_for_its_handle() -> None:
    v = wf.Variable(1.0, name="v")
    with wf.control_dependencies([v]):
        assert controls(const()) == ["v"]


def test_slices_stand_for_their_values() -> None:
    slices = wf.IndexedSlices(const("values"), wf.constant([0]))
    with wf.control_dependencies([slices]):
        assert controls(const()) == ["values"]


def test_what_cannot_be_depended_on() -> None:
    with wf.Graph().as_default():
        other = const()
    cases: list[tuple[Any, type[Exception], str]] = [
        (["nope"], KeyError, "not in the graph"),
        ([3], TypeError, "Can not convert a int into a Tensor or Operation"),
        ([lambda: 1], TypeError, "Can not convert a function"),
        ([other], ValueError, "is not an element of this graph"),
        (const(), TypeError, "iterable"),
    ]
    for inputs, error, message in cases:
        with pytest.raises(error, match=message):
            wf.control_dependencies(inputs)


def test_control_inputs_run_first() -> None:
    v = wf.Variable(1.0)
    with wf.control_dependencies([v.assign_add(2.0)]):
        read = v.read_value()
    session = wf.Session()
    session.run(v.initializer)
    assert session.run(read) == 3.0


# collections


def test_collections_keep_what_is_added_in_order() -> None:
    a, b = const("s/a"), const("t/b")
    for value in (a, b, 3):
        wf.add_to_collection("things", value)
    assert wf.get_collection("things") == [a, b, 3]
    assert wf.get_collection("things", "s") == [a]
    assert wf.get_collection("things", ".*b") == [b]
    assert wf.get_collection("nope") == []


def test_a_collection_is_copied_unless_its_ref_is_asked_for() -> None:
    wf.get_collection("fresh").append(1)
    assert wf.get_collection("fresh") == []
    wf.get_collection_ref("fresh").append(1)
    assert wf.get_collection("fresh") == [1]
    assert wf.get_collection_ref("fresh") is wf.get_collection_ref("fresh")


def test_adding_to_several_collections_adds_once_to_each() -> None:
    wf.add_to_collections(["x", "y", "x"], 1)
    wf.add_to_collections("z", 1)
    wf.add_to_collections(None, 1)
    assert [wf.get_collection(name) for name in "xyz"] == [[1], [1], [1]]


def test_names_of_collections_and_clearing() -> None:
    wf.add_to_collection("x", 1)
    wf.add_to_collection(("no", "string"), 1)
    assert graph().get_all_collection_keys() == ["x"]
    assert graph().collections == ["x", ("no", "string")]
    graph().clear_collection("x")
    graph().clear_collection("never there")
    assert wf.get_collection("x") == []
    assert wf.get_collection("y") == []


def test_standard_names() -> None:
    assert wf.GraphKeys.GLOBAL_VARIABLES == wf.GraphKeys.VARIABLES == "variables"
    assert wf.GraphKeys.TRAINABLE_VARIABLES == "trainable_variables"
    assert wf.GraphKeys.REGULARIZATION_LOSSES == "regularization_losses"
    assert wf.GraphKeys.UPDATE_OPS == "update_ops"
