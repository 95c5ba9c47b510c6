"""Other systems, as far as this one can tell: Windows' files, Macs and their GPU, a room without network."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from sdkit import doctor
from sdkit.runs import files
from sdkit.train import default_device, device_name

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def start():
    """start.py as a module."""
    spec = importlib.util.spec_from_file_location("start", ROOT / "start.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_is_flushed_is_open_for_writing(tmp_path, monkeypatch):
    """Windows refuses to flush a file that may only be read."""
    fcntl, flushed = pytest.importorskip("fcntl"), []
    monkeypatch.setattr(os, "fsync", lambda handle: flushed.append(fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE))
    files.write(tmp_path / "a", b"content")
    assert flushed == [os.O_RDWR] and (tmp_path / "a").read_bytes() == b"content"


def test_a_file_that_is_being_read_is_replaced_a_moment_later(tmp_path, monkeypatch):
    """Windows refuses to replace a file that another program has open: a panel that reads a history while it is written."""
    tries, inner = [], os.replace

    def replace(old, new):
        tries.append(new)
        if len(tries) < 3:
            raise PermissionError(13, "The process cannot access the file because it is being used by another process")
        inner(old, new)

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(files.time, "sleep", lambda seconds: None)
    files.write(tmp_path / "a", b"content")
    assert len(tries) == 3 and (tmp_path / "a").read_bytes() == b"content"
    monkeypatch.setattr(os, "replace", lambda old, new: (_ for _ in ()).throw(PermissionError(13, "Access is denied")))
    with pytest.raises(OSError, match="could not be written"):
        files.write(tmp_path / "a", b"other")
    assert (tmp_path / "a").read_bytes() == b"content" and [p.name for p in tmp_path.iterdir()] == ["a"]


def test_an_apple_gpu_is_asked_for_by_name_and_its_records_say_unproven(monkeypatch):
    monkeypatch.setenv("SDKIT_DEVICE", "mps")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ValueError, match="a Mac with Apple silicon, and there is none here"):
        default_device()
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert default_device().type == "mps"
    monkeypatch.setenv("SDKIT_PRECISION", "auto")
    assert device_name(torch.device("mps")) == "Apple GPU, unproven"
    monkeypatch.delenv("SDKIT_DEVICE")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert default_device().type == "cpu", "it is never taken by itself"
    check = doctor.CHECKS["GPU"]()
    assert check.ok == "ok" and "not used" in check.found and "SDKIT_DEVICE=mps" in check.mend and "unproven" in check.mend


@pytest.mark.parametrize(
    ("machine", "release", "words"),
    [
        ("x86_64", "15.1", "not built for Intel Macs since 2.2.2"),
        ("x86_64", "10.16", "install the one for arm64"),
        ("arm64", "13.6.1", "PyTorch 2.13 needs macOS 14, this is 13.6.1"),
        ("arm64", "14.0", ""),
        ("arm64", "26.1", ""),
        ("arm64", "10.16", ""),  # what an old Python takes every newer macOS for
        ("arm64", "", ""),
    ],
)
def test_a_mac_without_a_torch_is_told_before_anything_is_installed(start, machine, release, words, monkeypatch, capsys):
    if not words:
        return start.check_mac("darwin", machine, release)
    with pytest.raises(start.Problem, match=words):
        start.check_mac("darwin", machine, release)
    monkeypatch.setattr(start, "check_mac", lambda inner=start.check_mac: inner("darwin", machine, release))
    monkeypatch.setattr(start, "set_up", lambda *_: pytest.fail("nothing may be installed"))
    assert start.main(["lab"]) == 1 and words in capsys.readouterr().err


def test_other_systems_are_not_asked_for_a_macos(start):
    start.check_mac("linux", "x86_64", "")
    start.check_mac("win32", "AMD64", "")


@pytest.mark.parametrize(
    ("machine", "release", "ok"), [("x86_64", "14.2", "fail"), ("arm64", "13.1", "warn"), ("arm64", "15.0", "ok")]
)
def test_the_doctor_knows_macs(monkeypatch, machine, release, ok):
    monkeypatch.setattr(doctor.sys, "platform", "darwin")
    monkeypatch.setattr(doctor.platform, "machine", lambda: machine)
    monkeypatch.setattr(doctor.platform, "mac_ver", lambda: (release, ("", "", ""), machine))
    check = doctor.CHECKS["Python"]()
    assert check.ok == ok and bool(check.mend) == (ok != "ok")


def test_the_doctor_and_start_know_the_same_macos(start):
    assert (doctor.MACOS,) == start.MACOS


# a room without network


def test_packages_come_from_a_wheelhouse_where_one_is_named(start, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(start, "install", lambda command, root: asked.append([str(part) for part in command]))
    monkeypatch.setattr(start, "make_venv", lambda venv: None)
    monkeypatch.setattr(start.subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=0, stdout="", stderr=""))
    for name in ("requirements.txt", "pyproject.toml"):
        (tmp_path / name).write_text("one")
    (tmp_path / "wheels").mkdir()
    monkeypatch.setenv("SDKIT_WHEELS", str(tmp_path / "wheels"))
    with pytest.raises(start.Problem, match="holds no wheel"):
        start.set_up(tmp_path)
    (tmp_path / "wheels" / "a-1-py3-none-any.whl").touch()
    start.set_up(tmp_path)
    assert len(asked) == 2 and all("--no-index" in command and str(tmp_path / "wheels") in command for command in asked)


def test_a_wheelhouse_of_another_system_is_named(start, tmp_path):
    import sys

    with pytest.raises(start.Problem, match="a wheelhouse is for one system and one Python"):
        start.install([sys.executable, "-c", "raise SystemExit(1)", "--no-index"], tmp_path)


def test_the_wheelhouse_takes_every_pin_and_says_how_to_use_it(start, tmp_path, monkeypatch, capsys):
    def pip(command, root):
        asked.append([str(part) for part in command])
        (tmp_path / "here").mkdir()
        (tmp_path / "here" / "a-1-py3-none-any.whl").write_bytes(b"0" * 2_000_000)

    asked = []
    monkeypatch.setattr(start, "install", pip)
    assert start.wheelhouse(Path("PYTHON"), [str(tmp_path / "here"), "--progress-bar", "off"]) == 0
    assert (
        asked[0][1:4] == ["-m", "pip", "wheel"]
        and str(ROOT / "requirements.txt") in asked[0]
        and asked[0][-2:] == ["--progress-bar", "off"]
    )
    assert (
        "1 wheels, 2 MB" in (out := capsys.readouterr().out) and f"SDKIT_WHEELS={tmp_path / 'here'} python3 start.py lab" in out
    )
