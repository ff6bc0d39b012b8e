"""assert_equal and its kin: at the run, at once where the values are known, and in eager execution."""

from typing import Any

import pytest
import weft as wf

PAIRS: list[tuple[Any, Any, Any]] = [
    (wf.assert_equal, 1, 2), (wf.assert_none_equal, 2, 2), (wf.assert_less, 2, 2), (wf.assert_less_equal, 3, 2),
    (wf.assert_greater, 2, 2), (wf.assert_greater_equal, 1, 2), (wf.assert_near, 1.0, 1.1),
]  # fmt: skip
SIGNS: list[tuple[Any, Any, Any]] = [
    (wf.assert_positive, 1, 0), (wf.assert_negative, -1, 0), (wf.assert_non_negative, 0, -1),
    (wf.assert_non_positive, 0, 1),
]  # fmt: skip
GOOD = {"equal": (2, 2), "none_equal": (1, 2), "less": (1, 2), "less_equal": (2, 2), "greater": (3, 2),
        "greater_equal": (2, 2), "near": (1.0, 1.0 + 1e-7)}  # fmt: skip


def run(fetches: Any, feeds: Any = None) -> Any:
    with wf.Session() as session:
        return session.run(fetches, feeds)


@pytest.mark.parametrize(("check", "x", "y"), PAIRS)
def test_two_values_are_compared_at_the_run(check: Any, x: Any, y: Any) -> None:
    fed = wf.placeholder(wf.float32, [None])
    operation = check(fed, [y], message="my message")
    good, other = GOOD[check.__name__.removeprefix("assert_")]
    assert run(operation, {fed: [good + (y - other)]}) is None
    with pytest.raises(wf.errors.InvalidArgumentError, match=r"my message.*did not hold|my message.*not equal to tol"):
        run(operation, {fed: [x]})


@pytest.mark.parametrize(("check", "x", "y"), PAIRS[:-1])
def test_known_values_are_compared_at_once(check: Any, x: Any, y: Any) -> None:
    with pytest.raises(wf.errors.InvalidArgumentError, match="did not hold element-wise"):
        check(wf.constant([x, x]), y)
    assert check(*GOOD[check.__name__.removeprefix("assert_")]).type == "Assert"


@pytest.mark.parametrize(("check", "good", "bad"), SIGNS)
def test_signs(check: Any, good: Any, bad: Any) -> None:
    fed = wf.placeholder(wf.int32, [None])
    with wf.control_dependencies([check(fed, summarize=1)]):
        value = wf.identity(fed)
    assert run(value, {fed: [good]}) == good
    with pytest.raises(wf.errors.InvalidArgumentError, match="Condition x"):
        run(value, {fed: [good, bad]})
    with pytest.raises(wf.errors.InvalidArgumentError, match="Condition x"):
        check(bad)


def test_ranks() -> None:
    fed = wf.placeholder(wf.float32)
    two, least = wf.assert_rank(fed, 2), wf.assert_rank_at_least(fed, 2)
    run([two, least], {fed: [[1.0]]})
    for operation, value in ((two, [[[1.0]]]), (two, [1.0]), (least, [1.0])):
        with pytest.raises(wf.errors.InvalidArgumentError, match="must have rank"):
            run(operation, {fed: value})
    assert wf.assert_rank([1], 1).type == "NoOp"
    with pytest.raises(ValueError, match="must have rank equal to 2"):
        wf.assert_rank([1], 2)
    with pytest.raises(ValueError, match="must have rank at least 2"):
        wf.assert_rank_at_least([1], 2)
    with pytest.raises(ValueError, match="must be a scalar"):
        wf.assert_rank([1], [2])
    with pytest.raises(TypeError, match="must be an integer"):
        wf.assert_rank([1], 1.0)


def test_types_and_scalars() -> None:
    x = wf.constant(1.0)
    assert wf.assert_type(x, wf.float32).type == "NoOp"
    with pytest.raises(TypeError, match="must be of type int32"):
        wf.assert_type(x, wf.int32)
    assert wf.assert_scalar(x) is x
    with pytest.raises(ValueError, match="Expected scalar"):
        wf.assert_scalar([1.0])


def test_a_shape_is_ensured_at_the_run() -> None:
    fed = wf.placeholder(wf.float32)
    sure = wf.ensure_shape(fed, [None, 2])
    assert sure.shape.as_list() == [None, 2]
    run(sure, {fed: [[1.0, 2.0]]})
    with pytest.raises(wf.errors.InvalidArgumentError, match="are not compatible"):
        run(sure, {fed: [[1.0]]})
    with pytest.raises(ValueError, match="compatible"):
        wf.ensure_shape(wf.zeros([2]), [3])


def test_what_does_not_fit_is_an_error() -> None:
    x = wf.zeros([2, 4, 4, 1])
    with pytest.raises(ValueError, match="direction"):
        wf.sort(x, direction="UP")
    with pytest.raises(ValueError, match="known rank"):
        wf.sort(wf.placeholder(wf.float32), 0)
    with pytest.raises(ValueError, match="not divisible"):
        wf.space_to_batch(x, [[0, 0], [0, 1]], 2)
    with pytest.raises(ValueError, match="not divisible"):
        wf.batch_to_space(x, [[0, 0], [0, 1]], 2)
    with pytest.raises(ValueError, match="must be known"):
        wf.space_to_batch_nd(x, wf.placeholder(wf.int32, [2]), [[0, 0], [0, 1]])
    with pytest.raises(ValueError, match="VALID or SAME"):
        wf.extract_image_patches(x, [1, 2, 2, 1], [1, 1, 1, 1], [1, 1, 1, 1], "OTHER")
    with pytest.raises(ValueError, match=r"must be \[1, rows"):
        wf.extract_image_patches(x, [2, 2, 2, 1], [1, 1, 1, 1], [1, 1, 1, 1], "SAME")
    with pytest.raises(ValueError, match="Only scalar"):
        wf.scalar_mul([1.0], x)
    with pytest.raises(wf.errors.InvalidArgumentError, match="not fall"):
        run(wf.segment_max([1.0, 2.0], wf.constant([1, 0])))


def test_slices_are_multiplied_by_a_scalar() -> None:
    slices = wf.IndexedSlices(wf.constant([[1.0, 2.0]]), wf.constant([3]))
    assert run(wf.scalar_mul(2, slices).values).tolist() == [[2.0, 4.0]]


def test_windows_keep_the_size_with_padding() -> None:
    x = wf.reshape(wf.range(9.0), [1, 3, 3, 1])
    patches = run(wf.extract_image_patches(x, [1, 3, 3, 1], [1, 2, 2, 1], [1, 1, 1, 1], "SAME"))
    assert patches.shape == (1, 2, 2, 9)
    assert patches[0, 0, 0].tolist() == [0, 0, 0, 0, 0, 1, 0, 3, 4]


def test_there_is_no_window_bigger_than_the_image() -> None:
    patches = wf.extract_image_patches(wf.zeros([1, 5, 5, 1]), [1, 6, 1, 1], [1, 3, 1, 1], [1, 1, 1, 1], "VALID")
    assert run(patches).shape == (1, 0, 5, 6)
