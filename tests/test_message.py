"""The wire form of messages: what is written is read again, and what is malformed is refused before anything is allocated."""

import contextlib
import os
import struct
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest
from hostile import fuzzed
from hypothesis import given, strategies as st
from weft.cluster.transports import auth, segments
from weft.cluster.wire import message
from weft.cluster.wire.decoder import Decoder
from weft.cluster.wire.message import HEADER, Limits, Message
from weft.graph import dtypes, errors

DEFAULT = Limits()
SMALL = Limits(max_meta=64, max_tensors=4, max_ndim=3, max_inline=4096)
NUMERIC = [dtype for dtype in dtypes.ALL if dtype.np != np.object_]


def frame(sent: Message, limits: Limits = DEFAULT) -> bytes:
    return b"".join(bytes(cast(Any, piece)) for piece in message.encode(sent, limits))


def feed(decoder: Decoder, data: bytes, most: int = 1 << 30) -> list[Message]:
    """All messages in some bytes, at most `most` of which come at once."""
    result = []
    while data:
        while (got := decoder.next()) is not None:
            result.append(got)
        space = decoder.space()
        count = min(len(space), len(data), most)
        space[:count] = data[:count]
        decoder.filled(count)
        data = data[count:]
    while (got := decoder.next()) is not None:
        result.append(got)
    return result


def read(data: bytes, limits: Limits = DEFAULT) -> Message:
    (result,) = feed(Decoder(limits), data)
    return result


def header(**fields: Any) -> bytes:
    """A header with some fields changed."""
    names = (
        "magic",
        "sum",
        "number",
        "version",
        "kind",
        "flags",
        "epoch",
        "step",
        "edge",
        "count",
        "meta",
        "descriptors",
        "inline",
    )
    values = dict.fromkeys(names, 0) | {"magic": message.MAGIC, "version": message.VERSION} | fields
    return HEADER.pack(*(values[name] for name in names))


def sealed(data: bytes | bytearray) -> bytes:
    """A frame of up to two tensors with the checksum that it should have."""
    fields = list(HEADER.unpack_from(data))
    front = HEADER.size + fields[10] + fields[11]
    front += message.padding(front)
    bodies = [data[front:]] if fields[5] & message.CHECKED_FLAG else []
    fields[1] = message.checksum(HEADER.pack(*fields) + data[HEADER.size : front], bodies)
    return HEADER.pack(*fields) + bytes(data[HEADER.size :])


def one(code: int, ndim: int, place: int, segment: int, offset: int, nbytes: int, *dims: int) -> bytes:
    """A frame with one tensor's descriptor, whatever it says."""
    body = message.DESCRIPTOR.pack(code, ndim, place, segment, offset, nbytes) + struct.pack(f"<{len(dims)}q", *dims)
    inline = nbytes + message.padding(nbytes) if place == message.INLINE else 0
    front = header(count=1, descriptors=len(body), inline=min(inline, 1 << 40)) + body
    return front + bytes(message.padding(len(front))) + bytes(min(inline, 4096))


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (5,), (2, 3, 4), (1,) * 20], ids=str)
@pytest.mark.parametrize("dtype", NUMERIC, ids=lambda dtype: dtype.name)
def test_tensors_of_every_type_come_back(dtype: dtypes.DType, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 2, shape).astype(dtype.np)
    (got,) = read(frame(Message(3, 1, 2, 4, b"meta", [array]))).tensors
    assert got.dtype == array.dtype
    assert got.shape == shape
    assert got.tobytes() == array.tobytes()
    assert not got.flags.writeable
    assert not got.size or got.ctypes.data % 64 == 0


@pytest.mark.parametrize(
    "strings",
    [np.array(b"\0one", object), np.array([[b"", b"ab\0"], [b"\xff" * 9, b"c"]], object), np.empty((2, 0), object)],
)
def test_strings_come_back(strings: Any) -> None:
    (got,) = read(frame(Message(0, 0, 0, tensors=[strings]))).tensors
    assert got.dtype == object
    assert got.shape == strings.shape
    assert got.tolist() == strings.tolist()
    assert not got.flags.writeable


