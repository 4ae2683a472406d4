# SPDX-License-Identifier: GPL-2.0-or-later
"""Wait for what QEMU or a guest does in its own time."""

import time

LIMIT = 120


def wait(until, what, limit=LIMIT):
    """End the program with what is wrong if until() does not become true."""
    end = time.monotonic() + limit
    while not until():
        if time.monotonic() > end:
            raise SystemExit(what)
        time.sleep(0.1)


def deleted(qmp, device):
    """Whether QEMU has said that the device is gone."""
    qmp.execute("query-status")
    return any(event["event"] == "DEVICE_DELETED" and event["data"].get("device") == device
               for event in qmp.events)
