"""What blocks of checks say: one line each as soon as it is known, and a file that is whole after every block."""

import json
import time
import traceback
from pathlib import Path
from typing import Any

from sibp.core import atomic

__all__ = ["Report"]


class Report:
    """The verdicts so far.

    Args:
        device: ``cuda`` or ``cpu``.
        seconds: after which no further work is begun.
        out: folder of ``check.json``; None writes nothing.
        begun: reading of the monotonic clock when the command was started; None is now.
    """

    def __init__(self, device: str, seconds: float, out: Path | None = None, begun: float | None = None) -> None:
        self.device, self.out = device, out
        self.begun = time.monotonic() if begun is None else begun
        self.end = self.begun + seconds
        self.verdicts: list[dict[str, Any]] = []
        self.left_out: list[str] = []
        self.data: dict[str, Any] = {}

    @property
    def failed(self) -> list[str]:
        """The blocks that have failed."""
        return [verdict["block"] for verdict in self.verdicts if not verdict["passed"]]

    @property
    def passed(self) -> bool:
        """Whether something was checked, and no block has failed."""
        return bool(self.verdicts) and not self.failed

    def seconds_left(self) -> float:
        """Return the seconds in which work may still begin.

        Returns:
            Seconds; negative when the time is over.
        """
        return self.end - time.monotonic()

    def say(self, block: str, text: str, *, passed: bool) -> None:
        """Print a block's verdict, and keep it.

        Args:
            block: its name.
            text: what was compared, and how it went.
            passed: whether all is as it must be.
        """
        seconds = time.monotonic() - self.begun
        self.verdicts.append({"block": block, "passed": passed, "text": text, "seconds": round(seconds, 1)})
        print(f"{seconds:6.1f} s  {'PASS' if passed else 'FAIL'}  {block:9} {text}", flush=True)

    def keep_traceback(self, where: str) -> None:
        """Keep the traceback of the exception that is being handled.

        Args:
            where: the block, and what it was at.
        """
        self.data.setdefault("tracebacks", {})[where] = traceback.format_exc()

    def write(self) -> None:
        """Write everything known so far, whole or not at all."""
        if self.out is None:
            return
        content = {"device": self.device, "passed": self.passed, "verdicts": self.verdicts, "left_out": self.left_out}
        text = json.dumps(content | self.data, indent=1, default=str) + "\n"
        atomic.write(self.out / "check.json", text)

    def summary(self) -> str:
        """Return the last line.

        Returns:
            Whether all passed, what was left out, and the seconds.
        """
        words = "PASS" if self.passed else f"FAIL: {', '.join(self.failed) or 'nothing was checked'}"
        left = f"; no time for {', '.join(self.left_out)}" if self.left_out else ""
        return f"{words}{left} after {time.monotonic() - self.begun:.0f} s"