def test_numbers_and_meta_come_back() -> None:
    got = read(frame(Message(65535, 2**32 - 1, 2**64 - 1, 2**32 - 1, bytes(range(256)) * 999)))
    assert (got.kind, got.epoch, got.step, got.edge) == (65535, 2**32 - 1, 2**64 - 1, 2**32 - 1)
    assert got.meta == bytes(range(256)) * 999
    assert got.tensors == ()


def test_arrays_that_are_not_contiguous_are_compacted() -> None:
    array = np.arange(24).reshape(4, 6)
    sent = [array.T, array[::2, 1::3], np.broadcast_to(array[0], (3, 6)), np.asfortranarray(array)]
    for before, after in zip(sent, read(frame(Message(0, 0, 0, tensors=sent))).tensors, strict=True):
        np.testing.assert_array_equal(after, before)
        assert after.flags.c_contiguous


def test_large_arrays_are_written_from_where_they_are() -> None:
    array = np.zeros(1 << 20, np.float32)
    pieces = message.encode(Message(0, 0, 0, tensors=[array, np.ones(2)]), Limits())
    assert len(pieces) == 3
    assert np.shares_memory(np.frombuffer(pieces[1], np.uint8), array)
    assert len(message.encode(Message(0, 0, 0, tensors=[array]), Limits())) == 2, "no piece is empty"


def test_a_changed_byte_is_noticed() -> None:
    data = frame(Message(1, 2, 3, 4, b"meta", [np.ones(3, np.uint8), np.ones(2)]))
    for at in {*range(len(data))} - {*range(message.NUMBERED, message.SUMMED)}:
        changed = bytearray(data)
        changed[at] ^= 16
        with contextlib.suppress(errors.DataLossError, errors.ResourceExhaustedError):
            got = feed(Decoder(DEFAULT), bytes(changed))
            assert not got, f"byte {at}: {got}"  # by a length that was changed, it waits for more


def test_checksums_of_large_tensors_are_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message, "_check_all", True)
    data = bytearray(frame(Message(1, 2, 3, 4, b"", [np.ones(1 << 15, np.uint8)])))
    read(bytes(data))
    data[20_000] ^= 1
    with pytest.raises(errors.DataLossError, match="it was changed on its way"):
        read(bytes(data))


@given(st.lists(st.integers(0, 700), max_size=3), st.integers(1, 300), st.integers(0, 64))
@fuzzed(60)
def test_the_pieces_in_which_bytes_come_do_not_matter(sizes: list[int], most: int, meta: int) -> None:
    sent = [Message(1, 2, step, 3, b"m" * meta, [np.full(size, 7, np.uint8) for size in sizes]) for step in range(3)]
    got = feed(Decoder(SMALL), b"".join(frame(each) for each in sent), most)
    assert [each.step for each in got] == [0, 1, 2]
    assert all([tensor.tolist() for tensor in each.tensors] == [[7] * size for size in sizes] for each in got)


@pytest.mark.parametrize("value", [np.array(["text"]), np.array([None]), np.array([3], object), np.array([1], ">f4")])
def test_what_is_no_tensor_is_not_sent(value: Any) -> None:
    with pytest.raises(TypeError, match="cannot be sent"):
        frame(Message(0, 0, 0, tensors=[value]))


