# SPDX-License-Identifier: GPL-2.0-or-later
"""A busy VMM: what management software does to QEMU while a guest runs.

Two loops take the VMM's mmap_lock.  One adds memory backends (with prealloc) and removes them over
QMP, as memory hot-plug does.  The other reads /proc/PID/smaps_rollup every 100 ms, as monitoring
agents do.
"""

import threading
import time

from spf.lab.qmp import QMP, QMPError


class Busy:
    def __init__(self, qmp_path, pid, size_mib=8, smaps_interval=0.1, pause=0.05):
        self.backends = 0
        self.smaps_reads = 0
        self.error = None
        self._stop = threading.Event()
        self._args = (qmp_path, pid, size_mib, smaps_interval, pause)
        self._threads = [threading.Thread(target=self._hotplug, daemon=True),
                         threading.Thread(target=self._smaps, daemon=True)]
        for thread in self._threads:
            thread.start()

    def _hotplug(self):
        path, _, size_mib, _, pause = self._args
        try:
            qmp = QMP(path, alive=lambda: not self._stop.is_set())
            while not self._stop.is_set():
                qmp.execute("object-add", {"qom-type": "memory-backend-ram", "id": "busy0",
                                           "size": size_mib << 20, "prealloc": True})
                qmp.execute("object-del", {"id": "busy0"})
                self.backends += 1
                self._stop.wait(pause)
            qmp.close()
        except QMPError as error:
            if not self._stop.is_set():
                self.error = f"busy VMM stopped: {error}"

    def _smaps(self):
        _, pid, _, interval, _ = self._args
        due = time.monotonic()
        while not self._stop.is_set():
            try:
                with open(f"/proc/{pid}/smaps_rollup", "rb") as f:
                    f.read()
            except OSError:
                return      # QEMU is gone; the code that started it reports that.
            self.smaps_reads += 1
            due = max(due + interval, time.monotonic())
            self._stop.wait(max(0.0, due - time.monotonic()))

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=30)
