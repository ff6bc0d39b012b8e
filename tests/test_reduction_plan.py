"""How gradients are put together and cut, and who adds up what: every element once, in order, and near to where it is."""

import pytest
from hypothesis import given, strategies as st
from weft.train.mirrored.reduction_plan import PIECE_BYTES, STEP, UNCUT, Item, buckets, cuts, groups, sizes

ITEMS = st.lists(
    st.one_of(
        st.builds(Item, st.just("float32"), st.just(4), st.integers(0, 50_000)),
        st.builds(Item, st.just("float64"), st.just(8), st.integers(0, 50_000)),
        st.builds(Item, st.just("float32"), st.just(4), st.none()),
    ),
    max_size=12,
)


@given(ITEMS, st.integers(1, 400_000), st.integers(1, 9))
def test_every_gradient_is_in_one_bucket_with_others_of_its_type(items: list[Item], limit: int, sharers: int) -> None:
    found = buckets(items, limit, sharers)
    assert [member for bucket in found for member in bucket.members] == list(range(len(items)))
    for bucket in found:
        members = [items[member] for member in bucket.members]
        assert len({item.dtype for item in members}) == 1
        assert set(bucket.owners) <= set(range(sharers))
        lengths = [item.length for item in members]
        if None in lengths:
            assert len(lengths) == len(bucket.owners) == 1
            assert bucket.cuts == ()
            continue
        total = sum(length or 0 for length in lengths)
        assert bucket.cuts[0] == 0
        assert bucket.cuts[-1] == total
        assert len(bucket.owners) == len(bucket.cuts) - 1
        assert len(members) == 1 or total * members[0].size <= limit


def known(*lengths: int) -> list[Item]:
    return [Item("float32", 4, length) for length in lengths]


@given(st.lists(st.integers(0, 1_000_000), min_size=1, max_size=12), st.integers(1, 9))
def test_the_work_is_shared_out_evenly(lengths: list[int], sharers: int) -> None:
    loads = [0] * sharers
    for bucket in buckets(known(*lengths), 1 << 22, sharers):
        for owner, length in zip(bucket.owners, sizes(bucket.cuts), strict=True):
            loads[owner] += 4 * length
    # The busiest was the least loaded one before its last piece, which was hardly more than a share, or small.
    share = 4 * sum(lengths) / sharers
    assert max(loads) <= share + max(UNCUT * share, 2 * PIECE_BYTES) + 4 * STEP


def test_small_gradients_travel_together_and_only_large_ones_are_cut() -> None:
    share = PIECE_BYTES // 4
    for lengths, parts in {
        (100, 7, 3): [(3, 1)],  # all in one vector, for one replica
        (share, share, 5, share - 5): [(1, 1), (1, 1), (2, 1)],  # as many replicas as there is work for
        (6 * share,): [(1, 3)],
        (6 * share, share): [(1, 3), (1, 1)],
        (8 * share, 8 * share, 8 * share, 9): [(1, 1), (1, 1), (1, 1), (1, 1)],
    }.items():
        found = buckets(known(*lengths), 1 << 22, 3)
        assert [(len(bucket.members), len(bucket.owners)) for bucket in found] == parts
        work = [owner for bucket in found for owner in bucket.owners]
        assert len(set(work)) == min(3, len(work))


@given(st.integers(0, 1_000_000), st.integers(1, 16))
def test_pieces_are_about_equal(count: int, pieces: int) -> None:
    lengths = sizes(cuts(count, pieces))
    assert sum(lengths) == count
    assert len(lengths) == pieces
    assert all(start % STEP == 0 or start == count for start in cuts(count, pieces))
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