@pytest.mark.parametrize(
    ("sent", "what"),
    [
        (Message(0, 0, 0, 0, b"x" * 65), "65 bytes of meta"),
        (Message(0, 0, 0, tensors=[np.ones(1)] * 5), "5 tensors"),
        (Message(0, 0, 0, tensors=[np.ones(300)] * 2), "4864 bytes of inline"),
        (Message(0, 0, 0, tensors=[np.ones(1000)]), "8000 bytes in one tensor"),
        (Message(0, 0, 0, tensors=[np.ones((1, 1, 1, 1))]), "4 dimensions"),
        (Message(-1, 0, 0), "kind -1"),
        (Message(0, 2**32, 0), "epoch 4294967296"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_exceeds_the_limits_is_not_sent(sent: Message, what: str) -> None:
    with pytest.raises(errors.InvalidArgumentError, match=what):
        frame(sent, SMALL)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (header(magic=b"HTTP"), "begins with b'WEFT', got b'HTTP'"),
        (header(version=9), "wire version 3, got 9"),
        (header(flags=4), "no flags but 0x2, got 0x4"),
        (header(flags=1, step=99), "no flags but 0x2, got 0x1"),
        (header(sum=7), "expected the checksum 0x7, got 0x[0-9a-f]{8}: it was changed"),
        (header(meta=65), "64 bytes of meta"),
        (header(count=5), "at most 4 tensors"),
        (header(inline=1 << 50), "4096 bytes inline"),
        (header(descriptors=8), "descriptors of 0 tensors, got 8"),
        (header(count=2, descriptors=24), "descriptors of 2 tensors"),
        (header(inline=64), "descriptors of 64 bytes inline"),
        (one(1, 0, 0, 0, 0, 3), "expected 4 bytes for float32 of shape"),
        (one(1, 1, 0, 0, 0, 4, -1), "no negative"),
        (sealed(one(1, 2, 0, 0, 0, 0, 0, 2**62)), "expected the shape of an array"),
        (sealed(one(7, 2, 0, 0, 0, 0, 0, 2**62)), "expected the shape of an array"),
        (one(99, 0, 0, 0, 0, 4), "the code of a type, got 99"),
        (one(20, 0, 0, 0, 0, 8), "the code of a type, got 20"),
        (one(1, 4, 0, 0, 0, 4, 1, 1, 1, 1), "at most 3 dimensions, got 4|descriptors of 1 tensors"),
        (one(1, 3, 0, 0, 0, 4, 1), "at most 3 dimensions, got 3 in 32 bytes"),
        (one(1, 0, 0, 0, 0, 4, 1), "8 bytes left over"),
        (one(1, 0, 5, 0, 0, 4), "a place, 0 or 1, got 5"),
        (sealed(one(1, 0, 1, 0, 0, 4)), "a segment that was announced, got 0"),
        (one(7, 1, 0, 0, 0, 8, 1), "expected 16 bytes for object"),
        (sealed(one(7, 1, 0, 0, 0, 17, 1)), "offsets that cut 1 bytes into 1 strings"),
    ],
)
def test_what_is_malformed_is_refused(data: bytes, what: str) -> None:
    with pytest.raises(errors.DataLossError, match=what):
        read(data, SMALL)


@pytest.mark.parametrize("ends", [[1, 3], [0, 2], [0, 2, 1, 3], [0, 2**62, -(2**62), 3]])
def test_strings_whose_offsets_lie_are_refused(ends: list[int]) -> None:
    good = bytearray(frame(Message(0, 0, 0, tensors=[np.array([b"abc"] + [b""] * (len(ends) - 2), object)])))
    at = 128  # behind a header of 64 bytes and a descriptor of 32, padded
    good[at : at + 8 * len(ends)] = struct.pack(f"<{len(ends)}q", *ends)
    with pytest.raises(errors.DataLossError, match="offsets"):
        read(sealed(good))


class Counting:
    """Allocates, and remembers the most it was asked for."""

    most = 0

    def __call__(self, size: int) -> Any:
        self.most = max(self.most, size)
        return pa.allocate_buffer(size)


def survives(data: bytes) -> None:
    """Bytes from anywhere decode or raise DataLossError, and never take more memory than the limits say."""
    allocate = Counting()
    decoder = Decoder(SMALL, allocate=allocate)
    with contextlib.suppress(errors.DataLossError):
        feed(decoder, data, 100)
    assert allocate.most <= SMALL.max_inline
    assert len(decoder._buffer) <= max(1 << 16, SMALL.max_front)


@given(st.binary(max_size=400))
@fuzzed(100)
def test_any_bytes_are_survived(data: bytes) -> None:
    survives(data)
    survives(header()[:8] + data)
    survives(header(count=1, descriptors=min(len(data), 48), inline=64) + data)


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=4))
@fuzzed(200)
def test_damaged_messages_are_survived(damages: list[tuple[int, int]]) -> None:
    data = bytearray(frame(Message(1, 2, 3, 4, b"meta", [np.ones((2, 3)), np.array([b"ab", b"c"], object)]), SMALL))
    for at, value in damages:
        data[at % len(data)] = value
    survives(bytes(data))


