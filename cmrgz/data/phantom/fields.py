"""Random fields: smooth textures on the pixel grid and the fractal texture of the trabeculae."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float64]


def smooth_field(size: int, sigma: float, rng: np.random.Generator) -> Array:
    """Return a (size, size) periodic Gaussian field of unit variance, smoothed over `sigma` pixels."""
    # Periodic, so that texture does not change towards the border.
    field: Array = ndimage.gaussian_filter(rng.standard_normal((size, size)), sigma, mode="wrap")
    field /= field.std() + 1e-9
    return field


def fractal_texture(rng: np.random.Generator, angles: int = 256, heights: int = 64, beta: float = 1.1) -> Array:
    """Return a periodic 1/f texture (angles, heights) of unit variance.

    The lowest three angular orders are left out: they would move the wall, not roughen it.
    """
    # In whole waves around the cavity, and along the axis: the spectrum falls as a power, as that of rough surfaces.
    ka = np.abs(np.fft.fftfreq(angles) * angles)[:, None]
    kz = np.abs(np.fft.fftfreq(heights) * heights)[None]
    amplitude = np.where((ka < 3) | (ka > 44), 0.0, 1 / (ka**2 + (1.6 * kz) ** 2 + 1) ** (beta / 2))
    field: Array = np.fft.ifft2(np.fft.fft2(rng.standard_normal((angles, heights))) * amplitude).real
    field /= field.std()
    return field


def trabecular_depth(texture: Array, angle: Array, height: float) -> Array:
    """Return how far the trabeculae stand into the cavity, in mm (>= 0); more towards the apex.

    Args:
        texture: (angles, heights) of `fractal_texture`.
        angle: Angles in radians, any shape.
        height: Relative height, 0 at the base and 1 at the apex.
    """
    h = np.clip(height, 0, 1)
    at = [np.mod(angle, 2 * np.pi) / (2 * np.pi) * texture.shape[0], np.full_like(angle, h * 40.0)]
    depth: Array = (0.35 + 1.5 * h) * np.clip(ndimage.map_coordinates(texture, at, order=1, mode="grid-wrap"), 0, 2.5)
    return depth
