"""Records: what the project wrote as JSON, read back as if a stranger had written it.

Checkpoints, runs, sweeps, splits and the lines of journals all come in here: a file may have been cut, changed by hand
or made by somebody else, and each such fault is one line with the exit code of what the file is.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cmrgz.errors import CheckpointError, CmrgzError

Check = Callable[[Any], bool]
Checks = Mapping[str, Check]
"""What the fields of a record must be, by name."""
Refuse = type[CmrgzError]
DEEPEST = 64
"""Levels of lists and objects within one another."""


def parse(
    data: bytes,
    where: str,
    *,
    refuse: Refuse = CheckpointError,
    code: str = "header",
    other: str = "",
    lenient: bool = False,
) -> dict[str, Any]:
    """Return the JSON object that `data` holds.

    Args:
        data: UTF-8 text.
        where: For the error.
        refuse: Error of what it is.
        code: Of its faults.
        other: Code of JSON that is no object, where that is another.
        lenient: Take NaN and infinity, which Python writes, and of a name that stands there twice the last.

    Raises:
        CmrgzError: Of the kind `refuse`: it is not UTF-8, not JSON, no object, too deep, has a name twice, or half a
            character.
    """
    hooks: dict[str, Any] = {} if lenient else {"object_pairs_hook": _unique, "parse_constant": _no_constant}
    try:
        value = json.loads(data.decode(), **hooks)
        _check_depth(value, data)
        _check_text(value, data)
    # What is nested about a thousand deep ends the stack of `json` itself.
    except (ValueError, RecursionError) as error:
        raise refuse(code, where, f"no valid JSON: {str(error)[:80] or 'nested too deep'}") from error
    if not isinstance(value, dict):
        raise refuse(other or code, where, f"expected an object, got {type(value).__name__}")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(result := dict(pairs)) != len(pairs):
        raise ValueError("a name stands there twice")
    return result


def _no_constant(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _check_depth(value: Any, data: bytes) -> None:
    """Refuse what is nested so deep that the next who walks through it runs out of stack."""
    # Quick for nearly all files; brackets within texts count too, which costs a walk and refuses nothing.
    if data.count(b"[") + data.count(b"{") <= DEEPEST:
        return
    level = [value]
    for _ in range(DEEPEST):
        level = [inner for outer in level for inner in _inside(outer)]
    if level:
        raise ValueError("nested too deep")


def _inside(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _check_text(value: Any, data: bytes) -> None:
    """Refuse half a surrogate pair, which JSON can spell and no file can hold."""
    # Only where one can be: text in UTF-8 cannot have half a pair but by such an escape.
    if b"\\ud" in data.lower():
        json.dumps(value, ensure_ascii=False).encode()


def check(
    record: dict[str, Any],
    checks: Checks,
    where: str,
    *,
    refuse: Refuse = CheckpointError,
    code: str = "header",
    whole: bool = False,
) -> dict[str, Any]:
    """Return `record` if it has the fields of `checks` and each passes.

    Args:
        record: A JSON object.
        checks: The fields.
        where: For the error.
        refuse: Error of what it is.
        code: Of its faults.
        whole: It must have no other fields.

    Raises:
        CmrgzError: Of the kind `refuse`, naming up to three fields, or one and its value.
    """
    odd = checks.keys() ^ record.keys() if whole else checks.keys() - record.keys()
    if odd:
        what = "fields missing or unknown" if whole else "fields missing"
        raise refuse(code, where, f"{what}: {', '.join(sorted(odd)[:3])}")
    for name, passes in checks.items():
        if not passes(record[name]):
            raise refuse(code, where, f"'{name}' cannot be {shown(record[name])}")
    return record


def shown(value: Any) -> str:
    """Return the start of a value, for an error line."""
    return repr(str(value)[:40])


# ---------------------------------------------------------------------- what a field can be
def plain(value: Any) -> Any:
    """Return what JSON knows: None for a number that is not finite, lists for tuples, in dicts and lists too."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def anything(value: Any) -> bool:
    """Whether it is there."""
    return True


def text(value: Any) -> bool:
    """Whether it is text of at most 200 characters."""
    return isinstance(value, str) and len(value) <= 200


def natural(value: Any) -> bool:
    """Whether it is a number that counts something, from 1."""
    return type(value) is int and 0 < value < 1 << 31


def whole(value: Any) -> bool:
    """Whether it is an integer that fits 64 bits."""
    return type(value) is int and -(1 << 63) <= value < 1 << 63


def number(value: Any) -> bool:
    """Whether it is a finite number."""
    # The bound comes first: `isfinite` raises OverflowError for an integer that no float can hold.
    return type(value) in (int, float) and abs(value) < 1e300 and math.isfinite(value)


def sha256(value: Any) -> bool:
    """Whether it is a SHA-256 in hexadecimal digits."""
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def one_of(*values: Any) -> Check:
    """Return a check for one of some values."""
    return lambda value: any(type(value) is type(one) and value == one for one in values)


def kind(*types: type) -> Check:
    """Return a check for one of some types; a bool is no int."""
    return lambda value: type(value) in types


def optional(check: Check) -> Check:
    """Return a check for None or what passes `check`."""
    return lambda value: value is None or check(value)


def listed(check: Check) -> Check:
    """Return a check for a list whose items all pass `check`."""
    return lambda value: isinstance(value, list) and all(map(check, value))
