"""Summaries: their tags, their collections, what they show, and what they refuse."""

import struct
import zlib
from typing import Any

import numpy as np
import pytest
import weft as wf
from weft.graph import errors
from weft.graph.collections import GraphKeys


def shown(tensor: Any, feeds: Any = None) -> Any:
    """The Summary that a run gives."""
    with wf.Session() as session:
        return wf.Summary.FromString(session.run(tensor, feeds))


def picture(data: bytes) -> Any:
    """A PNG of ours as an array."""
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    chunks, at = {}, 8
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        assert struct.unpack_from(">I", data, at + 8 + size) == (zlib.crc32(kind + body),)
        chunks[kind] = body
        at += 12 + size
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    width, height, bits, colour, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (bits, rest) == (8, [0, 0, 0])
    depth = {0: 1, 2: 3, 6: 4}[colour]
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, 1 + width * depth)
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(height, width, depth)


# names


def test_tags_and_operations_have_tensorflows_names() -> None:
    with wf.name_scope("sc"):
        one = wf.summary.scalar("lo ss/x", 3.1, family="fam")
        two = wf.summary.scalar("b", wf.constant(2, wf.int32))
    wf.summary.merge([one, two])
    wf.summary.merge_all()
    assert [(o.name, o.type) for o in wf.get_default_graph().get_operations()] == [
        ("sc/fam/lo_ss/x/tags", "Const"), ("sc/fam/lo_ss/x/values", "Const"), ("sc/fam/lo_ss/x", "ScalarSummary"),
        ("sc/Const", "Const"), ("sc/b/tags", "Const"), ("sc/b", "ScalarSummary"), ("Merge/MergeSummary", "MergeSummary"),
        ("Merge_1/MergeSummary", "MergeSummary"),
    ]  # fmt: skip
    assert [value.tag for value in shown(one).value] == ["fam/sc/fam/lo_ss/x"]
    assert [value.tag for value in shown(two).value] == ["sc/b"]


def test_a_name_that_is_taken_gives_another_tag() -> None:
    wf.summary.scalar("loss", 1.0)
    assert [value.tag for value in shown(wf.summary.scalar("loss", 2.0)).value] == ["loss_1"]


def test_summaries_are_collected_and_merged() -> None:
    assert wf.summary.merge_all() is None
    one, two = wf.summary.scalar("one", 1.0), wf.summary.histogram("two", [1.0, 2.0])
    other = wf.summary.scalar("other", 3.0, collections=["mine"])
    assert wf.get_collection(GraphKeys.SUMMARIES) == [one, two]
    assert wf.get_collection("mine") == [other]
    assert [value.tag for value in shown(wf.summary.merge_all()).value] == ["one", "two"]
    assert [value.tag for value in shown(wf.summary.merge_all("mine")).value] == ["other"]
    assert [value.tag for value in shown(wf.summary.merge_all(scope="t")).value] == ["two"]
    assert wf.get_collection(GraphKeys.SUMMARIES) == [one, two]  # merged ones are in no collection


def test_the_old_names_take_tags_as_they_are() -> None:
    summaries = [
        wf.scalar_summary("a b", 1.0), wf.scalar_summary(["x", "y"], [1.0, 2.0]), wf.histogram_summary("h", [1.0]),
        wf.image_summary("i", np.zeros((1, 2, 2, 1)), max_images=1),
    ]  # fmt: skip
    assert wf.get_collection(GraphKeys.SUMMARIES) == summaries
    assert [value.tag for value in shown(wf.merge_all_summaries()).value] == ["a b", "x", "y", "h", "i/image"]
    assert [value.tag for value in shown(wf.merge_summary(summaries[:1])).value] == ["a b"]


# values


def test_a_histogram_counts_each_value() -> None:
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    (value,) = shown(wf.summary.histogram("h", values)).value
    histo = value.histo
    assert (histo.num, histo.min, histo.max) == (1000, values.min(), values.max())
    limits, counts = np.array(histo.bucket_limit), np.array(histo.bucket)
    assert (np.diff(limits) > 0).all()
    assert counts.sum() == 1000
    assert [*counts] == [*np.histogram(values, [-np.inf, *limits])[0]]
    np.testing.assert_allclose(
        [histo.sum, histo.sum_squares], [values.sum(), (values.astype(float) ** 2).sum()], rtol=1e-4
    )


