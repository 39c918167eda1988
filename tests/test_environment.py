"""What surrounds the program: no name, disk, folder or system makes it take its surroundings for a bug of its own."""

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cmrgz import checkpoint, durable
from cmrgz.cli import main
from cmrgz.data import cases
from cmrgz.data.scan import load
from cmrgz.errors import CmrgzWarning, DataError, ResourceError, UsageError
from cmrgz.signals import end_on_signals

LINE = re.compile(r"cmrgz: error\[([a-z-]+)\]: .+: .+\n")
LONG = "n" * 300

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs a command line that is refused, in a folder of its own: (exit code, error code)."""
    monkeypatch.chdir(tmp_path)

    def call(*args: str | Path) -> tuple[int, str]:
        capfd.readouterr()
        code = main([str(a) for a in args])
        told = capfd.readouterr()
        line = LINE.fullmatch(told.err)
        assert line and told.out == "", told
        return code, line[1]

    return call


def write_scan(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(np.arange(16 * 16 * 2, dtype="i2").reshape(16, 16, 2), np.diag([2, 2, 8, 1])), path)
    return path


# ---------------------------------------------------------------------- names
@pytest.mark.parametrize(
    ("command", "code", "exit_code"),
    [
        (("data", "check", LONG), "not-found", 3),
        (("data", "check", "manifest.csv"), "not-found", 3),
        (("data", "check", f"{LONG}/*.nii"), "empty-dataset", 3),
        (("data", "phantom", LONG), "name", 2),
        (("data", "phantom", f"new/{LONG}"), "name", 2),
        (("train", "ar-vq", LONG), "not-found", 3),
        (("train", "ar-vq", "manifest.csv"), "not-found", 3),
        (("train", "ar-vq", "-o", LONG), "name", 2),
        (("train", "ar-vq", "-C", LONG), "not-found", 2),
        (("train", "ar-vq", "-C", "/dev/null"), "not-a-file", 2),
        (("train", "ar-vq", "a.nii.gz", "--tokenizer", LONG), "unknown-plugin", 2),
        (("train", "ar-vq", "a.nii.gz", "--start", LONG), "unknown-plugin", 2),
        (("evaluate", "-m", "ar-vq", LONG), "not-found", 3),
        (("evaluate", "-m", "ar-vq", "manifest.csv"), "not-found", 3),
        (("evaluate", "-o", LONG), "name", 2),
        (("evaluate", "-m", LONG), "unknown-plugin", 2),
        (("evaluate", "--plan", LONG), "not-found", 2),
        (("evaluate", "-m", "ar-vq", "a.nii.gz", "--extractor", f"dinov2={LONG}"), "no-checkpoint", 4),
        (("evaluate", "report", LONG), "not-found", 3),
        (("evaluate", "verify", LONG), "not-found", 3),
        (("evaluate", "repair", LONG), "not-found", 3),
        (("inpaint", LONG, "--mask", "0.5", "-m", "ar-vq"), "not-found", 3),
        (("inpaint", f"{LONG}.hdr", "--mask", "0.5", "-m", "ar-vq"), "not-found", 3),
        (("inpaint", "a.nii.gz", "--mask", f"{LONG}.nii", "-m", "ar-vq"), "not-found", 3),
        (("inpaint", "a.nii.gz", "--mask", "0.5", "-m", LONG), "unknown-plugin", 2),
        (("inpaint", "a.nii.gz", "--mask", "0.5", "-m", "ar-vq", "-o", f"{LONG}.nii"), "name", 2),
        (("inpaint", "a.nii.gz", "--mask", "0.5", "-m", "ar-vq", "-o", f"{LONG}/"), "name", 2),
        (("generate", "-m", "ar-vq", "-o", LONG), "name", 2),
        (("plugins", "new", "my-model", "-o", LONG), "name", 2),
    ],
    ids=lambda value: "-".join(value).replace(LONG, "LONG") if isinstance(value, tuple) else None,
)
def test_a_name_that_no_file_can_have(
    run: Run, tmp_path: Path, command: tuple[str, ...], code: str, exit_code: int
) -> None:
    write_scan(tmp_path / "a.nii.gz")
    (tmp_path / "manifest.csv").write_text(f"image,subject\na.nii.gz,1\n{LONG}.nii.gz,2\n")
    before = sorted(tmp_path.iterdir())
    assert run(*command) == (exit_code, code)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("folder", [".", "new"])
def test_an_input_whose_outputs_have_too_long_a_name_is_refused_before_the_work(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    """The name of the input itself is not too long."""
    monkeypatch.setattr(checkpoint, "open_model", lambda *_: pytest.fail("the weights were loaded"))
    write_scan(tmp_path / f"{'n' * 240}.nii.gz")
    output = ["-o", folder] if folder != "." else []
    assert run("inpaint", f"{'n' * 240}.nii.gz", "--mask", "0.5", "-m", "ar-vq", *output) == (2, "name")
    assert len(list(tmp_path.iterdir())) == 1


def test_a_cache_whose_name_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMRGZ_CACHE", LONG)
    with pytest.raises(ResourceError, match="too long"):
        cases.builtin(1)


# ---------------------------------------------------------------------- folders
@pytest.fixture
def readonly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a file in it on a disk that cannot be written to, to whoever runs the tests."""
    folder = tmp_path / "disk"
    (folder / "run").mkdir(parents=True)
    (folder / "run" / "file").touch()

    def guarded(name: str, writes: Callable[..., bool] = lambda *_: True) -> None:
        real = getattr(os, name)

        def call(path: str | os.PathLike[str], *args: object, **kwargs: object) -> object:
            if str(path).startswith(str(folder)) and writes(*args):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
            return real(path, *args, **kwargs)

        monkeypatch.setattr(os, name, call)

    for name in ("mkdir", "rmdir", "unlink", "replace", "link"):
        guarded(name)
    guarded("open", lambda flags, *_: bool(flags & (os.O_WRONLY | os.O_RDWR)))
    access = os.access

    def accessible(path: str | os.PathLike[str], mode: int) -> bool:
        return access(path, mode) and not (str(path).startswith(str(folder)) and mode & os.W_OK)

    monkeypatch.setattr(os, "access", accessible)
    return folder


