"""Firefox without a window, driven by its own protocol, Marionette: messages are a length, a colon, and JSON."""

import base64
import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

PATIENCE = 60
"""Seconds until it must have started, or answered."""
QUIET = {
    "marionette.port": 0,
    "app.normandy.enabled": False,
    "app.update.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "toolkit.telemetry.enabled": False,
}


def program():
    """Return the path of Firefox, None if there is none."""
    named = os.environ.get("FIREFOX")
    return shutil.which(named) if named else shutil.which("firefox-esr") or shutil.which("firefox")


def has_only_a_snap():
    """Whether this is Ubuntu, whose package of Firefox installs a snap, which cannot read the folders of tests."""
    release = Path("/etc/os-release")
    return release.exists() and "\nID=ubuntu" in f"\n{release.read_text()}"


class Firefox:
    """A window of Firefox."""

    __slots__ = ("count", "reader", "socket")

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.reader = self.socket.makefile("rb")
        self.count = 0
        self._received()
        self._ask("WebDriver:NewSession", capabilities={})

    def _received(self):
        length = b""
        while (letter := self.reader.read(1)) != b":":
            length += letter
        return json.loads(self.reader.read(int(length)))

    def _ask(self, command, **parameters):
        self.count += 1
        text = json.dumps([0, self.count, command, parameters]).encode()
        self.socket.sendall(b"%d:%s" % (len(text), text))
        _, _, error, answer = self._received()
        assert error is None, error
        return answer

    def close(self):
        self._ask("Marionette:Quit", flags=["eForceQuit"])
        self.reader.close()
        self.socket.close()

    def resize(self, width, height):
        """Give the page inside of the window this size."""
        for _ in range(2):
            edge = self.run("return [window.outerWidth - window.innerWidth, window.outerHeight - window.innerHeight]")
            self._ask("WebDriver:SetWindowRect", width=width + edge[0], height=height + edge[1])

    def open(self, address):
        """Open an address, and wait until its page can be used."""
        self._ask("WebDriver:Navigate", url=address)
        self.wait("return Boolean(document.querySelector('main[data-ready]'))")

    def run(self, script, *arguments):
        """Return what the body of a function in JavaScript returns."""
        return self._ask("WebDriver:ExecuteScript", script=script, args=arguments)["value"]

    def wait(self, script, *arguments):
        """Wait until the body of a function returns what counts as true, and return it."""
        end = time.monotonic() + PATIENCE
        while not (found := self.run(script, *arguments)):
            assert time.monotonic() < end, f"it does not come to hold: {script}"
            time.sleep(0.05)
        return found

    def press(self, *keys):
        """Press keys one after another."""
        moves = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._ask("WebDriver:PerformActions", actions=[{"type": "key", "id": "keyboard", "actions": moves}])

    def screenshot(self):
        """Return what the window shows as PNG."""
        return base64.b64decode(self._ask("WebDriver:TakeScreenshot", full=False)["value"])


@contextlib.contextmanager
def started(folder):
    """Start Firefox with a new profile in a folder, and give its window."""
    profile = folder / "profile"
    profile.mkdir()
    (profile / "user.js").write_text(
        "".join(f"user_pref({json.dumps(key)}, {json.dumps(is_on)});\n" for key, is_on in QUIET.items())
    )
    command = [program(), "--headless", "--marionette", "--no-remote", "--profile", str(profile)]
    env = {**os.environ, "HOME": str(folder), "MOZ_CRASHREPORTER_DISABLE": "1"}
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        window = Firefox(_port(profile / "MarionetteActivePort", process))
        yield window
        window.close()
        process.wait(PATIENCE)
    finally:
        process.kill()
        process.wait()


def _port(file, process):
    """Wait for the file in which Firefox writes its port."""
    end = time.monotonic() + PATIENCE
    while not (file.exists() and file.read_text().strip()):
        assert process.poll() is None, f"Firefox ended with {process.returncode}"
        assert time.monotonic() < end, "Firefox does not start"
        time.sleep(0.05)
    return int(file.read_text())
