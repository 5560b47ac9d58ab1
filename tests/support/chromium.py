"""Debian's headless Chromium, driven through the pipe of its debugging protocol."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

CHROMIUM = shutil.which("chromium")
WAIT_SECONDS = 60


class Navigated(Exception):
    """The page that was asked is no longer there."""


class Tab:
    """One tab. ``complaints`` are what its console said."""

    def __init__(self, reader: asyncio.StreamReader, commands: int) -> None:
        self.complaints: list[str] = []
        self._reader = reader
        self._commands = commands
        self._session: str | None = None
        self._last = 0

    async def open(self) -> None:
        target = await self._call("Target.createTarget", url="about:blank")
        attached = await self._call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            await self._call(f"{domain}.enable")

    async def go(self, url: str, scheme: str = "light", width: int = 1360) -> None:
        await self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await self._call("Emulation.setEmulatedMedia", features=features)
        await self._call("Page.navigate", url=url)
        await self._whole()

    async def follow(self, selector: str) -> None:
        """Clicks on what leads to another page, and waits until that one is there, to its end."""
        await self.evaluate(f"window.isThePageBefore = true; document.querySelector({json.dumps(selector)}).click()")
        await self.until(lambda: self.evaluate("!window.isThePageBefore"))
        await self._whole()

    async def evaluate(self, expression: str) -> Any:
        """Returns the expression's value; None where the page went elsewhere meanwhile, as it may at a click."""
        try:
            answer = await self._call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        except Navigated:
            return None
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def without_scripts(self) -> None:
        """From the next page on the page's own scripts do not run."""
        await self._call("Emulation.setScriptExecutionDisabled", value=True)

    async def in_zone(self, name: str) -> None:
        """From the next page on it is somewhere else."""
        await self._call("Emulation.setTimezoneOverride", timezoneId=name)

    async def point(self, selector: str, share: float) -> None:
        """Moves the pointer to the middle of an element, so far along its width."""
        found = f"document.querySelector({json.dumps(selector)})"
        await self.evaluate(f"{found}.scrollIntoView()")
        x, y, width, height = await self.evaluate(
            f"(r => [r.x, r.y, r.width, r.height])({found}.getBoundingClientRect())"
        )
        await self._call("Input.dispatchMouseEvent", type="mouseMoved", x=x + share * width, y=y + height / 2)

    async def press(self, key: str, text: str = "") -> None:
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "Home": 36, "ArrowRight": 39}
        for kind in ("keyDown", "keyUp"):
            await self._call(
                "Input.dispatchKeyEvent", type=kind, key=key, text=text, windowsVirtualKeyCode=codes.get(key, 0)
            )

    async def type(self, text: str) -> None:
        await self._call("Input.insertText", text=text)

    async def until(self, condition: Callable[[], Awaitable[object]]) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while not await condition():
                await asyncio.sleep(0.02)

    async def shows(self, words: str) -> None:
        """Waits until the page holds these words, and is there to its end."""
        await self.until(lambda: self.evaluate(f"document.body?.innerText.includes({json.dumps(words)})"))
        await self._whole()

    async def _whole(self) -> None:
        await self.until(lambda: self.evaluate("document.readyState === 'complete'"))

    async def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            async with asyncio.timeout(WAIT_SECONDS):
                heard = json.loads((await self._reader.readuntil(b"\0"))[:-1])
            self._note(heard)
            if heard.get("id") == self._last:
                if heard.get("error", {}).get("message") == "Inspected target navigated or closed":
                    raise Navigated
                assert "error" not in heard, heard["error"]
                return dict(heard["result"])

    def _note(self, heard: dict[str, Any]) -> None:
        method, parameters = heard.get("method"), heard.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.complaints.append(parameters["exceptionDetails"]["text"])
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(str(parameters["args"]))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
            self.complaints.append(parameters["entry"]["text"])


@asynccontextmanager
async def browser(folder: Path) -> AsyncIterator[Tab]:
    commands, told = os.pipe(), os.pipe()
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        f'exec "$0" "$@" 3<&{commands[0]} 4>&{told[1]}',
        str(CHROMIUM),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        f"--user-data-dir={folder}",
        "--remote-debugging-pipe",
        pass_fds=(commands[0], told[1]),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    os.close(commands[0])
    os.close(told[1])
    reader = asyncio.StreamReader(limit=32 * 1024 * 1024)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(told[0], "rb")
    )
    try:
        tab = Tab(reader, commands[1])
        await tab.open()
        yield tab
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        transport.close()
        os.close(commands[1])
