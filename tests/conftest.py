"""What every test may count on: a home of its own, and, where there is a browser, a JupyterLab to drive with it."""

from __future__ import annotations

import functools
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is first imported: tests have processes beside them
if beside := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 0)):  # tests run side by side: each keeps to its cores
    os.environ["OMP_NUM_THREADS"] = str(max((os.cpu_count() or 1) // beside, 1))
os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count() or 1))  # said, so that no run looks for idle cores
_HOME = Path(tempfile.mkdtemp(prefix="sdkit-tests-"))
os.environ["SDKIT_HOME"] = str(_HOME)  # no test reads or writes the user's runs, in this process or in one that it starts

# What is compiled once is read by the other worker, by the next `start.py test`, and by every process that a test starts.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# jsonschema asks for it beside nbformat: five seconds of grammars for addresses that no notebook holds. It does without.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

import browser  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

if not torch.cuda.is_available():  # so that tests say the same of every CPU; those of bfloat16 ask for it
    os.environ.setdefault("SDKIT_PRECISION", "float32")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Side by side, tests that share something costly stay together: one JupyterLab, a module's fixture."""
    for item in items:
        shared = getattr(item, "_fixtureinfo", None)
        known = shared.name2fixturedefs if shared else {}
        if "chromium" in known:
            item.add_marker(pytest.mark.xdist_group("browser"))
        elif any(d.scope == "module" for defs in known.values() for d in defs):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))


def pytest_runtest_setup() -> None:
    """scikit-learn parses its digits whenever they are asked for, which is more than a thousand times: once will do."""
    published = sys.modules.get("sklearn.datasets")
    if published and not hasattr(published.load_digits, "cache_info"):
        published.load_digits = functools.cache(published.load_digits)


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Lab]:
    """A JupyterLab on copies of the notebooks, one for the whole session. Skips where it or a browser is missing."""
    reason = browser.what_is_missing()
    if reason:
        pytest.skip(reason)
    with browser.serve(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a browser, one for the whole session. Skips where there is none."""
    reason = browser.what_is_missing()
    if reason:
        pytest.skip(reason)
    with browser.chromium(tmp_path_factory.mktemp("profile")) as address:
        yield address


@pytest.fixture
def page(lab: browser.Lab, chromium: str) -> Iterator[browser.Page]:
    """An empty page with a profile of its own. Its kernels are ended with it."""
    with browser.open_page(chromium) as page:
        yield page
    lab.end_kernels()


@pytest.fixture
def open_and_run(lab: browser.Lab, page: browser.Page) -> Callable[[str], browser.Page]:
    """open_and_run("04_drg_dsr.ipynb") starts all its cells and returns the page; `browser.wait_until_done(page)` waits."""

    def go(name: str) -> browser.Page:
        return browser.start_cells(lab, page, name)

    return go
