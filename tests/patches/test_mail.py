# SPDX-License-Identifier: GPL-2.0-or-later
"""The mails that would send our series."""

import email
import re
import tempfile
import unittest

from spf.source import fetch, mail, patches


class Mail(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        fetch.sources("linux")
        # For each part of the series its letter and its mails.
        cls.parts = [(letter, sorted(folder.glob("*.patch")))
                     for letter, folder, _ in mail.write_all("linux", 3)]

    def read(self):
        """The same, with the mails read."""
        for letter, mails in self.parts:
            with self.subTest(letter.subject):
                yield letter, [email.message_from_bytes(m.read_bytes()) for m in mails]

    def test_a_letter_and_a_mail_for_each_patch(self):
        self.assertEqual(sum(len(mails) for _, mails in self.parts),
                         len(self.parts) + len(patches.files("linux")))
        for letter, mails in self.read():
            self.assertIn(letter.subject, re.sub(r"\s+", " ", mails[0]["Subject"]))
            self.assertIn(letter.text.strip(), mails[0].get_payload())
            for number, one in enumerate(mails):
                digits = len(str(len(mails) - 1))
                self.assertRegex(one["Subject"], rf"^\[RFC PATCH v3 {number:0{digits}}/"
                                                 rf"{len(mails) - 1}\] ")

    def test_every_mail_has_somebody_to_go_to(self):
        for _, mails in self.read():
            for one in mails:
                self.assertIn("@", one["To"], one["Subject"])
                # Mail servers refuse a line of more than 998 characters.
                longest = max(len(line) for line in str(one["To"]).splitlines())
                self.assertLess(longest, 998, one["Subject"])
            wanted = "kvm" if "KVM" in mails[0]["Subject"] else "linux-kernel"
            self.assertIn(f"{wanted}@vger.kernel.org", mails[0]["To"])
        self.assertIn("linux-mm@kvack.org", self.first_letter()["To"])

    def first_letter(self):
        return email.message_from_bytes(self.parts[0][1][0].read_bytes())

    def test_all_answer_the_letter(self):
        for _, mails in self.read():
            answered = {one["In-Reply-To"] for one in mails[1:]}
            self.assertEqual(answered, {mails[0]["Message-Id"]})

    def test_they_make_the_series(self):
        """Applied one after the other, the mails give the tree that the series gives."""
        where, head = patches.sync("linux")
        parent = patches.base("linux")
        with tempfile.TemporaryDirectory() as scratch:
            env = {"GIT_INDEX_FILE": f"{scratch}/index"}
            patches.git(where, "read-tree", parent, env=env)
            for _, mails in self.parts:
                for one in mails[1:]:
                    parent = patches.commit(where, one, parent, env)
        made, wanted = (patches.text(where, "rev-parse", f"{commit}^{{tree}}")
                        for commit in (parent, head))
        self.assertEqual(made, wanted)


if __name__ == "__main__":
    unittest.main()
