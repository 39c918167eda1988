"""How much memory a process has held."""

import sys

import numpy as np
import pytest

from cmrgz import footprint
from cmrgz.footprint import most_bytes


def test_it_grows_with_what_is_held_and_does_not_fall() -> None:
    before = most_bytes()
    held = np.ones(1 << 26, np.uint8)
    with_it = most_bytes()
    del held
    after = most_bytes()
    assert before is not None and with_it is not None and after is not None
    assert 10 << 20 < before <= with_it <= after and with_it >= 1 << 26


def test_units_and_silence_of_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    here = most_bytes()
    monkeypatch.setattr(sys, "platform", "darwin" if sys.platform != "darwin" else "linux")
    there = most_bytes()
    assert here is not None and there is not None and max(here, there) > 500 * min(here, there)
    monkeypatch.setattr(footprint, "resource", None)
    assert most_bytes() is None
