# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel, and back, by the lines of docs/operating.md: GRUB starts the patched kernel once,
Debian's after a crash, and Debian's when the patched one is purged."""

import re
import subprocess
import tempfile
import unittest
from pathlib import Path

from tests.lib import depth
from tests.packages import host
from spf import paths, series, ui
from spf.build import kernel_deb, targets
from spf.lab import accel

depth.module("builds a kernel's package and boots it")
# For all boots together, under emulation.
LIMIT = 1800
HEADING = "The kernel, and back"
# What Debian's installer leaves behind.  GRUB as a kernel image takes the place of a boot sector.
PREPARE = r"""
	apt-get install initramfs-tools linux-image-cloud-amd64 grub2-common grub-pc-bin
	old=$(cd /boot; echo vmlinuz-*-cloud-amd64)
	apt-get install ./linux-image-*+spf1_*.deb
	mkdir -p /boot/grub/i386-pc
	cp /usr/lib/grub/i386-pc/* /boot/grub/i386-pc
	cp /usr/share/grub/default/grub /etc/default/grub
	echo /dev/vda / ext4 defaults 0 0 >/etc/fstab
	cat >>/etc/default/grub <<-END
		GRUB_TIMEOUT=0
		GRUB_TERMINAL=console
		GRUB_CMDLINE_LINUX="console=ttyS0 oops=panic panic=5 QUIET"
	END
	cat >/boot/grub/grub.cfg <<-END
		linux /boot/$old root=/dev/vda rw console=ttyS0 panic=5 QUIET
		initrd /boot/$(echo $old | sed s/vmlinuz/initrd.img/)
		boot
	END
	grub-mkimage -O i386-pc -p '(hd0)/boot/grub' -o core biosdisk ext2 linux normal
	cat /usr/lib/grub/i386-pc/lnxboot.img core >/boot/grub.image
	mv grub.service /etc/systemd/system
	systemctl enable grub.service
	systemctl set-default graphical.target
	mv step /root
"""
# Run the commands of the present boot.  Print each one's output between two lines, of which the
# second has its status.
STEP = """
exec >/dev/ttyS1 2>&1
boot=$(cat /root/boots 2>/dev/null || echo 0)
echo $((boot + 1)) >/root/boots
echo "@boot $(uname -r)"
case $boot in
{stages}
esac
"""


def stages():
    """The document's lines, in a list for each boot."""
    found = [[]]
    for step in host.steps(HEADING):
        if step[0] == "reboot":
            found.append([])
        else:
            found[-1].append(step)
    return found


def script(release):
    """What the host runs.  The second boot ends in a crash; after the last one the host stays
    off."""
    text, last = "", len(stages()) - 1
    for boot, lines in enumerate(stages()):
        text += f"{boot})\n"
        for command, _ in lines:
            text += f"\techo @begin; ( {command}\n) 2>&1; echo @end $?\n"
        text += "\tsync\n\t" + {1: "echo c >/proc/sysrq-trigger",
                                last: "systemctl --no-block poweroff"}.get(
                                    boot, "systemctl --no-block reboot") + "\n\t;;\n"
    return STEP.replace("{stages}", re.sub(r"\b[\d.]+\+spf1", release, text))


def setUpModule():
    global BOOTS, TROUBLE
    targets.bring_up_to_date("patched")
    image = Path(kernel_deb.build("lab")[0])
    with tempfile.TemporaryDirectory(dir=paths.BUILD) as scratch:
        step, said = Path(scratch) / "step", Path(scratch) / "said"
        step.write_text(script(image.name.removeprefix("linux-image-").partition("_")[0]))
        folder = host.disk("grub", PREPARE.replace("QUIET", host.QUIET),
                           [image, host.HERE / "grub.service", step])
        grub = Path(scratch) / "grub.image"
        ui.run(["debugfs", "-R", f"dump /boot/grub.image {grub}", folder / "disk"])
        TROUBLE = life(folder, grub, said)
        text = said.read_text(errors="replace")
    (paths.LOG / "grub.said").write_text(text)
    BOOTS = text.replace("\r", "").split("@boot ")[1:]


def life(folder, grub, said):
    """Boot the disk by GRUB until the machine switches itself off; throw its changes away."""
    qemu = series.qemu()
    chosen = accel.choose(qemu, folder / "vmlinuz")
    words = [qemu, "-name", "kvmspf-grub", "-M", "q35,usb=off,smbus=off,sata=off,graphics=off",
             "-accel", "tcg,thread=multi" if chosen == "tcg" else "kvm",
             "-cpu", accel.CPU[chosen], "-smp", "2", "-m", "1G", "-nodefaults", "-no-user-config",
             "-display", "none", "-serial", f"file:{paths.LOG}/grub.console",
             "-serial", f"file:{said}", "-device", "virtio-rng-pci",
             "-drive", f"file={folder}/disk,format=raw,if=virtio,snapshot=on", "-kernel", grub]
    try:
        done = subprocess.run([str(w) for w in words], timeout=LIMIT, capture_output=True,
                              text=True, preexec_fn=ui.die_with_parent)
    except subprocess.TimeoutExpired:
        return f"the host did not switch itself off within {LIMIT} s"
    return done.stderr


class Grub(unittest.TestCase):
    def test_the_right_kernel_boots_each_time(self):
        self.assertEqual(TROUBLE, "")
        kernels = [text.splitlines()[0] for text in BOOTS]
        self.assertEqual(len(kernels), len(stages()))
        debian = kernels[0]
        self.assertRegex(debian, "-cloud-amd64$")
        self.assertRegex(kernels[1], r"\+spf1$")
        self.assertEqual(kernels[2:], [debian] * (len(kernels) - 2))

    def test_each_line_prints_what_the_document_says(self):
        for lines, text in zip(stages(), BOOTS):
            done = re.findall(r"^@begin\n(.*?)^@end (\d+)\n", text, re.M | re.S)
            self.assertEqual(len(done), len(lines), text)
            for (command, wanted), (said, status) in zip(lines, done):
                with self.subTest(command):
                    self.assertEqual(status, "0", said)
                    self.assertEqual(host.plain(said), host.plain(wanted), said)


if __name__ == "__main__":
    unittest.main()
