"""A monitored browser: console output or a request to another address fails the test that opened the page."""

import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import sync_playwright

import steelyard

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
QUIET = ("no-sandbox", "disable-gpu", "disable-background-networking", "disable-component-update", "disable-sync", "no-first-run")
SOURCES = str(Path(steelyard.__file__).parents[1])


@pytest.fixture(scope="module")
def browser():
    """One browser per module: while it is open, its event loop keeps tests of other modules from starting their own."""
    if not os.access(CHROMIUM, os.X_OK):
        pytest.fail(f"{CHROMIUM} is missing: install chromium, or set CHROMIUM to where it is")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=[f"--{word}" for word in QUIET])
        yield started
        started.close()


@pytest.fixture
def servers():
    """The servers that a test started, which end after its windows are closed."""
    running = []
    yield running
    for process in running:
        process.terminate()
        process.wait(20)
        process.stdout.close()


@pytest.fixture
def visit(browser, servers):
    """Open an address in a window of its own; by the end there must be no console output and no foreign request."""
    opened = []

    def visit(address, width=1280, height=900, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        page = context.new_page()
        page.said, page.asked = [], []
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("request", lambda request: page.asked.append(request.url))
        page.set_default_timeout(20_000)
        opened.append((context, page, address))
        page.goto(address)
        page.wait_for_selector("main[data-ready]")
        return page

    yield visit
    for context, page, address in opened:
        home = urlsplit(address)
        elsewhere = [url[:200] for url in page.asked if urlsplit(url).scheme != "data" and urlsplit(url)[:2] != home[:2]]
        said = page.said
        context.close()
        assert said == []
        assert elsewhere == []


@pytest.fixture
def open_report(visit, tmp_path):
    """Write a report and open it."""

    def open_report(source, before=None, *, size=(1280, 900), spectra="some", **options):
        path = tmp_path / "report.html"
        steelyard.report(source, path, before=before, spectra=spectra)
        return visit(path.as_uri(), *size, **options)

    return open_report


@pytest.fixture
def open_served(visit, servers):
    """Start `steelyard serve` with files, and open its page."""

    def open_served(path, before=None, **options):
        command = [sys.executable, "-m", "steelyard", "serve", str(path), "--port", "0", "--json"]
        command += [] if before is None else ["--before", str(before)]
        env = {**os.environ, "PYTHONPATH": SOURCES, "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
        servers.append(process)
        told = ""
        for line in process.stdout:
            told += line
            if line.startswith("}"):
                break
        return visit(json.loads(told)["url"], **options)

    return open_served
