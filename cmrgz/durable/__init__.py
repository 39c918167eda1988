"""Durable writing: atomic files, atomic folders and the append journal. The only package that asks the file system.

A file or folder is old, new or absent, never part, whenever the process dies; a journal loses at most a torn tail that
was never acknowledged. Temporaries are siblings named `.tmp-*`, locked while their writer lives; `remove_stale` removes
those of dead runs, at the start of the next.

    system.py    the operations that change the disk, and the hook that kills or fails them in tests
    files.py     atomic_write
    arrays.py    pack, unpack: named arrays as bytes
    folders.py   write_directory, make_directory, rename, discard, remove_stale
    journal.py   Journal, read_journal, salvage, encode
    locks.py     locked
    parts.py     Part, PlaceReader: many blobs in a file
    reading.py   what is there, and what is in it

An OSError does not leave it: what is to be written fails with a ResourceError, what is read with an error of its class.
"""

from cmrgz.durable.files import Content, atomic_write, remove, sync_directory
from cmrgz.durable.folders import (
    discard,
    make_directory,
    remove_stale,
    rename,
    require_name,
    require_writable,
    restore,
    write_directory,
)
from cmrgz.durable.journal import Journal, encode, read_journal, salvage
from cmrgz.durable.locks import locked
from cmrgz.durable.parts import Part, PlaceReader, discard_part, journal_of
from cmrgz.durable.reading import (
    exists,
    inside_of,
    is_file,
    is_folder,
    matching,
    opened,
    read_bytes,
    read_record,
    read_whole,
    refused,
    status,
    why_not,
)

__all__ = [
    "Content",
    "Journal",
    "Part",
    "PlaceReader",
    "atomic_write",
    "discard",
    "discard_part",
    "encode",
    "exists",
    "inside_of",
    "is_file",
    "is_folder",
    "journal_of",
    "locked",
    "make_directory",
    "matching",
    "opened",
    "read_bytes",
    "read_journal",
    "read_record",
    "read_whole",
    "refused",
    "remove",
    "remove_stale",
    "rename",
    "require_name",
    "require_writable",
    "restore",
    "salvage",
    "status",
    "sync_directory",
    "why_not",
    "write_directory",
]
