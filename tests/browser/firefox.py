"""Firefox as people have it, driven over WebDriver BiDi by puppeteer-core.

Playwright drives only a Firefox that it has built itself. The classes here have those
methods of its `BrowserContext` and `Page` that tests of both browsers need.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.browser.needed import node_modules
from tests.needs import missing

DRIVER = Path(__file__).parent / "firefox.mjs"


class FirefoxError(Exception):
    """The browser or the page said no."""


class Firefox:
    """A running Firefox. `prefs` are those of about:config."""

    def __init__(self, **prefs: object) -> None:
        binary = shutil.which("firefox-esr") or shutil.which("firefox")
        if binary is None:
            missing("firefox-esr", "BROWSER")
        node_modules()
        self._driver = subprocess.Popen(
            ["node", DRIVER, binary, json.dumps(prefs)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._driver.stdin is not None
        assert self._driver.stdout is not None
        self._orders, self._answers = self._driver.stdin, self._driver.stdout
        self.version = self._answer()

    def order(self, order: str, **given: object) -> Any:
        """Have the driver do something; what came of it."""
        print(json.dumps({"order": order, **given}), file=self._orders, flush=True)
        return self._answer()

    def _answer(self) -> Any:
        line = self._answers.readline()
        assert line, "Firefox or its driver has ended"
        answer = json.loads(line)
        if "error" in answer:
            raise FirefoxError(answer["error"])
        return answer["value"]

    def new_context(self) -> FirefoxContext:
        """Cookies, locks and channels of its own."""
        return FirefoxContext(self)

    def close(self) -> None:
        """End it."""
        self._orders.close()
        self._driver.wait(30)
        self._answers.close()


class FirefoxContext:
    def __init__(self, browser: Firefox) -> None:
        self.browser = browser
        self.pages: list[FirefoxPage] = []
        self._id = browser.order("context")
        self._script = ""

    def add_init_script(self, script: str) -> None:
        self._script += script + ";"

    def add_cookies(self, cookies: list[dict[str, str]]) -> None:
        for cookie in cookies:
            given = {**cookie, "domain": "127.0.0.1"}
            del given["url"]
            self.browser.order("cookie", context=self._id, cookie=given)

    def new_page(self) -> FirefoxPage:
        number = self.browser.order("page", context=self._id, script=self._script)
        page = FirefoxPage(self, number)
        self.pages.append(page)
        return page

    def close(self) -> None:
        self.browser.order("closeContext", context=self._id)


class FirefoxPage:
    def __init__(self, context: FirefoxContext, number: int) -> None:
        self.context = context
        self._id = number

    def _order(self, order: str, **given: object) -> Any:
        return self.context.browser.order(order, page=self._id, **given)

    @property
    def said(self) -> list[str]:
        said: list[str] = self._order("said")
        return said

    def goto(self, url: str) -> None:
        self._order("goto", url=url)

    def reload(self) -> None:
        self._order("reload")

    def go_back(self) -> None:
        self._order("back")

    def evaluate(self, expression: str, arg: object = None) -> Any:
        return self._order("evaluate", expression=expression, argument=arg)

    def wait_for_function(
        self, expression: str, *, arg: object = None, timeout: float = 10_000
    ) -> None:
        self._order("wait", expression=expression, argument=arg, timeout=timeout)

    def wait_for_timeout(self, timeout: float) -> None:
        time.sleep(timeout / 1000)

    def screenshot(self, *, path: Path, full_page: bool) -> None:
        self._order("screenshot", path=str(path), fullPage=full_page)

    def close(self) -> None:
        self._order("close")
        self.context.pages.remove(self)
