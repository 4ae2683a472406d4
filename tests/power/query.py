# SPDX-License-Identifier: GPL-2.0-or-later
"""On the POWER host: boot one guest of compare's, and print the answer to QMP's query-kvm-spf as a
line of JSON.

query.py PLAN: the plan's spec describes the guest.
"""

import json
import sys
from pathlib import Path

from spf import kvmparam
from spf.compare import guest, runner
from spf.lab.qmp import QMP

spec = json.loads(Path(sys.argv[1]).read_text())["spec"]
runner.stage(spec, "/tmp")
kvmparam.write(kvmparam.MODES["on"])
life = guest.Guest(spec)
try:
    life.wait("ready", 300)
    answer = QMP(life.qmp_path).execute("query-kvm-spf", {"per-vcpu": True})
finally:
    life.end()
print(json.dumps(answer | {"marks-from": life.marks_from}))
