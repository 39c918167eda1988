import pytest

from cmrgz.data.shares import percent


@pytest.mark.parametrize(
    ("share", "places", "text"),
    [
        (0.0, 0, "0 %"),
        (0.7, 0, "70 %"),
        (1.0, 0, "100 %"),
        (0.0049, 0, "< 1 %"),
        (0.005, 0, "< 1 %"),
        (0.006, 0, "1 %"),
        (0.9949, 0, "99 %"),
        (0.995, 0, "> 99 %"),
        (0.999999, 0, "> 99 %"),
        (0.533, 1, "53.3 %"),
        (1e-7, 1, "< 0.1 %"),
        (0.0005001, 1, "0.1 %"),
        (1 - 1e-7, 1, "> 99.9 %"),
        (0.0, 1, "0.0 %"),
        (1.0, 1, "100.0 %"),
    ],
)
def test_a_small_share_is_not_said_to_be_nothing(share: float, places: int, text: str) -> None:
    assert percent(share, places) == text
