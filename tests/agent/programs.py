# SPDX-License-Identifier: GPL-2.0-or-later
"""spf-agent as the tests need it: static, with sanitizers, and as fuzz targets."""

from spf.source import apt
from spf.build import meson

SANITIZE = ["-Db_sanitize=address,undefined", "-Db_lundef=false"]

static = meson.agent


def sanitized():
    apt.packages(meson.AGENT_PACKAGES)
    return meson.build("agent-sanitized", "guest-agent", *SANITIZE) / "guest-agent" / "spf-agent"


def fuzz(target):
    apt.packages([*meson.AGENT_PACKAGES, "clang", "libclang-rt-dev"])
    where = meson.build("agent-fuzz", "guest-agent,tests/agent", *SANITIZE, env={"CC": "clang"})
    return where / "tests" / "agent" / f"fuzz-{target}"
