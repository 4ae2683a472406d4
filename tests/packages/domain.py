# SPDX-License-Identifier: GPL-2.0-or-later
"""The domains of the operator's tests: that of docs/libvirt-domain.xml, with a kernel to boot."""

import xml.etree.ElementTree as ET

from spf import paths

IMAGES = "/var/lib/libvirt/images"


def xml(name, device, cmdline="console=ttyS0 panic=-1", serial=None, image=None, **texts):
    """The document's domain, with the device or, for Debian's QEMU, without.  Without a disk the
    guest boots as far as the initramfs.  texts: other elements of the domain, by their paths."""
    tree = ET.parse(paths.ROOT / "docs" / "libvirt-domain.xml")
    root = tree.getroot()
    for word, text in {"name": name, **texts}.items():
        found = root.find(word)
        (ET.SubElement(root, word) if found is None else found).text = text
    for word, text in (("kernel", f"{IMAGES}/vmlinuz"), ("initrd", f"{IMAGES}/initrd"),
                       ("cmdline", cmdline)):
        ET.SubElement(tree.find("os"), word).text = text
    devices = tree.find("devices")
    if serial:
        devices.find("serial").set("type", "file")
        ET.SubElement(devices.find("serial"), "source", path=serial, append="on")
    if image:
        drive = ET.SubElement(devices, "disk", type="file")
        ET.SubElement(drive, "driver", name="qemu", type="raw")
        ET.SubElement(drive, "source", file=image)
        ET.SubElement(drive, "target", dev="vda", bus="virtio")
    if not device:
        root.remove(tree.find("{*}commandline"))
    return ET.tostring(root)
