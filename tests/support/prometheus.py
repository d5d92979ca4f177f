"""A real Prometheus, Debian's package, with the project's own configuration."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from tests.support.collector import free_ports

CONFIG = Path(__file__).parents[2] / "collector-config" / "prometheus"
_SECONDS = 60.0


class Prometheus:
    """Scrapes two addresses every fifth of a second, until `stop`.

    Args:
        folder: Where it keeps what it has; it must exist.
        target: Where the gateway has the metrics of programs.
        collector: Where it has its own.
    """

    def __init__(self, folder: Path, target: str, collector: str) -> None:
        config = (CONFIG / "prometheus.yaml").read_text(encoding="utf-8")
        for shipped, ours in (
            ("gateway:8889", target),
            ("gateway:8888", collector),
            ("15s", "200ms"),
        ):
            assert shipped in config
            config = config.replace(shipped, ours)
        (folder / "prometheus.yaml").write_text(config, encoding="utf-8")
        shutil.copy(CONFIG / "alerts.yaml", folder)
        (port,) = free_ports(1)
        self._api = f"http://127.0.0.1:{port}"
        with (folder / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={folder / 'prometheus.yaml'}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{port}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self._wait_until_ready(folder / "prometheus.log")
        except BaseException:
            self.stop()
            raise

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Return the labels and the value of each series that an expression has now."""
        answer = self._get(f"/api/v1/query?{urllib.parse.urlencode({'query': expression})}")
        assert answer["status"] == "success"
        return [(one["metric"], float(one["value"][1])) for one in answer["data"]["result"]]

    def has_data(self, expression: str) -> bool:
        """Tell whether an expression has a series with a value that is a number now."""
        return any(not math.isnan(value) for _, value in self.query(expression))

    def rules(self) -> list[dict[str, Any]]:
        """Return the rules that it evaluates."""
        groups = self._get("/api/v1/rules")["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(self._api + path, timeout=_SECONDS) as answer:
            return json.load(answer)

    def _wait_until_ready(self, log: Path) -> None:
        deadline = time.monotonic() + _SECONDS
        while True:
            try:
                urllib.request.urlopen(f"{self._api}/-/ready", timeout=_SECONDS).close()
            except (urllib.error.URLError, ConnectionError):
                assert self._process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            else:
                return
