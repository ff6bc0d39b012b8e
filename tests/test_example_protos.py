"""Example and its parts: the bytes that TensorFlow 2.21 writes for the same records, and back."""

from typing import Any

import weft as wf


def example() -> Any:
    train = wf.train
    feature = {
        "words": train.Feature(bytes_list=train.BytesList(value=[b"a", b"bc"])),
    }
    return train.Example(features=train.Features(feature=feature))


def test_an_example_has_tensorflows_bytes() -> None:
    train = wf.train
    assert example().SerializeToString() == b"\n\x14\n\x12\n\x05words\x12\t\n\x07\n\x01a\n\x02bc"
    numbers = train.Feature(float_list=train.FloatList(value=[1.5, -2.0]))
    assert numbers.SerializeToString() == b"\x12\n\n\x08\x00\x00\xc0?\x00\x00\x00\xc0"
    counts = train.Feature(int64_list=train.Int64List(value=[1, -1, 300]))
    assert counts.SerializeToString() == b"\x1a\x0f\n\r\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\xac\x02"
    lists = train.FeatureLists(feature_list={"l": train.FeatureList(feature=[counts])})
    sequence = train.SequenceExample(feature_lists=lists)
    assert sequence.SerializeToString() == b"\x12\x1a\n\x18\n\x01l\x12\x13\n\x11" + counts.SerializeToString()


def test_an_example_comes_back() -> None:
    read = wf.train.Example.FromString(example().SerializeToString())
    assert read == example()
    assert list(read.features.feature["words"].bytes_list.value) == [b"a", b"bc"]
    assert read.features.feature["words"].WhichOneof("kind") == "bytes_list"
