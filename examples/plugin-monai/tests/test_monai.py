from collections.abc import Callable

from cmrgz.testing.conformance import parametrize_with_checks


@parametrize_with_checks("ldm-monai")
def test_it_conforms(check: Callable[[], None]) -> None:
    check()
