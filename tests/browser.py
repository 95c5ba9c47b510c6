"""A real JupyterLab in a real Chromium, for the tests of the live panels.

Playwright drives the browser that the system has and downloads none.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sdkit.doctor import find_browser

if TYPE_CHECKING:
    from playwright.sync_api import Page
else:
    Page = object

ROOT = Path(__file__).resolve().parents[1]
_LOCAL = ("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:")
_CHROMIUM = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

# "run all cells" is started and not awaited: the promise of a long notebook may never settle
RUN_ALL_CELLS = """async () => {
  const notebook = window.jupyterapp.shell.currentWidget;
  await notebook.context.ready;
  await notebook.sessionContext.ready;
  await notebook.sessionContext.session.kernel.info;
  window.jupyterapp.commands.execute('notebook:run-all-cells');
}"""

_STATE = """() => {
  const cells = window.jupyterapp.shell.currentWidget.content.widgets
    .map(cell => cell.model).filter(cell => cell.type === 'code' && cell.sharedModel.source.trim());
  const outputs = cells.flatMap(cell => cell.sharedModel.toJSON().outputs);
  const error = outputs.find(output => output.output_type === 'error');
  if (error) return error.ename + ': ' + error.evalue;
  return cells.every(cell => cell.executionCount) ? 'done' : '';
}"""


class Lab(NamedTuple):
    """A running server."""

    url: str
    folder: Path  # its notebooks; a test may write its own there

    def end_kernels(self) -> None:
        """A kernel outlives its page, and the next test would find it as it was left."""
        for session in json.loads(self._ask("GET", "/api/sessions")):
            self._ask("DELETE", f"/api/sessions/{session['id']}")

    def kernels(self) -> int:
        """How many are alive."""
        return len(json.loads(self._ask("GET", "/api/kernels")))

    def _ask(self, verb: str, path: str) -> bytes:
        with urllib.request.urlopen(urllib.request.Request(self.url + path, method=verb), timeout=20) as answer:
            return answer.read()


def what_is_missing() -> str | None:
    """Why a browser test cannot run here, None if it can."""
    if find_browser() is None:
        return "no Chromium or Chrome here: `apt install chromium`, or set CHROMIUM to a browser's path"
    for module in ("playwright", "jupyterlab"):
        if importlib.util.find_spec(module) is None:
            return f"{module} is not installed: `python3 start.py setup`"
    return None


@contextmanager
def serve(root: Path) -> Iterator[Lab]:
    """Serves copies of the notebooks until the end, with settings and kernels of its own."""
    folder, settings, labconfig = root / "notebooks", root / "settings", root / "config" / "labconfig"
    shutil.copytree(ROOT / "notebooks", folder) if (ROOT / "notebooks").is_dir() else folder.mkdir()
    labconfig.mkdir(parents=True)
    news = "@jupyterlab/apputils-extension:announcements"  # a pop-up in the way of the tests
    (labconfig / "page_config.json").write_text(json.dumps({"disabledExtensions": {news: True}}))
    tracker = settings / "@jupyterlab" / "notebook-extension" / "tracker.jupyterlab-settings"
    tracker.parent.mkdir(parents=True)
    tracker.write_text('{"windowingMode": "none"}')  # cells out of view are in the page, too

    environment = dict(
        os.environ,
        JUPYTER_CONFIG_DIR=str(root / "config"),
        JUPYTER_DATA_DIR=str(root / "data"),
        JUPYTER_RUNTIME_DIR=str(root / "runtime"),
        JUPYTERLAB_SETTINGS_DIR=str(settings),
        JUPYTERLAB_WORKSPACES_DIR=str(root / "workspaces"),
        JUPYTER_PREFER_ENV_PATH="1",
        IPYTHONDIR=str(root / "ipython"),
        PYTHONPATH=os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
    )
    port = _free_port()
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"),
        "--ServerApp.port_retries=0",
        "--IdentityProvider.token=",  # only this machine can reach it
        "--ServerApp.disable_check_xsrf=True",
        "--LabApp.expose_app_in_browser=True",  # window.jupyterapp
        f"--ServerApp.root_dir={folder}",
    ]
    lab = Lab(f"http://127.0.0.1:{port}", folder)
    with open(root / "log.txt", "w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        _wait_for(lab, server, root / "log.txt")
        yield lab
        lab.end_kernels()
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@contextmanager
def chromium(profile: Path) -> Iterator[str]:
    """One browser for the whole session, without a page -> where it is spoken to. A page is a profile of its own in it."""
    command = [find_browser(), *_CHROMIUM, "--headless", "--remote-debugging-port=0", f"--user-data-dir={profile}"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started, said = subprocess.Popen(command, start_new_session=True, **quiet), profile / "DevToolsActivePort"
    try:
        for _ in range(600):
            if said.exists() and said.read_text().strip():
                break
            assert started.poll() is None, "the browser did not start"
            time.sleep(0.1)
        yield f"http://127.0.0.1:{said.read_text().split()[0]}"
    finally:
        started.terminate()
        started.wait(20)


_DRIVERS: list = []


@contextmanager
def _driver(address: str) -> Iterator:
    """The browser through Playwright, which a process has once at a time, however many pages are open."""
    from playwright.sync_api import sync_playwright

    if _DRIVERS:
        yield _DRIVERS[0]
        return
    with sync_playwright() as playwright:
        _DRIVERS.append(playwright.chromium.connect_over_cdp(address))
        try:
            yield _DRIVERS[0]
        finally:
            _DRIVERS.clear()


@contextmanager
def open_page(address: str, **options) -> Iterator[Page]:
    """A page that collects its script errors in `page.errors` and every request that leaves this machine in `page.outside`.

    address: of the browser. options: of its context, such as `viewport` or `color_scheme`.
    """
    with _driver(address) as shared:
        context = shared.new_context(**{"viewport": {"width": 1280, "height": 1400}} | options)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.errors, page.outside = [], []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on("request", lambda request: None if request.url.startswith(_LOCAL) else page.outside.append(request.url))
        try:
            yield page
        finally:
            context.close()


def write_notebook(lab: Lab, name: str, *cells: str) -> None:
    """A notebook of code cells among those that are served."""
    import nbformat

    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell.strip()) for cell in cells])
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(made, lab.folder / name)


def start_cells(lab: Lab, page: Page, name: str) -> Page:
    """Opens a notebook and starts all its cells; `wait_until_done` waits for them."""
    page.goto(f"{lab.url}/lab/tree/{name}?reset")
    page.locator(".jp-Notebook").wait_for()
    page.evaluate(RUN_ALL_CELLS)
    return page


@contextmanager
def shared_page(lab: Lab, address: str, name: str, *cells: str, **options) -> Iterator[Page]:
    """A page with a notebook of its own whose cells have been started, for several tests one after another."""
    write_notebook(lab, name, *cells)
    with open_page(address, **options) as page:
        yield start_cells(lab, page, name)
    lab.end_kernels()


def wait_until_done(page: Page, seconds: float = 120) -> None:
    """Waits until every cell has run. AssertionError with the first error that a cell shows."""
    state = page.wait_for_function(_STATE, timeout=1000 * seconds, polling=200).json_value()
    assert state == "done", state


def wait_for_new_image(page: Page, css: str, old: str) -> str:
    """Waits until the image at a CSS selector is another than `old`, its former `src`; returns the new `src`."""
    other = "([css, old]) => { const i = document.querySelector(css); return i && i.complete && i.src !== old && i.src }"
    return page.wait_for_function(other, arg=[css, old]).json_value()


def _wait_for(lab: Lab, server: subprocess.Popen, log: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(f"{lab.url}/api", timeout=1).close()
            return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start in {seconds:.0f} s; it said: {log.read_text()[-2000:]}")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
