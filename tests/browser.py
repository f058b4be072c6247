"""A browser without a window, told what to do over its DevTools protocol."""

import asyncio
import base64
import json
import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import tornado.websocket

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
SECONDS = 60  # in which it must answer


def find_browser() -> str:
    """Return a browser's path; skip the test where there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"no browser is installed: {', '.join(NAMES)}")
    return found


class Page:
    """A page in a browser."""

    def __init__(self, socket: tornado.websocket.WebSocketClientConnection) -> None:
        self._socket, self._count = socket, 0

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol; return its result."""
        self._count += 1
        number = self._count
        message = {"id": number, "method": method, "params": parameters}
        await self._socket.write_message(json.dumps(message))
        while True:
            answer = json.loads(await self._socket.read_message() or "{}")
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    async def evaluate(self, script: str) -> Any:
        """Return what JavaScript says, once it has it."""
        found = await self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def wait_for(self, selector: str) -> str:
        """Return the text of an element, once it is there."""
        code = f"document.querySelector({json.dumps(selector)})?.textContent"
        for _ in range(10 * SECONDS):
            if (text := await self.evaluate(code)) is not None:
                return text
            await asyncio.sleep(0.1)
        raise AssertionError(f"no {selector}: {await self.evaluate('document.body.innerText')}")

    async def screenshot(self, path: Path) -> None:
        """Write a PNG of all that the page shows."""
        found = await self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))


def visit(
    address: str, folder: Path, act: Callable[[Page], Coroutine[Any, Any, None]], width: int = 900
) -> None:
    """Open a page and do something there.

    Args:
        address: of the page.
        folder: an empty one for the browser's own files.
        act: what to do.
        width: of the window.
    """
    options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0")
    where = (f"--user-data-dir={folder}", f"--window-size={width},1100", "about:blank")
    command = [find_browser(), *options, *where]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        try:
            asyncio.run(asyncio.wait_for(_visit(address, folder, act), 3 * SECONDS))
        finally:
            process.terminate()


async def _visit(
    address: str, folder: Path, act: Callable[[Page], Coroutine[Any, Any, None]]
) -> None:
    said = folder / "DevToolsActivePort"
    for _ in range(10 * SECONDS):
        if said.exists() and "\n" in said.read_text():
            break
        await asyncio.sleep(0.1)
    port = said.read_text().splitlines()[0]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
        (target,) = [each for each in json.load(answer) if each["type"] == "page"]
    socket = await tornado.websocket.websocket_connect(
        target["webSocketDebuggerUrl"], max_message_size=2**26
    )
    page = Page(socket)
    await page.call("Page.enable")
    await page.call("Page.navigate", url=address)
    await act(page)
    socket.close()
