import time
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, rotate
from scipy.stats import entropy, kurtosis, skew

from cmrgz.evaluation.extractors.radiomics import (
    ANGLES,
    NAMES,
    binary_patterns,
    cooccurrence,
    power_spectrum,
    radiomics,
)

HARALICK = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [0, 2, 2, 2], [2, 2, 3, 3]])
PUBLISHED = {
    "0": [[4, 2, 1, 0], [2, 4, 0, 0], [1, 0, 6, 1], [0, 0, 1, 2]],
    "45": [[4, 1, 0, 0], [1, 2, 2, 0], [0, 2, 4, 1], [0, 0, 1, 0]],
    "90": [[6, 0, 2, 0], [0, 4, 2, 0], [2, 2, 2, 2], [0, 0, 2, 0]],
    "135": [[2, 1, 3, 0], [1, 2, 1, 0], [3, 1, 0, 2], [0, 0, 2, 0]],
}


def images(seed: int = 0, n: int = 4, size: int = 64) -> Any:
    rng = np.random.default_rng(seed)
    return np.clip(0.5 + gaussian_filter(rng.normal(size=(n, size, size)), (0, 1.5, 1.5)), 0, 1)


def named(image: Any) -> dict[str, float]:
    return dict(zip(NAMES, radiomics(image[None])[0].tolist(), strict=True))


@pytest.mark.parametrize("angle", ANGLES)
def test_cooccurrence_is_that_of_haralick_1973(angle: str) -> None:
    assert cooccurrence(HARALICK, ANGLES[angle], 4).tolist() == PUBLISHED[angle]


def test_there_are_about_forty_names_each_once() -> None:
    assert len(NAMES) == len(set(NAMES)) == 41
    assert radiomics(images()).shape == (4, 41) and radiomics(images()).dtype == np.float32


def test_moments_are_those_of_scipy() -> None:
    x, found = images()[0], named(images()[0])
    assert found["mean"] == pytest.approx(x.mean()) and found["standard-deviation"] == pytest.approx(x.std())
    assert found["skewness"] == pytest.approx(skew(x.ravel()), rel=1e-5)
    assert found["kurtosis"] == pytest.approx(kurtosis(x.ravel(), fisher=False), rel=1e-5)
    assert found["entropy"] == pytest.approx(entropy(np.histogram(x, 64, (0, 1))[0], base=2), rel=1e-5)


def test_texture_of_two_stripes_by_hand() -> None:
    """Columns of grey levels 0 and 31 in turn: neighbours in a row differ by 31, in a column by 0."""
    x = np.zeros((32, 32))
    x[:, 1::2] = 1
    found = named(x)
    assert found["glcm-contrast-1"] == pytest.approx(31**2 * 3 / 4)
    assert found["glcm-dissimilarity-1"] == pytest.approx(31 * 3 / 4)
    assert found["glcm-correlation-1"] == pytest.approx((-3 + 1) / 4, abs=1e-3)
    assert found["glcm-energy-1"] == pytest.approx(1 / 2, abs=1e-3)
    assert found["gradient-coherence"] == pytest.approx(1, abs=1e-6)


def test_patterns_by_hand() -> None:
    spot = np.zeros((3, 3))
    spot[1, 1] = 1
    assert binary_patterns(spot).argmax() == 0
    assert binary_patterns(np.zeros((3, 3))).argmax() == 8
    edge = np.array([[0, 0, 0], [1, 1, 1], [1, 1, 1.0]])
    assert binary_patterns(edge).argmax() == 5
    corners = np.array([[1, 0, 1], [0, 0.5, 0], [1, 0, 1]])
    assert binary_patterns(corners).argmax() == 9


def test_patterns_do_not_depend_on_turns_or_brightness() -> None:
    x = images()[0]
    shares = binary_patterns(x)
    assert shares.sum() == pytest.approx(1)
    for same in (np.rot90(x), x[::-1], 0.3 * x + 0.1):
        np.testing.assert_allclose(binary_patterns(same), shares)


