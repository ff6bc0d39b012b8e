"""`wf.image`: names only, TensorFlow's."""

from .image_functions import (
    ResizeMethod as ResizeMethod,
    adjust_brightness as adjust_brightness,
    adjust_contrast as adjust_contrast,
    crop_to_bounding_box as crop_to_bounding_box,
    flip_left_right as flip_left_right,
    flip_up_down as flip_up_down,
    grayscale_to_rgb as grayscale_to_rgb,
    pad_to_bounding_box as pad_to_bounding_box,
    per_image_standardization as per_image_standardization,
    random_brightness as random_brightness,
    random_contrast as random_contrast,
    random_flip_left_right as random_flip_left_right,
    random_flip_up_down as random_flip_up_down,
    resize_bilinear as resize_bilinear,
    resize_image_with_crop_or_pad as resize_image_with_crop_or_pad,
    resize_images as resize_images,
    resize_nearest_neighbor as resize_nearest_neighbor,
    rgb_to_grayscale as rgb_to_grayscale,
    transpose_image as transpose_image,
)
