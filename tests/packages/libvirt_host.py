# SPDX-License-Identifier: GPL-2.0-or-later
"""The disk of the hosts of test_apparmor.py and test_migration.py: Debian with its libvirt, its
QEMU, AppArmor, its own kernel and spfctl, and domains whose guest counts.  Our QEMU lies there, to
take the place of Debian's."""

import shutil
from pathlib import Path

from tests.lib import console_guest
from tests.packages import domain, host
from tests.packages.domain import IMAGES
from spf import paths, series
from spf.build import deb, targets

UUIDS = {name: f"00000000-0000-4000-8000-00000000000{name[-1]}" for name in ("db1", "db2", "db3")}
EMULATOR = "/usr/bin/qemu-spf-vma-lock"
MODE = "A mode of a domain's own"
# The document's names, and what makes a root of the one host known to the other.
COMMANDS = f"""
	apt-get install apparmor initramfs-tools linux-image-cloud-amd64 libvirt-clients \\
		libvirt-daemon-system openssh-server qemu-system-x86 ./spfctl_*.deb
	mv operator.service /etc/systemd/system
	systemctl enable operator.service
	systemctl set-default graphical.target
	mv guest-kernel {IMAGES}/vmlinuz
	mv guest-initramfs {IMAGES}/initrd
	mv db?.xml /root
	install qemu-spf {EMULATOR}
	printf '%s\\n' '127.0.0.1 localhost' '10.0.0.1 host1' '10.0.0.2 host2' >/etc/hosts
	mkdir -m 700 -p /root/.ssh
	ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519
	cp /root/.ssh/id_ed25519.pub /root/.ssh/authorized_keys
	sed 's/^/host1,host2 /' /etc/ssh/ssh_host_ed25519_key.pub >/root/.ssh/known_hosts
"""
DEFINE = "for file in db?.xml; do virsh define $file; done"


def rule(heading):
    """The document's lines that let a domain's profile do more."""
    return "\n".join(line for line, _ in host.steps(heading) if "/etc/apparmor.d/" in line)


def our_qemu(suite=host.SUITE):
    """Our QEMU's packages, if they have been built, else the lab's program: the files, and the
    command that puts them in the place of Debian's.  The packages are for Debian 13 alone."""
    packages = sorted((paths.OUT / "deb").glob("qemu-*+spf1_*.deb"))
    if packages and suite == host.SUITE:
        return packages, "apt-get install --yes --only-upgrade ./packages/qemu-*.deb"
    # It looks for all firmware where Debian has only QEMU's own.
    return [series.qemu()], ("install packages/qemu-system-x86_64 /usr/bin && "
                             "cp /usr/share/seabios/* /usr/share/qemu")


def domains(scratch):
    """db1 for any QEMU, db2 with the device, and db3, which has an emulator of its own."""
    made = [scratch / f"{name}.xml" for name in UUIDS]
    for file, more in zip(made, ({}, {}, {"devices/emulator": EMULATOR})):
        file.write_bytes(domain.xml(file.stem, file.stem != "db1", "console=ttyS0 quiet panic=-1",
                                    f"{IMAGES}/{file.stem}.serial", memory="256",
                                    uuid=UUIDS[file.stem], **more))
    return made


def disk(scratch, suite=host.SUITE):
    for kernel in ("patched", "stock"):
        targets.bring_up_to_date(kernel)
    kernel, initramfs = scratch / "guest-kernel", scratch / "guest-initramfs"
    shutil.copyfile(series.kernel("stock"), kernel)
    initramfs.write_bytes(console_guest.initramfs(
        "cp dd md5sum sleep".split(), init=host.HERE / "count-init"))
    return host.disk("libvirt", COMMANDS, [
        Path(deb.build("spfctl")), *our_qemu(suite)[0], kernel, initramfs,
        host.HERE / "operator.service", paths.ROOT / "docs/qemu-spf", *domains(scratch)], suite)


def counted(text):
    """The numbers that the guest printed, and those that came with memory that was not whole."""
    lines = [line.split() for line in text.replace("\r", "").splitlines()
             if line.startswith("@count ")]
    return [int(line[1]) for line in lines], [line[1] for line in lines if line[2:] != ["whole"]]