@pytest.mark.parametrize("beta", [0.0, 1.0, 2.0, 3.0])
def test_the_slope_of_a_spectrum_that_is_a_power_is_found(beta: float) -> None:
    rng, size = np.random.default_rng(0), 128
    radius = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size))
    radius[0, 0] = 1
    waves = np.fft.fft2(rng.normal(size=(20, size, size))) * radius ** (-beta / 2)
    fields = np.fft.ifft2(waves).real
    x = np.clip(0.5 + 0.1 * fields / fields.std((1, 2), keepdims=True), 0, 1)
    assert radiomics(x)[:, NAMES.index("spectrum-slope")].mean() == pytest.approx(-beta, abs=0.15)


def test_the_peak_of_a_wave_is_at_its_frequency() -> None:
    frequency, power = power_spectrum(np.tile(np.sin(2 * np.pi * 0.25 * np.arange(64)), (64, 1)))
    assert frequency[power.argmax()] == 0.25


def test_blur_noise_and_contrast_move_what_they_should() -> None:
    x = images()[0]
    plain, blurred = named(x), named(gaussian_filter(x, 1.5))
    noisy = named(np.clip(x + np.random.default_rng(1).normal(0, 0.1, x.shape), 0, 1))
    assert blurred["spectrum-high"] < plain["spectrum-high"] < noisy["spectrum-high"]
    assert blurred["glcm-contrast-1"] < plain["glcm-contrast-1"] < noisy["glcm-contrast-1"]
    assert blurred["gradient-mean"] < plain["gradient-mean"] < noisy["gradient-mean"]
    assert named(0.5 * x)["standard-deviation"] == pytest.approx(plain["standard-deviation"] / 2, rel=1e-5)
    assert named(0.5 * x)["glcm-contrast-1"] < 0.3 * plain["glcm-contrast-1"]


def test_texture_hardly_depends_on_a_quarter_turn() -> None:
    x = images(size=96)[0]
    a, b = named(x), named(rotate(x, 90))
    for name in ("glcm-contrast-1", "glcm-entropy-3", "spectrum-slope", "gradient-coherence", "laplacian-variance"):
        assert a[name] == pytest.approx(b[name], rel=1e-4)


@pytest.mark.parametrize("value", [0.0, 0.37, 1.0])
def test_flat_images_have_finite_features(value: float) -> None:
    found = named(np.full((32, 48), value))
    assert np.isfinite(list(found.values())).all()
    assert found["standard-deviation"] == pytest.approx(0, abs=1e-7) and found["glcm-contrast-3"] == 0


def test_an_image_does_not_depend_on_its_batch() -> None:
    x = images()
    alone = np.concatenate([radiomics(x[i : i + 1]) for i in range(len(x))])
    assert alone.tobytes() == radiomics(x).tobytes()


def test_the_features_of_this_version() -> None:
    """Where one of these moves, VERSION must too."""
    y, x = np.mgrid[:64, :64] / 64.0
    found = named(0.5 + 0.3 * np.sin(9 * x + 4 * y * y) * np.cos(7 * y))
    pinned = {
        "skewness": 0.0904167,
        "entropy": 5.21649,
        "glcm-contrast-1": 0.809296,
        "glcm-correlation-3": 0.884999,
        "glcm-contrast-spread-3": 0.535999,
        "lbp-4": 0.769511,
        "spectrum-slope": -10.1567,
        "spectrum-middle": -6.79357,
        "gradient-percentile-90": 0.0398318,
        "laplacian-variance": 6.73778e-05,
    }
    assert {name: found[name] for name in pinned} == pytest.approx(pinned, rel=1e-4)


def test_an_image_takes_some_milliseconds() -> None:
    x = images(n=10, size=128)
    start = time.perf_counter()
    radiomics(x)
    print(f"ten images: {time.perf_counter() - start:.2f} s; 0.1 s on an idle core")
