"""The chapters as a reader meets them: opened in a real JupyterLab in a real browser, run, and a slider moved by keyboard.

Needs Chromium (or Chrome) and playwright; without them these tests are skipped, and say so. Screenshots go to runs/browser.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted(path.name for path in ROOT.glob("notebooks/[0-9]*.ipynb"))
SCREENSHOTS = ROOT / "runs" / "browser"  # ignored by git
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"))), None)
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
# Whatever a page asks of another machine fails at once, and is reported: the course must not need the network.
FLAGS += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
MINUTES = 4 * 60 * 1000.0  # of patience, in milliseconds: a chapter takes up to 90 s, on a machine that does other things too

if BROWSER is None:
    pytest.skip("no browser here: install Chromium (apt-get install chromium) to run these tests", allow_module_level=True)
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is missing: make setup installs it")

# What the page is asked: did any cell fail? and, of the first panel's picture, its bytes (a blob that each redraw replaces)
FAILED = """() => [...window.jupyterapp.shell.currentWidget.content.model.cells]
  .flatMap(cell => cell.type === 'code' ? cell.outputs.toJSON() : [])
  .filter(output => output.output_type === 'error').map(output => output.ename + ': ' + output.evalue)"""
PICTURE = """async () => { const img = document.querySelector('img.colorlab-picture');
  return Array.from(new Uint8Array(await (await fetch(img.src)).arrayBuffer())) }"""
# The address of the picture of the panel to which the element with the focus belongs; a redraw makes a new one
BESIDE = "() => document.activeElement.closest('.widget-vbox').querySelector('img.colorlab-picture').src"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab on this machine, over a copy of the notebooks without their outputs; its address and token."""
    folder = tmp_path_factory.mktemp("lab")
    for name in NOTEBOOKS:
        notebook = nbformat.read(ROOT / "notebooks" / name, as_version=4)
        for cell in notebook.cells:
            cell.update({"outputs": [], "execution_count": None} if cell.cell_type == "code" else {})
        nbformat.write(notebook, folder / name)
    options = ["--no-browser", "--ip=127.0.0.1", "--port=0", "--IdentityProvider.token=sesame", f"--ServerApp.root_dir={folder}"]
    options += ["--LabApp.expose_app_in_browser=True", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    options += ["--LabApp.news_url=None"] + (["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else [])
    own = {name: str(tmp_path_factory.mktemp(name)) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")}
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", *options], stderr=subprocess.PIPE, text=True, env=os.environ | own
    )
    with server:
        try:
            said = []
            for line in server.stderr:
                said.append(line)
                if found := re.search(r"http://127\.0\.0\.1:\d+/", line):
                    break
            else:
                pytest.fail(f"JupyterLab did not start: {''.join(said)}")
            drain = subprocess.Popen(["cat"], stdin=server.stderr, stdout=subprocess.DEVNULL)  # a full pipe would stop it
            with drain:
                try:
                    yield found.group()
                finally:
                    drain.kill()
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield opened
        opened.close()


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of sockets that playwright leaves to the interpreter
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_chapter_runs_in_jupyterlab_and_its_main_slider_moves(lab, browser, name):
    page = browser.new_page(viewport={"width": 1200, "height": 1000})
    page.set_default_timeout(MINUTES)
    errors, strangers = [], []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: strangers.append(request.url) if is_elsewhere(request.url, lab) else None)
    # A workspace of its own: JupyterLab would open the last chapter's tab again beside this one's.
    page.goto(f"{lab}lab/workspaces/{Path(name).stem}/tree/{name}?token=sesame")
    page.get_by_text("| Idle").wait_for()
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
    page.locator("img.colorlab-picture").first.wait_for(state="attached")
    page.get_by_text("| Idle").wait_for()
    assert page.evaluate(FAILED) == []

    before = page.evaluate(PICTURE)
    handle = page.locator(".noUi-handle").first
    handle.scroll_into_view_if_needed()
    handle.focus()
    page.keyboard.press("End" if handle.get_attribute("aria-valuenow") == handle.get_attribute("aria-valuemin") else "Home")
    page.wait_for_function(f"async before => String(await ({PICTURE})()) !== before", arg=",".join(map(str, before)))
    for button in page.locator("button.jupyter-button").all():  # of panels that have buttons: the space bar presses them
        button.scroll_into_view_if_needed()
        button.focus()
        shown = page.evaluate(BESIDE)
        page.keyboard.press("Space")
        page.wait_for_function(f"shown => ({BESIDE})() !== shown", arg=shown)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{Path(name).stem}.png")
    page.evaluate("() => window.jupyterapp.serviceManager.sessions.shutdownAll()")  # a kernel holds up to 1 GB
    page.close()
    assert errors == []
    assert strangers == []


def is_elsewhere(url: str, lab: str) -> bool:
    """Whether a page asked another machine: not JupyterLab's address, nor data that the page holds itself."""
    here = (lab, lab.replace("http:", "ws:"), "data:", "blob:", "about:")
    return not url.startswith(here)


def test_requests_that_leave_the_machine_are_told_apart():
    lab = "http://127.0.0.1:8888/"
    assert not is_elsewhere("ws://127.0.0.1:8888/api/kernels", lab)
    assert not is_elsewhere("data:image/png;base64,", lab)
    assert is_elsewhere("https://cdn.example.org/require.js", lab)
    assert is_elsewhere("http://127.0.0.1:9/x", lab)
