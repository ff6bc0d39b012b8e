"""How gradients are put together and cut, and who adds up what: every element once, in order, and near to where it is."""

import itertools

import pytest
from hypothesis import given, strategies as st
from weft.train.reduction_plan import PIECE_BYTES, STEP, Item, buckets, cuts, groups, sizes

ITEMS = st.lists(
    st.one_of(
        st.builds(Item, st.just("float32"), st.just(4), st.integers(0, 50_000)),
        st.builds(Item, st.just("float64"), st.just(8), st.integers(0, 50_000)),
        st.builds(Item, st.just("float32"), st.just(4), st.none()),
    ),
    max_size=12,
)


@given(ITEMS, st.integers(1, 400_000), st.integers(1, 9))
def test_every_gradient_is_in_one_bucket_with_others_of_its_type(items: list[Item], limit: int, pieces: int) -> None:
    found = buckets(items, limit, pieces)
    assert [member for bucket in found for member in bucket.members] == list(range(len(items)))
    for bucket in found:
        members = [items[member] for member in bucket.members]
        assert len({item.dtype for item in members}) == 1
        lengths = [item.length for item in members]
        if None in lengths:
            assert len(lengths) == 1
            assert bucket.cuts == ()
            continue
        total = sum(length or 0 for length in lengths)
        assert bucket.cuts[0] == 0
        assert bucket.cuts[-1] == total
        assert len(members) == 1 or total * members[0].size <= limit


@given(ITEMS, st.integers(1, 400_000))
def test_what_fits_is_put_together(items: list[Item], limit: int) -> None:
    for one, next_one in itertools.pairwise(buckets(items, limit, 1)):
        together = [items[member] for member in (*one.members, *next_one.members[:1])]
        lengths = [item.length for item in together]
        same = len({item.dtype for item in together}) == 1
        assert None in lengths or not same or sum(length or 0 for length in lengths) * together[0].size > limit


@given(st.integers(0, 1_000_000), st.sampled_from([2, 4, 8]), st.integers(1, 16))
def test_pieces_are_about_equal_and_none_is_small(count: int, size: int, pieces: int) -> None:
    lengths = sizes(cuts(count, size, pieces))
    assert sum(lengths) == count
    assert 1 <= len(lengths) <= pieces
    assert all(start % STEP == 0 for start in cuts(count, size, pieces)[:-1])
    if len(lengths) > 1:
        assert min(lengths) * size >= PIECE_BYTES // 2
        assert max(lengths) - min(lengths) <= 2 * STEP


@pytest.mark.parametrize(
    ("hosts", "auto", "ring"),
    [
        (["a", "a", "b", "b"], ((0, 1), (2, 3)), ((0, 1), (2, 3))),
        (["a", "a", "b"], ((0, 1), (2,)), ((0, 1), (2,))),
        (["a", "a", "a"], ((0, 1, 2),), ((0, 1, 2),)),
        (["a", "b", "c"], ((0, 1, 2),), ((0,), (1,), (2,))),  # a host has one replica: a ring saves nothing
        (["a", "b", "a", "b"], ((0, 1, 2, 3),), ((0,), (1,), (2,), (3,))),  # it would go to and fro
        (["a"], ((0,),), ((0,),)),
    ],
)
def test_replicas_of_a_host_add_up_among_themselves_where_that_saves_traffic(
    hosts: list[str], auto: tuple[tuple[int, ...], ...], ring: tuple[tuple[int, ...], ...]
) -> None:
    assert groups(hosts, "auto") == auto
    assert groups(hosts, "ring") == ring
    assert groups(hosts, "scatter") == (tuple(range(len(hosts))),)


def test_a_ring_needs_to_know_the_hosts() -> None:
    assert groups(["a", None, "b"], "auto") == ((0, 1, 2),)
    with pytest.raises(ValueError, match="give `cluster`"):
        groups(["a", None, "b"], "ring")
    with pytest.raises(ValueError, match="'auto', 'scatter', 'ring', got 'tree'"):
        groups(["a", "b"], "tree")
