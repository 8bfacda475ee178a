"""A JupyterLab of its own: its settings are in a temporary folder, and it asks no other machine for anything."""

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import nbformat

import steelyard

SOURCES = str(Path(steelyard.__file__).parents[1])
SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True},
    "@jupyterlab/apputils-extension:themes": {"theme": "JupyterLab Light"},
}
STARTS = 60
"""Seconds in which a server must answer."""


@contextmanager
def jupyterlab(folder):
    """Yield the address of a server whose notebooks are in a folder."""
    home = folder / "home"
    for name, settings in SETTINGS.items():
        extension, _, plugin = name.partition(":")
        path = home / "settings" / extension / f"{plugin}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(settings))
    env = {**os.environ, "PYTHONPATH": SOURCES, "HOME": str(home), "JUPYTERLAB_SETTINGS_DIR": str(home / "settings")}
    env |= {f"JUPYTER_{word}_DIR": str(home / word.lower()) for word in ("CONFIG", "DATA", "RUNTIME")}
    options = {"IdentityProvider.token": "", "ServerApp.port": 0, "ServerApp.open_browser": False, "ServerApp.root_dir": folder}
    options |= {"LabApp.extension_manager": "readonly", "ServerApp.allow_root": True, "LabApp.expose_app_in_browser": True}
    command = [sys.executable, "-m", "jupyterlab", *(f"--{word}={value}" for word, value in options.items())]
    with (folder / "log").open("w") as log, subprocess.Popen(command, env=env, cwd=folder, stdout=log, stderr=log) as server:
        try:
            yield _address(home / "runtime", server, folder / "log")
        finally:
            server.terminate()


def _address(runtime, server, log):
    end = time.monotonic() + STARTS
    while time.monotonic() < end and server.poll() is None:
        for path in runtime.glob("jpserver-*.json"):
            try:
                address = json.loads(path.read_text())["url"]
                with urlopen(f"{address}api/status"):
                    return address
            except (ValueError, URLError):
                pass
        time.sleep(0.1)
    raise AssertionError(log.read_text())


def write(path, *cells):
    """Write a notebook that was not run."""
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in cells])
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(made, path)


def run_all(page):
    """Run all cells of the open notebook, and wait until the last one has run."""
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    page.wait_for_function("window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'")
    page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
