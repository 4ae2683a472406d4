# SPDX-License-Identifier: GPL-2.0-or-later
"""CRIU dumps a process in two steps, the second by the kernel's record of changes, and restores
it."""

import shlex
import unittest

from tests.lib import native
from spf.build import targets
from spf.lab import x86
from spf.source import debroot

LIMIT = 600
# Debian 12's CRIU does not know the vDSO of a newer kernel.
SUITE = "forky"
PAGE = 4096
# Pages of each kind in tracked.c.
PAGES = 512
# Each line: the switch, bytes of both dumps, pages filled speculatively meanwhile, and wrong pages
# after the restore.
DUMP = """
set -e
wait_for() { while [ ! -e "$1" ]; do sleep 0.1; done; }
speculative() { sed -n "s/^spf_success //p" /proc/vmstat; }
criu() { CRIU "$@" -o log -v4 || { echo "criu $*"; tail -n 20 "$dir/log"; exit 1; }; }
for switch in 0 1; do
	echo $switch >/proc/sys/vm/speculative_user_faults
	mkdir -p /tmp/$switch/first /tmp/$switch/second
	cd /tmp/$switch
	setsid "$1" "$PWD" </dev/null >/dev/null 2>&1 &
	wait_for ready
	read -r pid <ready
	dir=first criu pre-dump -t "$pid" -D first --track-mem
	before=$(speculative)
	touch go
	wait_for changed
	after=$(speculative)
	dir=second criu dump -t "$pid" -D second --prev-images-dir ../first --track-mem
	touch end
	dir=second criu restore -D second -d
	wait_for result
	echo $switch $(cat first/pages-*.img | wc -c) $(cat second/pages-*.img | wc -c) \
		$((after - before)) $(cat result)
done
"""


class Criu(unittest.TestCase):
    def test_what_changed_between_two_dumps_comes_back(self):
        criu = shlex.join(map(str, debroot.words(debroot.newer(SUITE, ["criu"]),
                                                 "usr/sbin/criu")))
        targets.bring_up_to_date("patched")
        result = x86.Lab("patched", cpus=2, memory=1 << 30, timeout=LIMIT).run(
            ["/bin/sh", "-c", DUMP.replace("CRIU", criu), "sh", str(native.program("tracked"))])
        self.assertEqual((result.kind, result.status), ("exit", 0),
                         result.err.decode() + result.out.decode())
        self.assertEqual(result.trouble, [])
        seen = {}
        for line in result.out.decode().splitlines():
            print(f"# {line}")
            switch, *numbers = map(int, line.split())
            seen[switch] = numbers
        for switch, (first, second, speculative, wrong) in seen.items():
            with self.subTest(speculative_user_faults=switch):
                self.assertEqual(wrong, 0)
                self.assertGreaterEqual(first, 2 * PAGES * PAGE)
                self.assertGreaterEqual(second, 3 * PAGES * PAGE)
                # The second dump does not have the pages that did not change.
                self.assertLess(second, 4 * PAGES * PAGE)
                self.assertEqual(speculative >= PAGES, bool(switch))
        self.assertEqual(len(seen), 2)


if __name__ == "__main__":
    unittest.main()
