# SPDX-License-Identifier: GPL-2.0-or-later
"""The runner's events: keep them, and tell the user about progress."""

import json
import sys
import time

from spf import ui
from spf.compare import plan


class Watcher:
    """Reads the runner's lines, keeps the events, and prints progress."""

    def __init__(self, planned, raw):
        self.planned, self.raw = planned, raw
        self.events, self.begun = [], None
        self._partial = b""
        self.tty = sys.stderr.isatty()
        self.start = time.monotonic()

    def feed(self, data):
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            try:
                event = json.loads(line)
                kind = event["event"]
            except (ValueError, TypeError, KeyError):
                continue
            self.raw.write(line.decode() + "\n")
            self.raw.flush()
            self.events.append(event)
            self.begun = event if kind == "begin" else None
            self.show(event)

    def show(self, event):
        kind = event["event"]
        rest = plan.left(self.planned, self.events)
        first = rest[0] if rest else {}
        done = len(self.planned) - len(rest)
        what = f"{event.get('vmm', '')} {event.get('mode', '')}"
        if kind == "discard":
            self.line(f"{what}: thrown away, {event['kind']}: {event['detail']}")
        elif kind == "begin" and self.tty:
            print(f"\r\033[Kkvmspf: run {done + 1} of {len(self.planned)}, "
                  f"{what}{self.remaining(rest)}",
                  end="", file=sys.stderr, flush=True)
        elif kind == "run":
            text = (f"{done}/{len(self.planned)} {what}: boot {event['boot']['total_s']:.2f} s, "
                    f"load {event['load']['total_s']:.2f} s{self.remaining(rest)}")
            last = first.get("round") != event["round"]
            if ui.verbose or (not self.tty and last):
                self.line(text)
        elif kind == "storm" and not self.tty and "storm" not in first:
            self.line(f"{done}/{len(self.planned)} storms: done")

    def remaining(self, rest):
        if not any(e["event"] == "run" for e in self.events):
            return ""
        return f", about {ui.duration(plan.estimate(rest, self.events))} left"

    def line(self, text):
        if self.tty:
            print("\r\033[K", end="", file=sys.stderr)
        ui.say(text)

    def lost(self, why):
        """The host went down while the runner ran: throw its current life away."""
        job = self.begun or {"id": "none", "mode": "", "vmm": ""}
        event = {**job, "event": "discard", "kind": "host", "detail": why}
        self.begun = None
        self.events.append(event)
        self.raw.write(json.dumps(event) + "\n")
        self.show(event)

    def of(self, kind):
        return [e for e in self.events if e["event"] == kind]
