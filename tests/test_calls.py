"""How many items a call of a model has."""

import pytest

from cmrgz.calls import call_size


@pytest.mark.parametrize(
    ("kind", "frames", "items", "size"),
    [
        ("cpu", 1, 1, 16),
        ("cpu", 9, 50, 1),
        ("mps", 1, 1, 16),
        ("cuda", 1, 1, 8),
        ("cuda", 1, 8, 8),
        ("cuda", 1, 9, 32),
        ("cuda", 1, 99, 128),
        ("cuda", 1, 500, 128),
        ("cuda", 1, None, 128),
        ("cuda", 15, 1, 1),
        ("cuda", 15, 2, 2),
        ("cuda", 15, 9, 8),
    ],
)
def test_a_small_run_has_small_calls_on_a_gpu(kind: str, frames: int, items: int | None, size: int) -> None:
    assert call_size(kind, frames, items) == size
