"""What of an installation is right, and the mend for what is not.

Nothing but the standard library is imported at the top, and every check answers for its own failures: a doctor must be able to
speak where torch cannot be imported.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Literal, NamedTuple

DISTRIBUTION = "sdkit-workbook"  # as pip calls us; what pip calls sdkit is Stable Diffusion Kit, and imports as sdkit, too
DATA_FOLDERS = {"CIFAR-10": "cifar-10-batches-py", "CIFAR-100": "cifar-100-python"}
MACOS = 14  # for which torch 2.13 is built
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
_APPLICATIONS = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
)


class Check(NamedTuple):
    """One thing that was looked at."""

    name: str
    ok: Literal["ok", "warn", "fail"]  # fail: sdkit cannot work; warn: it can, with less
    found: str
    mend: str = ""  # what to do about it; empty where all is well


def diagnose() -> list[Check]:
    """Every check, in the order in which to mend. Never raises."""
    return [_guarded(name, check) for name, check in CHECKS.items()]


def report(checks: list[Check]) -> str:
    """The checks as text, one line each, the mend below what needs one."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{check.ok:<4}  {check.name:<{width}}  {check.found}")
        if check.mend:
            lines.append(f"{'':<{width + 6}}  -> {check.mend}")
    failed, warned = (sum(check.ok == level for check in checks) for level in ("fail", "warn"))
    if failed:
        lines.append(f"\n{failed} to mend before sdkit can work" + (f", {warned} to know about" if warned else ""))
    else:
        lines.append("\nsdkit can work" + (f", {warned} to know about" if warned else ""))
    return "\n".join(lines)


def find_browser() -> str | None:
    """The path of a Chromium-like browser: $CHROMIUM where that is set, else what is installed. None: there is none."""
    if os.environ.get("CHROMIUM"):
        return shutil.which(os.environ["CHROMIUM"])
    on_path = (shutil.which(name) for name in _BROWSERS)
    return next((path for path in on_path if path), None) or next((path for path in _APPLICATIONS if Path(path).exists()), None)


def main() -> int:
    """Prints the report; 1 if something fails."""
    checks = diagnose()
    print(report(checks))
    return int(any(check.ok == "fail" for check in checks))


# ---------------------------------------------------------------------------------------------------------------- the checks


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except Exception as error:
        said = str(error).splitlines() or [""]
        return Check(name, "fail", f"{type(error).__name__}: {said[0]}", MENDS.get(name, "python3 start.py setup"))


def _python() -> Check:
    found = f"{platform.python_version()} at {sys.executable}"  # start.py refuses one that is too old
    if sys.platform == "darwin" and platform.machine() == "x86_64":
        mend = "on Apple silicon install Python for arm64; an Intel Mac cannot: PyTorch stopped at 2.2.2 there, 2.11 is needed"
        return Check("Python", "fail", f"{found}, built for Intel Macs", mend)
    release = platform.mac_ver()[0]
    if sys.platform == "darwin" and release and 11 <= int(release.partition(".")[0]) < MACOS:
        return Check("Python", "warn", f"{found}, on macOS {release}", f"PyTorch 2.13 needs macOS {MACOS}")
    return Check("Python", "ok", found)


def _sdkit() -> Check:
    here = Path(__file__).resolve().parent
    for other in metadata.distributions(name="sdkit"):
        about = other.metadata["Summary"] or ""
        if "self-distillation" in about:  # our own name before 0.2.0
            continue
        found = f"sdkit {other.version} is installed, another project of the same import name ({about[:40].strip()} ...)"
        if Path(str(other.locate_file("sdkit"))).resolve() == here:  # either wrote over the other's files
            mend = f"pip uninstall sdkit, then pip install --force-reinstall --no-deps {DISTRIBUTION}"
            return Check("sdkit", "fail", found, mend)
        return Check("sdkit", "warn", found, "pip uninstall sdkit: where it comes first, `import sdkit` is not this one")
    try:
        return Check("sdkit", "ok", f"{metadata.version(DISTRIBUTION)} at {here}")
    except metadata.PackageNotFoundError:
        return Check("sdkit", "ok", f"at {here}, not installed")


