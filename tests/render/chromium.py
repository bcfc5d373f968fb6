"""Headless Chromium over its DevTools protocol: opens a page, runs scripts, tells what it logged and asked for."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND", "--remote-debugging-port=0",
)  # fmt: skip


@dataclass
class Page:
    """An open page.

    Attributes:
        logged: console messages, warnings of the browser, uncaught exceptions.
        requested: addresses asked for, the page's own first.
    """

    browser: "Browser"
    session: str
    logged: list[str] = field(default_factory=list)
    requested: list[str] = field(default_factory=list)

    def run(self, script: str) -> Any:
        """The value of an expression in the page, promises awaited."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def press(self, key: str, code: int) -> None:
        """A key goes down and up."""
        text = "\r" if key == "Enter" else ""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, text=text)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A DevTools command of this page."""
        return self.browser.call(method, self, **parameters)


@dataclass
class Browser:
    """A running browser; pages are opened one after the other."""

    socket: ClientConnection
    calls: int = 0

    @contextmanager
    def page(self, path: Path, *, width: int = 1200, height: int = 900, scheme: str = "light") -> Iterator[Page]:
        """The page after its scripts ran."""
        target = self.call("Target.createTarget", None, url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", None, targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        for domain in ("Runtime", "Log", "Network", "Page"):
            page.call(f"{domain}.enable")
        page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        page.call("Emulation.setDeviceMetricsOverride", **size)
        page.call("Page.navigate", url=path.as_uri())
        page.run("new Promise(done => document.readyState === 'complete' ? done() : addEventListener('load', done))")
        yield page
        self.call("Target.closeTarget", None, targetId=target)

    def call(self, method: str, page: Page | None, **parameters: Any) -> dict[str, Any]:
        """A DevTools command; events that come in between go to the page."""
        self.calls += 1
        number = self.calls
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if page is not None:
            message["sessionId"] = page.session
        self.socket.send(json.dumps(message))
        while True:
            answer = json.loads(self.socket.recv(timeout=60))
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return dict(answer["result"])
            if page is not None and "method" in answer:
                _note(page, answer["method"], answer["params"])


def _note(page: Page, event: str, found: dict[str, Any]) -> None:
    if event == "Network.requestWillBeSent":
        page.requested.append(found["request"]["url"])
    elif event in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
        page.logged.append(json.dumps(found)[:500])


@contextmanager
def chromium(scratch: Path) -> Iterator[Browser]:
    """A browser with a profile of its own; the test is skipped where none is installed."""
    program = next((path for name in NAMES if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip("no chromium on this machine; `apt-get install chromium` runs this test")
    process = subprocess.Popen(
        [program, *FLAGS, f"--user-data-dir={scratch}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        port, place = _address(scratch / "DevToolsActivePort", process)
        with connect(f"ws://127.0.0.1:{port}{place}", max_size=None) as socket:
            yield Browser(socket)
    finally:
        process.terminate()
        process.wait(timeout=30)


def _address(file: Path, process: "subprocess.Popen[bytes]") -> tuple[str, str]:
    for _ in range(600):
        if file.exists() and len(lines := file.read_text().split()) == 2:
            return lines[0], lines[1]
        assert process.poll() is None, "chromium ended at its start"
        time.sleep(0.05)
    raise AssertionError("chromium did not tell its port within 30 s")
