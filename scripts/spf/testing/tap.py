# SPDX-License-Identifier: GPL-2.0-or-later
"""Run a unittest module and print TAP: python3 -m spf.testing.tap MODULE [WORD...].  With words,
run only the tests whose names have one of them."""

import importlib
import signal
import sys
import unittest

# The status if no test has one of the words.
NONE = 78


class Result(unittest.TestResult):
    number = 0

    def __init__(self, module):
        super().__init__()
        self.module = module

    def line(self, good, test, more=""):
        self.number += 1
        name = test.id().removeprefix(self.module + ".") if hasattr(test, "id") else str(test)
        print(f"{'' if good else 'not '}ok {self.number} - {name}{more}", flush=True)

    def addSuccess(self, test):
        self.line(True, test)

    def addSkip(self, test, reason):
        self.line(True, test, f" # SKIP {reason}")

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.line(False, test)
        for text in self.failures[-1][1].splitlines():
            print(f"# {text}", flush=True)

    def addError(self, test, err):
        super().addError(test, err)
        self.line(False, test)
        for text in self.errors[-1][1].splitlines():
            print(f"# {text}", flush=True)

    def addExpectedFailure(self, test, err):
        self.line(True, test)

    def addUnexpectedSuccess(self, test):
        self.line(False, test, " (expected to fail)")
        self.failures.append((test, ""))

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self.addFailure(subtest, err)


def stop(number, _frame):
    raise KeyboardInterrupt(number)


def main(name, *words):
    signal.signal(signal.SIGTERM, stop)
    loader, result = unittest.TestLoader(), Result(name)
    if words:
        loader.testNamePatterns = [f"*{word}*" for word in words]
    try:
        suite = loader.loadTestsFromModule(importlib.import_module(name))
    except unittest.SkipTest as skip:
        print(f"ok 1 - {name.rpartition('.')[2]} # SKIP {skip}")
        return 0
    if words and not suite.countTestCases():
        return NONE
    suite.run(result)
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