def _torch() -> Check:
    import torch

    return Check("torch", "ok", f"{torch.__version__}, {torch.get_num_threads()} threads")


def _torchvision() -> Check:
    from . import vision

    vision.ensure()
    import torch
    import torchvision

    if vision.mismatched():
        found = f"{torchvision.__version__} was built for another torch than {torch.__version__}; sdkit works around it"
        mend = "nothing needs doing; to have its compiled operators, install torch and torchvision together from one index"
        return Check("torchvision", "warn", found, mend)
    return Check("torchvision", "ok", torchvision.__version__)


def _gpu() -> Check:
    import torch

    if torch.cuda.is_available():
        name, memory = torch.cuda.get_device_name(0), torch.cuda.get_device_properties(0).total_memory
        return Check("GPU", "ok", f"{name}, {memory / 1e9:.0f} GB")
    if torch.backends.mps.is_available():
        mend = "SDKIT_DEVICE=mps tries it; a record then says `unproven`, for nobody has checked sdkit there"
        return Check("GPU", "ok", "an Apple GPU (mps), which is not used: the CPU is", mend)
    if shutil.which("nvidia-smi"):
        built = torch.version.cuda or "the CPU"
        mend = "update the NVIDIA driver, or install a torch built for this driver's CUDA"
        return Check("GPU", "warn", f"an NVIDIA driver is there, but torch (built for {built}) sees no GPU", mend)
    return Check("GPU", "ok", "none: the CPU is used, which the quick recipe is made for")


def _precision() -> Check:
    import torch

    from .train import device

    on = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    can, kind = device.has_bfloat16(on), "bfloat16, losses in float32" if device.half(on) else "float32"
    if device.half(on) and not can:
        mend = "leave SDKIT_PRECISION out: float32 is faster here"
        return Check("precision", "warn", f"{kind}, which this {on.type.upper()} emulates", mend)
    more = "; it multiplies bfloat16, too: without SDKIT_PRECISION it trains faster" if can and not device.half(on) else ""
    return Check("precision", "ok", kind + more)


def _threads() -> Check:
    from .train import device

    if said := device.threads_said():
        return Check("threads", "ok", f"SDKIT_THREADS says {said}")
    return Check("threads", "ok", f"{device.threads()} for a run that begins now, as many as there are idle cores")


def _memory() -> Check:
    total = _total_memory()
    if total is None:
        return Check("memory", "ok", "unknown on this system")
    found = f"{total / 1e9:.1f} GB"
    if total < 4e9:
        return Check("memory", "warn", found, "close other programs; train one run at a time")
    return Check("memory", "ok", found)


def _total_memory() -> int | None:
    """Bytes of main memory, and of this container where it has less."""
    limit = Path("/sys/fs/cgroup/memory.max")
    with_limit = int(limit.read_text()) if limit.exists() and limit.read_text().strip().isdigit() else None
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return min(total, with_limit) if with_limit else total
    if sys.platform == "win32":

        class Status(ctypes.Structure):  # MEMORYSTATUSEX
            _fields_ = [("length", ctypes.c_ulong), ("load", ctypes.c_ulong), ("numbers", ctypes.c_ulonglong * 7)]

        status = Status(length=ctypes.sizeof(Status))
        if ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
            return status.numbers[0]
    return None


def _disk() -> Check:
    folder = _home()
    free = shutil.disk_usage(folder).free
    found = f"{free / 1e9:.1f} GB free at {folder}"
    if free < 1e9:
        return Check("disk", "fail", found, "make room: runs need megabytes, CIFAR 0.4 GB, the packages 2 GB")
    if free < 5e9:
        return Check("disk", "warn", found, "enough for the built-in data; long runs on larger sets may fill it")
    return Check("disk", "ok", found)


