"""`wf.image` and einsum: values against NumPy, sizes that a run tells, chance, and what is refused."""

from typing import Any

import numpy as np
import pytest
import weft as wf

IMAGES = np.random.default_rng(2).uniform(size=(2, 3, 4, 3)).astype(np.float32)


def run(fetches: Any, feeds: Any = None) -> Any:
    with wf.Session() as session:
        return session.run(fetches, feeds)


def test_bilinear_takes_the_weighted_mean_of_neighbors() -> None:
    ramp = np.arange(4.0, dtype=np.float32).reshape(1, 1, 4, 1)
    plain = run(wf.image.resize_bilinear(ramp, [1, 8]))
    assert plain.reshape(-1).tolist() == [0, 0.5, 1, 1.5, 2, 2.5, 3, 3]
    corners = run(wf.image.resize_bilinear(ramp, [1, 7], align_corners=True))
    np.testing.assert_allclose(corners.reshape(-1), np.arange(7) / 2)
    assert run(wf.image.resize_bilinear(ramp, [2, 1], align_corners=True)).tolist() == [[[[0.0]], [[0.0]]]]


def test_sizes_may_come_with_the_run() -> None:
    x, size = wf.placeholder(wf.float32, [None, None, None, 3]), wf.placeholder(wf.int32, [2])
    found = run(wf.image.resize_images(x, size), {x: IMAGES, size: [6, 8]})
    assert found.shape == (2, 6, 8, 3)
    np.testing.assert_array_equal(found[:, ::2, ::2], IMAGES)
    near = run(wf.image.resize_images(IMAGES[0], [6, 8], wf.image.ResizeMethod.NEAREST_NEIGHBOR))
    np.testing.assert_array_equal(near, IMAGES[0].repeat(2, 0).repeat(2, 1))


def test_the_gradient_of_a_resized_image_adds_up() -> None:
    x = wf.constant(IMAGES)
    (grad,) = wf.gradients(wf.image.resize_bilinear(x, [6, 8]), x)
    np.testing.assert_allclose(run(grad).sum(), IMAGES.size * 4, rtol=1e-6)


def test_parts_and_borders() -> None:
    part = wf.image.crop_to_bounding_box(IMAGES, 1, 2, 2, 1)
    whole = wf.image.pad_to_bounding_box(part, 1, 2, 3, 4)
    middle = wf.image.resize_image_with_crop_or_pad(IMAGES[0], 5, 2)
    values = run([part, whole, middle, wf.image.transpose_image(IMAGES), wf.image.flip_left_right(IMAGES[0])])
    np.testing.assert_array_equal(values[0], IMAGES[:, 1:3, 2:3])
    np.testing.assert_array_equal(values[1][:, 1:, 2:3], values[0])
    assert np.count_nonzero(values[1]) == values[0].size
    np.testing.assert_array_equal(values[2], np.pad(IMAGES[0][:, 1:3], [(1, 1), (0, 0), (0, 0)]))
    np.testing.assert_array_equal(values[3], IMAGES.transpose(0, 2, 1, 3))
    np.testing.assert_array_equal(values[4], IMAGES[0][:, ::-1])


def test_each_image_is_turned_by_chance() -> None:
    many = wf.constant(np.tile([[[[1.0], [2.0]]]], (200, 1, 1, 1)))
    upright = wf.transpose(many, [0, 2, 1, 3])
    for flipped in (wf.image.random_flip_left_right(many, 1), wf.image.random_flip_up_down(upright, 1)):
        first = run(flipped).reshape(200, 2)[:, 0]
        assert 60 < np.count_nonzero(first == 1) < 140
    assert run(wf.image.random_flip_left_right(IMAGES[0])).shape == (3, 4, 3)


def test_colors_and_light() -> None:
    gray = wf.image.rgb_to_grayscale(IMAGES)
    ints = wf.image.rgb_to_grayscale(np.full((1, 1, 3), 200, np.uint8))
    bright, contrast = wf.image.adjust_brightness(IMAGES, 0.5), wf.image.adjust_contrast(IMAGES, 2.0)
    standard = wf.image.per_image_standardization(IMAGES)
    values = run([gray, ints, bright, contrast, standard, wf.image.grayscale_to_rgb(gray)])
    np.testing.assert_allclose(values[0][..., 0], (IMAGES * [0.2989, 0.587, 0.114]).sum(-1), rtol=1e-5)
    assert values[1].tolist() == [[[200]]]
    np.testing.assert_allclose(values[2], IMAGES + 0.5)
    means = IMAGES.mean((1, 2), keepdims=True)
    np.testing.assert_allclose(values[3], (IMAGES - means) * 2 + means, rtol=1e-4)
    np.testing.assert_allclose(values[4].std((1, 2, 3)), [1, 1], rtol=1e-4)
    np.testing.assert_array_equal(values[5][..., 2:], values[0])
    light = run([wf.image.random_brightness(IMAGES, 0.1), wf.image.random_contrast(IMAGES, 0.5, 0.6)])
    assert np.abs(light[0] - IMAGES).max() <= 0.1 + 1e-6
    assert light[1].std() < IMAGES.std()


REFUSED: list[tuple[Any, tuple[Any, ...], str]] = [
    (wf.image.resize_images, (IMAGES, [1, 2, 3]), "1-D Tensor of 2"),
    (wf.image.resize_images, ([1.0], [1, 2]), "3 or 4 dimensions"),
    (wf.image.resize_bilinear, (IMAGES[0], [1, 2]), "four dimensions"),
    (wf.image.crop_to_bounding_box, (IMAGES, 2, 0, 2, 2), "height must be >= target"),
    (wf.image.crop_to_bounding_box, (IMAGES, -1, 0, 2, 2), "offset_height must be >= 0"),
    (wf.image.pad_to_bounding_box, (IMAGES, 2, 0, 3, 4), "does not fit"),
    (wf.image.random_contrast, (IMAGES, 2.0, 1.0), "upper must be"),
    (wf.image.random_brightness, (IMAGES, -1.0), "non-negative"),
]


@pytest.mark.parametrize(("function", "arguments", "message"), REFUSED)
def test_what_does_not_fit_is_refused(function: Any, arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        function(*arguments)


def test_what_is_not_there_says_so() -> None:
    with pytest.raises(NotImplementedError, match="bilinear"):
        wf.image.resize_images(IMAGES, [1, 2], wf.image.ResizeMethod.AREA)
    with pytest.raises(TypeError, match="cast it first"):
        wf.image.adjust_brightness(np.zeros((1, 1, 3), np.uint8), 1)


@pytest.mark.parametrize(
    ("equation", "message"),
    [("ij,jk->il", "no tensor has"), ("ii,jk->i", "repeat"), ("ij->i", "of 1 tensors"), ("...i,ij->j", "takes letters"),
     ("ijk,kl->l", "does not fit"), ("ij,ik->jk", "'i' of")],
)  # fmt: skip
def test_an_equation_that_does_not_fit(equation: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wf.einsum(equation, wf.zeros([2, 3]), wf.zeros([3, 4]))


def test_einsum_of_sizes_that_the_run_tells() -> None:
    x, y = wf.placeholder(wf.float64, [None, None, 3]), wf.placeholder(wf.float64, [None, 3, None])
    a, b = np.random.default_rng(0).normal(size=(2, 4, 3)), np.random.default_rng(1).normal(size=(2, 3, 5))
    np.testing.assert_allclose(run(wf.einsum("bij,bjk->bki", x, y), {x: a, y: b}), np.einsum("bij,bjk->bki", a, b))
