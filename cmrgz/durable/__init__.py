"""Durable writing: atomic files, atomic folders and the append journal. The only package that writes results.

A file or folder is old, new or absent, never part, whenever the process dies; a journal loses at most a torn tail that
was never acknowledged. Temporaries are siblings named `.tmp-*`, locked while their writer lives; `remove_stale` removes
those of dead runs, at the start of the next.

    system.py    the operations that change the disk, and the hook that kills or fails them in tests
    files.py     atomic_write
    arrays.py    pack, unpack: named arrays as bytes
    folders.py   write_directory, remove_stale
    journal.py   Journal, read_journal, salvage
"""

from cmrgz.durable.files import Content, atomic_write, sync_directory
from cmrgz.durable.folders import remove_stale, restore, write_directory
from cmrgz.durable.journal import Journal, read_journal, salvage

__all__ = [
    "Content",
    "Journal",
    "atomic_write",
    "read_journal",
    "remove_stale",
    "restore",
    "salvage",
    "sync_directory",
    "write_directory",
]