def _data() -> Check:
    folder = Path(os.environ.get("SDKIT_DATA_ROOT") or _home() / "data")
    there = [name for name, inside in DATA_FOLDERS.items() if (folder / inside).is_dir()]
    packed = [path.name for path in sorted(folder.glob("cifar-*.tar.gz"))]
    found = ", ".join(["built in: digits, faces, reid, shapes", *there]) + f" ({folder})"
    if packed and not there:
        mend = f"tar -xzf {folder / packed[0]} -C {folder}"
        return Check("data", "warn", f"{found}; {', '.join(packed)} is not unpacked", mend)
    return Check("data", "ok", found)


def _packages() -> Check:
    wanted = _requirements()
    if wanted is None:
        mend = "`pip check` compares them with sdkit's ranges; a whole checkout, or SDKIT_HOME set to one, has tested versions"
        return Check("packages", "warn", f"no requirements.txt at {_home()} or above: versions not compared", mend)
    missing, other = [], []
    for name, version in wanted.items():
        try:
            found = metadata.version(name).split("+")[0]  # 2.13.0+cpu is 2.13.0
        except metadata.PackageNotFoundError:
            missing.append(name)
            continue
        if found != version:
            other.append(f"{name} {found} (tested: {version})")
    setup = "python3 start.py setup"
    if missing:
        return Check("packages", "fail", f"missing: {_some(missing)}", setup)
    if other:
        mend = f"{setup} installs the tested versions; others within pyproject.toml's ranges should work, too"
        return Check("packages", "warn", f"not as tested: {_some(other)}", mend)
    return Check("packages", "ok", f"all {len(wanted)} of requirements.txt as tested")


def _requirements() -> dict[str, str] | None:
    """Name -> pinned version, from the nearest requirements.txt at or above home(). None: there is none."""
    here = _home().resolve()
    for folder in (here, *here.parents):
        if (folder / "requirements.txt").is_file():
            text = (folder / "requirements.txt").read_text()
            return dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;#]+)", text, flags=re.MULTILINE))
    return None


def _jupyterlab() -> Check:
    versions = {name: metadata.version(name) for name in ("jupyterlab", "ipykernel", "ipywidgets")}
    return Check("JupyterLab", "ok", ", ".join(f"{name} {version}" for name, version in versions.items()))


def _browser() -> Check:
    path = find_browser()
    if path:
        return Check("browser", "ok", path)
    if os.environ.get("CHROMIUM"):
        found = f"CHROMIUM is {os.environ['CHROMIUM']!r}, which is no program"
        return Check("browser", "warn", found, "correct or unset CHROMIUM")
    mend = "only the browser tests need it: `sudo apt install chromium`, or set CHROMIUM to a browser's path"
    return Check("browser", "warn", "no Chromium or Chrome found", mend)


def _home() -> Path:
    """`core.home()`, or as near as one gets where core cannot be imported because torch cannot."""
    try:
        from .core import home

        return home()
    except Exception:
        return Path(os.environ.get("SDKIT_HOME") or Path.cwd())


def _some(names: list[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


CHECKS: dict[str, Callable[[], Check]] = {
    "Python": _python,
    "sdkit": _sdkit,
    "packages": _packages,
    "torch": _torch,
    "torchvision": _torchvision,
    "GPU": _gpu,
    "precision": _precision,
    "threads": _threads,
    "memory": _memory,
    "disk": _disk,
    "data": _data,
    "JupyterLab": _jupyterlab,
    "browser": _browser,
}

MENDS = {
    "torch": "python3 start.py setup; if that does not help, remove .venv (python3 start.py clean) and set up again",
    "torchvision": "python3 start.py setup; torch and torchvision must come as the pair that requirements.txt names",
    "GPU": "the CPU is used meanwhile; mend torch first",
    "threads": "set SDKIT_THREADS to 1 or more, or leave SDKIT_THREADS out",
    "precision": "SDKIT_PRECISION is auto, float32 or bfloat16",
    "disk": "set SDKIT_HOME to a folder that exists",
}

if __name__ == "__main__":
    sys.exit(main())
