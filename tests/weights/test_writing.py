"""Killed anywhere, with a full disk, with files that cannot be read: nothing is half there, and the next run ends in the same bytes."""

from __future__ import annotations

import errno
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from codegen.checkpoints import open_source
from codegen.diagnostics import CompileError
from codegen.pipeline import compile_into
from codegen.weights import conversion, reading
from codegen.weights.conversion import Plan
from codegen.weights.parameters import Layout
from codegen.weights.writing import staging
from tests.cli.small import SIZES, TENSORS
from tests.weights.small import checkpoint, contents

KILLED = 9
POINTS = ("fsync", "replace", "rename", "unlink", "mkdir")
ONE = {name: shape for name, shape in TENSORS.items() if "layers.1" not in name}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here waits for the disk: what dies is a process, not the machine."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture(scope="module")
def plan(example: Path, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Of a conversion to Orbax with all kinds of files: parameters, what is left out, what is beside the weights."""
    folder = tmp_path_factory.mktemp("source") / "org__small"
    more = {**ONE, "model.layers.0.self_attn.rotary_emb.inv_freq": [8]}
    checkpoint(example, folder, tensors=more, **{**SIZES, "num_hidden_layers": 1})
    return conversion.plan(open_source(str(folder), compile_into), "orbax", Layout(True, True))


@pytest.fixture(scope="module")
def want(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("want") / "out"
    convert(plan, out)
    return contents(out)


def convert(plan: Plan, out: Path) -> None:
    conversion.run(plan, out, lambda count: None)


def in_child(run: Callable[[], None]) -> int:
    """The exit status of a process that runs it."""
    child = os.fork()
    if child == 0:
        try:
            run()
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_at(plan: Plan, out: Path, number: int, *, after: bool) -> int:
    """Run until the `number`-th call that changes what is on the disk, and die before or after it."""

    def run() -> None:
        for name in POINTS:
            setattr(os, name, dying(getattr(os, name)))
        convert(plan, out)
        os._exit(0)

    def dying(call: Callable[..., object]) -> Callable[..., object]:
        def made(*args: object, **kwargs: object) -> object:
            nonlocal calls
            calls += 1
            last = calls == number
            if last and not after:
                os._exit(KILLED)
            try:
                return call(*args, **kwargs)
            finally:
                if last:
                    os._exit(KILLED)

        return made

    calls = 0
    return in_child(run)


def whole_files(folder: Path, want: dict[str, bytes]) -> dict[str, tuple[int, int]]:
    """The files of a folder that have the name of one that is wanted, with what tells whether they are written again."""
    found = {name: folder / name for name in want if (folder / name).is_file()}
    return {name: (path.stat().st_ino, path.stat().st_mtime_ns) for name, path in found.items()}


def check_resumes(plan: Plan, out: Path, want: dict[str, bytes]) -> None:
    """What has its name is whole; the next run leaves it alone and ends in the same bytes."""
    if out.exists():
        assert {name: data for name, data in contents(out).items() if name != ".journal"} == want
    partly = staging(out) if staging(out).exists() else out
    finished = whole_files(partly, want)
    assert all((partly / name).read_bytes() == want[name] for name in finished)
    convert(plan, out)
    assert contents(out) == want
    assert finished.items() <= whole_files(out, want).items()
    assert sorted(out.parent.iterdir()) == [out]


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_every_step(after: bool, plan: Plan, want: dict[str, bytes], tmp_path: Path) -> None:
    number, status = 0, KILLED
    while status == KILLED:
        number += 1
        place = tmp_path / str(number)
        place.mkdir()
        status = killed_at(plan, place / "out", number, after=after)
        assert status in (KILLED, 0)
        check_resumes(plan, place / "out", want)
        shutil.rmtree(place)
    assert number > 2 * len(want)


def test_killed_again_and_again(plan: Plan, want: dict[str, bytes], tmp_path: Path) -> None:
    """No run gets far, and yet it ends."""
    out, runs = tmp_path / "out", 0
    while killed_at(plan, out, 40, after=False) == KILLED:
        runs += 1
        assert runs < len(want)
    assert runs > 2
    check_resumes(plan, out, want)


@pytest.mark.parametrize("seed", range(10))
def test_killed_within_a_write(seed: int, plan: Plan, want: dict[str, bytes], tmp_path: Path) -> None:
    """A file is cut off after some of its bytes."""
    limit = random.Random(seed).randrange(plan.writes)

    def run() -> None:
        plain, done = os.write, 0

        def write(handle: int, data: memoryview) -> int:
            nonlocal done
            count = plain(handle, data[: max(0, limit - done)])
            done += count
            if done >= limit:
                os._exit(KILLED)
            return count

        os.write = write  # type: ignore[assignment]
        convert(plan, tmp_path / "out")

    assert in_child(run) == KILLED
    check_resumes(plan, tmp_path / "out", want)


def test_the_journal_is_cut_off(plan: Plan, want: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert killed_at(plan, out, 40, after=False) == KILLED
    journal = staging(out) / ".journal"
    whole = journal.read_bytes()
    first = whole.index(b"\n") + 1  # that line is on the disk before anything else is there
    for length in (first, first + 1, *range(first + 7, len(whole), 61), len(whole) - 1):
        shutil.copytree(staging(out), staging(tmp_path / "other"), copy_function=shutil.copy2)
        (staging(tmp_path / "other") / ".journal").write_bytes(whole[:length])
        convert(plan, tmp_path / "other")
        assert contents(tmp_path / "other") == want
        shutil.rmtree(tmp_path / "other")


def test_a_file_that_was_changed_meanwhile_is_written_again(plan: Plan, want: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert killed_at(plan, out, 60, after=False) == KILLED
    done = staging(out) / next(iter(whole_files(staging(out), want)))
    data = done.read_bytes()
    done.write_bytes(bytes(len(data)))
    os.utime(done, ns=(0, 0))
    convert(plan, out)
    assert contents(out) == want


@pytest.mark.parametrize("part", range(50))
def test_a_full_disk(
    part: int, plan: Plan, want: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = plan.writes * part // 50
    plain = os.write

    def write(handle: int, data: memoryview) -> int:
        nonlocal room
        if room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        count = plain(handle, data[:room])
        room -= count
        return count

    with monkeypatch.context() as patched, pytest.raises(CompileError) as caught:
        patched.setattr(os, "write", write)
        convert(plan, tmp_path / "out")
    assert [one.code for one in caught.value.diagnostics] == ["disk-full"]
    assert not [name for name in contents(staging(tmp_path / "out")) if name.endswith(".partial")]
    check_resumes(plan, tmp_path / "out", want)


def test_no_room_is_said_before_anything_is_written(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "free_bytes", lambda out: plan.writes - 1)
    with pytest.raises(CompileError, match="lacks 1 bytes"):
        convert(plan, tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def own(plan: Plan, example: Path, tmp_path: Path) -> Iterator[Plan]:
    """A plan whose source may be spoiled."""
    checkpoint(example, tmp_path / "org__own", tensors=ONE, **{**SIZES, "num_hidden_layers": 1})
    yield conversion.plan(open_source(str(tmp_path / "org__own"), compile_into), "orbax", Layout(True, True))


def test_a_file_that_cannot_be_read(own: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, calls = os.preadv, 0

    def preadv(handle: int, buffers: list[memoryview], at: int) -> int:
        nonlocal calls
        calls += 1
        if calls > 7:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return plain(handle, buffers, at)

    with (
        monkeypatch.context() as patched,
        pytest.raises(CompileError, match=r"cannot read model-0000\d-of-00002.safetensors at byte \d+"),
    ):
        patched.setattr(os, "preadv", preadv)
        convert(own, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    convert(own, tmp_path / "out")


@pytest.mark.parametrize("late", [False, True])
def test_a_file_that_was_cut_short(late: bool, own: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "org__own" / "model-00002-of-00002.safetensors"
    data = path.read_bytes()
    if late:  # after it was opened
        monkeypatch.setattr(reading.os, "fstat", lambda handle: os.stat_result((0,) * 6 + (len(data), 0, 0, 0)))
        monkeypatch.setattr(own.source.files, "sizes", dict.fromkeys(own.source.files.sizes, len(data)))
    path.write_bytes(data[:-30])
    with pytest.raises(CompileError, match="is cut short"):
        convert(own, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_there_is_left_alone(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("1")
    with pytest.raises(CompileError, match="exists already"):
        convert(plan, tmp_path / "out")
    assert contents(tmp_path) == {"out/mine": b"1"}


def test_what_another_conversion_left_is_left_alone(plan: Plan, own: Plan, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert killed_at(plan, out, 30, after=False) == KILLED
    before = contents(staging(out))
    with pytest.raises(CompileError, match="an earlier conversion"):
        convert(own, out)
    assert contents(staging(out)) == before


def test_two_at_a_time(plan: Plan, tmp_path: Path) -> None:
    out, said = tmp_path / "out", []

    def progress(count: int) -> None:
        if not said:
            with pytest.raises(CompileError) as caught:
                convert(plan, out)
            said.extend(one.message for one in caught.value.diagnostics)

    conversion.run(plan, out, progress)
    assert "another process is writing" in said[0]