def test_pictures_are_scaled_as_in_tensorflow() -> None:
    """The pixels that TensorFlow 2.21 shows for the same floats."""
    batch = wf.placeholder(wf.float32, [None, 2, 2, 3])
    bright = [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 11]]]
    mixed = [[[-1, 0.5, np.nan], [1, 2, 3]], [[-4, 3, 2], [0, 0, 0]]]
    feeds = {batch: np.array([bright, mixed, bright], np.float32)}
    first, second = shown(wf.summary.image("im", batch, max_outputs=2), feeds).value
    assert [first.tag, second.tag] == ["im/image/0", "im/image/1"]
    assert (first.image.height, first.image.width, first.image.colorspace) == (2, 2, 3)
    assert picture(first.image.encoded_image_string).tolist() == [
        [[0, 23, 46], [69, 92, 115]],
        [[139, 162, 185], [208, 231, 255]],
    ]
    assert picture(second.image.encoded_image_string).tolist() == [
        [[255, 0, 0], [159, 191, 223]],
        [[1, 223, 191], [128, 128, 128]],
    ]
    (only,) = shown(wf.summary.image("one", batch, max_outputs=1), feeds).value
    assert only.tag == "one/image"


def test_bytes_are_shown_as_they_are() -> None:
    pixels = np.arange(32, dtype=np.uint8).reshape(1, 2, 4, 4)
    (value,) = shown(wf.summary.image("u8", pixels)).value
    assert picture(value.image.encoded_image_string).tolist() == pixels[0].tolist()


def test_a_dark_picture_is_black() -> None:
    (value,) = shown(wf.summary.image("dark", np.full((1, 2, 2, 1), 1e-7, np.float32))).value
    assert not picture(value.image.encoded_image_string).any()


def test_a_summary_of_a_tensor_says_which_plugin_shows_it() -> None:
    metadata = wf.SummaryMetadata(plugin_data=wf.SummaryMetadata.PluginData(plugin_name="mine"))
    tensor = wf.summary.tensor_summary("t", [1, 2, 3], "what it is", summary_metadata=metadata, display_name="shown as")
    (value,) = shown(tensor).value
    assert (value.metadata.plugin_data.plugin_name, value.metadata.display_name) == ("mine", "shown as")
    assert value.metadata.summary_description == "what it is"
    assert np.frombuffer(value.tensor.tensor_content, np.int32).tolist() == [1, 2, 3]


def test_a_sound_without_channels_has_one() -> None:
    (value,) = shown(wf.summary.audio("s", np.zeros((1, 5), np.float32), 44100, max_outputs=1)).value
    assert (value.audio.num_channels, value.audio.length_frames, value.audio.sample_rate) == (1, 5, 44100)


# errors


def run_error(tensor: Any, feeds: Any = None) -> str:
    with wf.Session() as session, pytest.raises(errors.InvalidArgumentError) as raised:
        session.run(tensor, feeds)
    return str(raised.value)


def test_a_histogram_refuses_what_is_not_finite() -> None:
    values = wf.placeholder(wf.float32, name="p")
    histogram = wf.summary.histogram("h", values)
    assert "Nan in summary histogram for: h" in run_error(histogram, {values: [1.0, np.nan, np.inf]})
    assert "Infinity in summary histogram for: h" in run_error(histogram, {values: [1.0, -np.inf, np.nan]})


def test_a_scalar_must_be_one() -> None:
    assert "tags and values are not the same shape: [] != [2]" in run_error(wf.summary.scalar("s", [1.0, 2.0]))


def test_two_values_under_one_tag_do_not_merge() -> None:
    one = wf.summary.scalar("one", 1.0)
    assert "Duplicate tag one found in summary inputs" in run_error(wf.summary.merge([one, one]))


@pytest.mark.parametrize("data", [b"abc", b"\n\x05", b"\n\x04\n\x09ab", b"\x00", b"\x0f", b"\xff" * 12])
def test_what_is_no_summary_does_not_merge(data: bytes) -> None:
    assert "Could not parse one of the summary inputs" in run_error(wf.summary.merge([wf.constant(data)]))


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match="a scalar summary shows real numbers, got bool"):
        wf.summary.scalar("t", True)
    with pytest.raises(TypeError, match="got string"):
        wf.summary.histogram("t", "a")
    with pytest.raises(ValueError, match=r"1, 3 or 4\], got \[2\]"):
        wf.summary.image("t", [1.0, 2.0])
    with pytest.raises(ValueError, match="max_outputs must be 1 or more"):
        wf.summary.image("t", np.zeros((1, 2, 2, 1)), max_outputs=0)
    with pytest.raises(ValueError, match="at least one summary"):
        wf.summary.merge([])
    with pytest.raises(TypeError, match="Expected list for 'inputs'"):
        wf.summary.merge("x")
    with pytest.raises(ValueError, match="to have dtype string, got float32"):
        wf.summary.text("t", 1.0)


def test_the_summary_of_a_run_next_to_an_update_is_that_before_it() -> None:
    step = wf.train.create_global_step()
    update = step.assign_add(1)
    with wf.Session(config=wf.ConfigProto(race_check="off")) as session:
        session.run(wf.global_variables_initializer())
        summary, _ = session.run([wf.summary.scalar("step", step), update])
    assert wf.Summary.FromString(summary).value[0].simple_value == 0.0