@pytest.mark.parametrize("place", ["", "run", "new", "new/inner"])
@pytest.mark.parametrize(
    "command",
    [
        ("train", "ar-vq", "-o"),
        ("evaluate", "-m", "ar-vq", "-o"),
        ("data", "phantom", "--subjects", "1", "--size", "16", "--workers", "1"),
    ],
    ids=lambda words: words[0],
)
def test_a_read_only_disk_is_told_before_the_work(
    run: Run, readonly: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], place: str
) -> None:
    monkeypatch.setattr(cases, "builtin", lambda *_, **__: pytest.fail("phantoms were rendered"))
    assert run(*command, readonly / place) == (6, "permission")


@pytest.mark.parametrize("place", ["/proc", "/proc/new", "/sys/new"])
def test_a_place_that_takes_no_folder(run: Run, place: str) -> None:
    if not os.path.isdir(os.path.dirname(place)):
        pytest.skip(f"there is no {place} here")
    code, name = run("plugins", "new", "my-model", "-o", place)
    assert (code, name) in ((6, "io"), (6, "permission"), (2, "exists"))


def test_every_write_tells_a_read_only_disk(readonly: Path) -> None:
    """Also where a disk becomes read-only in the middle of a run."""
    for write in (
        lambda: durable.make_directory(readonly / "new"),
        lambda: durable.require_writable(readonly / "new" / "inner"),
        lambda: durable.locked(readonly, "training").__enter__(),
        lambda: durable.rename(readonly / "run", "other"),
        lambda: durable.discard(readonly / "run"),
        lambda: durable.atomic_write(readonly / "new", b""),
        lambda: durable.write_directory(readonly / "new", {}),
        lambda: durable.Journal(readonly / "log"),
    ):
        with pytest.raises(ResourceError) as told:
            write()
        assert told.value.code == "permission"
    durable.remove(readonly / "run" / "file")
    assert (readonly / "run" / "file").exists()


def test_a_file_where_a_folder_is_meant(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in ("file", "file/run"):
        assert run("train", "ar-vq", "-o", place) == (6, "io")
        assert run("evaluate", "-o", place) == (6, "io")
    with pytest.raises(ResourceError, match="made"):
        durable.make_directory("file")


def test_a_folder_that_may_not_be_looked_into_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_scan(tmp_path / "a" / "scan.nii")
    write_scan(tmp_path / "b" / "scan.nii")
    real = os.scandir

    def denied(path: str) -> object:
        if os.path.basename(path) == "b":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return real(path)

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.warns(CmrgzWarning, match="left-out.*may not be read"):
        assert len(cases.find(tmp_path)) == 1


def test_links_in_a_circle_are_told(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.nii").symlink_to("a.nii")
    assert run("inpaint", "data", "--mask", "0.5", "-m", "ar-vq") == (3, "not-found")
    with pytest.raises(DataError, match="circle"):
        cases.find(tmp_path / "data" / "a.nii")


def test_a_working_directory_that_is_gone(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    for command in (("inpaint", "a.nii", "--mask", "0.5", "-m", "ar-vq"), ("train", "ar-vq", "a.nii")):
        assert run(*command)[0] in (3, 6)


# ---------------------------------------------------------------------- reading
@pytest.mark.parametrize(
    ("number", "code", "kind"),
    [
        (errno.EACCES, "permission", UsageError),
        (errno.ENAMETOOLONG, "not-found", UsageError),
        (errno.EIO, "io", ResourceError),
        (errno.ESTALE, "io", ResourceError),
        (errno.EMFILE, "io", ResourceError),
    ],
)
def test_what_is_the_fault_of_a_file_and_what_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: str, kind: type[Exception]
) -> None:
    def failing(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", failing)
    with pytest.raises(kind) as told:
        durable.read_bytes(tmp_path / "config.yaml", UsageError)
    assert getattr(told.value, "code", "") == code and "read" in str(told.value) or code == "not-found"


def test_no_question_raises(tmp_path: Path) -> None:
    for path in (tmp_path / LONG, tmp_path / "a\0b", Path("/proc/1/fd/x")):
        assert not (durable.exists(path) or durable.is_file(path) or durable.is_folder(path) or durable.status(path))
        assert durable.matching(path, "*") == []
        assert isinstance(durable.why_not(path, DataError), DataError)
    assert durable.why_not(tmp_path, DataError) is None


def test_scans_are_read_where_the_system_has_no_pread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows."""
    monkeypatch.delattr(os, "pread", raising=False)
    for name in ("a.nii", "a.nii.gz"):
        assert load(write_scan(tmp_path / name)).shape == (1, 2, 16, 16)


def test_signals_that_the_system_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows."""
    for name in ("SIGHUP", "SIGUSR1", "SIGUSR2"):
        monkeypatch.delattr(f"signal.{name}")
    with end_on_signals() as ending:
        assert ending.raised is None
