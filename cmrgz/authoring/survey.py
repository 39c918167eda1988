"""What plugins say of themselves, read in another process: one that ends it or hangs costs the others nothing.

The process is a fork, which takes a millisecond: nothing is started or imported again. Light: imports no torch.
"""

import json
import multiprocessing
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

from cmrgz.plugin import Entry, ModelSpec, TokenizerSpec

TIME_LIMIT = 10.0
"""Seconds that the import of a spec may take."""

AnyEntry = Entry[ModelSpec] | Entry[TokenizerSpec]
Facts = dict[str, Any]
Describe = Callable[[AnyEntry], Facts]


def survey(entries: Sequence[AnyEntry], describe: Describe, limit: float = TIME_LIMIT) -> list[Facts]:
    """Return what is to be said of each entry, be it only why nothing can be.

    Args:
        entries: Of the registry, not yet imported.
        describe: From an entry to facts in JSON's types; imports its spec.
        limit: Seconds that each may take.

    Returns:
        The facts of each; `name`, `package`, `version` and `broken` where `describe` fails, hangs or ends its
        process.
    """
    if "fork" not in multiprocessing.get_all_start_methods():
        return [_described(entry, describe) for entry in entries]
    found: list[Facts] = []
    while len(found) < len(entries):
        # What comes after one that broke off is told by a new process.
        rows, reason = _told(entries[len(found) :], describe, limit)
        found += rows
        if len(found) < len(entries):
            found.append(_broken(entries[len(found)], reason))
    return found


def _told(entries: Sequence[AnyEntry], describe: Describe, limit: float) -> tuple[list[Facts], str]:
    """Return the facts of the first entries, in a process of their own, and why it stopped before the last."""
    context = multiprocessing.get_context("fork")
    reader, writer = context.Pipe(duplex=False)
    child = context.Process(target=_tell, args=(writer, entries, describe), daemon=True)
    child.start()
    # This end of the pipe is the child's: while it is open here, the end of the child is not noticed.
    writer.close()
    rows: list[Facts] = []
    reason = ""
    try:
        while len(rows) < len(entries) and not reason:
            # The limit is that of a plugin: it begins anew with each answer.
            if not reader.poll(limit):
                reason = f"plugin-broken: did not load within {limit:g} s"
                continue
            number, facts = json.loads(reader.recv_bytes())
            if number == len(rows):  # one that forks tells everything twice
                rows.append(facts)
    except EOFError:
        child.join()
        reason = f"plugin-broken: ends the process that imports it, with code {child.exitcode}"
    finally:
        # One that hangs does not end when it is asked to.
        child.kill()
        child.join()
        reader.close()
    return rows, reason


def _tell(writer: Connection, entries: Sequence[AnyEntry], describe: Describe) -> None:
    for number, entry in enumerate(entries):
        writer.send_bytes(json.dumps([number, _described(entry, describe)]).encode())


def _described(entry: AnyEntry, describe: Describe) -> Facts:
    """Return the facts of an entry as JSON gives them back."""
    try:
        facts: Facts = json.loads(json.dumps(describe(entry)))
    except (TypeError, ValueError, AttributeError) as error:  # a spec may hold anything
        return _broken(entry, f"plugin-protocol: cannot be described: {error}")
    return facts


def _broken(entry: AnyEntry, reason: str) -> Facts:
    return {"name": entry.name, "package": entry.package, "version": entry.version, "broken": reason}