def memory_file(size: int, seal: bool = True) -> int:
    segment = segments.Segment(0, size) if seal else None
    if segment is not None:
        return segment.fd
    descriptor = os.memfd_create("test")
    os.truncate(descriptor, size)
    return descriptor


@pytest.mark.parametrize(
    ("announced", "actual", "sealed", "what"),
    [
        (4096, 8192, True, "got one of 8192"),
        (8192, 8192, False, "may shrink"),
        (1 << 20, 1 << 20, True, "of at most 65536"),
    ],
)
def test_segments_that_could_fault_are_refused(announced: int, actual: int, sealed: bool, what: str) -> None:
    mapped = segments.MappedSegments(Limits(max_shared=65536))
    mapped.descriptors.append(memory_file(actual, sealed))
    with pytest.raises(errors.DataLossError, match=what):
        mapped.add(0, announced)
    with pytest.raises(errors.DataLossError, match="and a descriptor, got 0 and 0"):
        mapped.add(0, announced)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (one(1, 1, 1, 0, 0, 8192, 2048), "a slot within 4096 bytes"),
        (one(1, 1, 1, 0, 4064, 64, 16), "a slot within 4096 bytes, got 64 at 4064"),
        (one(1, 1, 1, 0, 32, 64, 16), "got 64 at 32"),
        (one(1, 1, 1, 1, 0, 64, 16), "announced, got 1"),
        (one(7, 1, 1, 0, 0, 64, 2), "expected a tensor of 1 to"),
    ],
)
def test_slots_outside_of_their_segment_are_refused(data: bytes, what: str) -> None:
    mapped = segments.MappedSegments(Limits())
    mapped.descriptors.append(memory_file(4096))
    decoder = Decoder(Limits(), mapped)
    with pytest.raises(errors.DataLossError, match=what):
        feed(decoder, message.encode_segment(0, 4096) + sealed(data))
    mapped.close()


@pytest.mark.parametrize("nbytes", [1, 64, 65, 1000, 1 << 20, (1 << 20) + 1, 5_000_000, 1 << 36])
def test_slots_waste_little_and_are_aligned(nbytes: int) -> None:
    size = message.slot_size(nbytes)
    assert size % 64 == 0
    assert nbytes <= size <= max(nbytes + 63, nbytes * 5 // 4)


def exchange(mine: auth.Handshake, theirs: auth.Handshake) -> str:
    """Two handshakes against each other; what the listening side learns."""
    next(theirs)
    message, _ = next(mine)
    while True:
        try:
            answer, _ = theirs.send(message)
        except StopIteration as end:
            return str(end.value)
        try:
            message, _ = mine.send(answer)
        except StopIteration:
            message = b""


def test_two_that_know_the_secret_agree() -> None:
    secret = auth.new_secret()
    assert exchange(auth.client(secret, "worker 1"), auth.server(secret)) == "worker 1"


def test_a_client_without_the_secret_is_refused_and_gets_no_proof() -> None:
    with pytest.raises(errors.UnauthenticatedError, match="does not fit"):
        exchange(auth.client(auth.new_secret(), ""), auth.server(auth.new_secret()))


def test_a_server_without_the_secret_is_refused() -> None:
    client = auth.client(auth.new_secret(), "")
    hello, size = next(client)
    proof, _ = client.send(hello[:size])
    with pytest.raises(errors.UnauthenticatedError, match="does not fit"):
        client.send(proof)  # its own, reflected


@pytest.mark.parametrize("secret", [b"", b"short-secret", "x" * 32, b"y" * 33])
def test_a_secret_of_another_size_is_refused_and_not_shown(secret: Any) -> None:
    with pytest.raises(ValueError, match="32 bytes") as caught:
        auth.check_secret(secret)
    assert not secret or str(secret) not in str(caught.value)
