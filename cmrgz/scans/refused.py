"""The scans of a command that were refused: one of one is the end, one of many is told, and the others go on."""

from collections.abc import Callable

from cmrgz.data.importers import Case
from cmrgz.errors import CmrgzError, ResourceError


class Refused:
    """What was refused of the scans of a command.

    Args:
        command: For example `cmrgz inpaint`.
        total: How many scans there are.
        tell: Told why one of several was refused.
    """

    def __init__(self, command: str, total: int, tell: Callable[[CmrgzError], None]) -> None:
        self.command, self.total, self.tell = command, total, tell
        self.first = CmrgzError("empty-dataset", "scans", "there are none")

    def add(self, error: CmrgzError, case: Case) -> None:
        """Tell why a scan was refused.

        Raises:
            CmrgzError: The error, where it is the only scan, or where it is none of the scan's.
        """
        # A full disk or a missing device meets all scans alike, so that going on would fail at each of them.
        shared = isinstance(error, ResourceError) and error.code != "too-large"
        if self.total == 1 or shared:
            raise error
        if self.first.code == "empty-dataset":
            self.first = error
        # An error of the model or of an option does not say which of many scans it met.
        if str(case.image) not in error.where:
            where = f"{case.image}: {error.where}"
            error = type(error)(error.code, where, error.what, error.facts, error.hint)
        self.tell(error)

    def all(self) -> CmrgzError:
        """Return the error that says that none was left."""
        # The class of the first one gives the exit code; the reasons were told one by one.
        return type(self.first)(self.first.code, self.command, f"all {self.total} scans were refused")
