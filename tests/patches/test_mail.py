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
        (cls.letter, folder, _), = mail.write_all("linux", 3)
        cls.mails = sorted(folder.glob("*.patch"))
        cls.read = [email.message_from_bytes(m.read_bytes()) for m in cls.mails]

    def test_a_letter_and_a_mail_for_each_patch(self):
        self.assertEqual(len(self.mails), 1 + len(patches.files("linux")))
        self.assertIn(self.letter.subject, re.sub(r"\s+", " ", self.read[0]["Subject"]))
        self.assertIn(self.letter.text.strip(), self.read[0].get_payload())
        for number, one in enumerate(self.read):
            self.assertRegex(one["Subject"],
                             rf"^\[RFC PATCH v3 {number:02}/{len(self.read) - 1}\] ")

    def test_every_mail_has_somebody_to_go_to(self):
        for one in self.read:
            with self.subTest(one["Subject"]):
                self.assertIn("@", one["To"])
                # Mail servers refuse a line of more than 998 characters.
                longest = max(len(line) for line in str(one["To"]).splitlines())
                self.assertLess(longest, 998)
        self.assertIn("kvm@vger.kernel.org", self.read[0]["To"])
        self.assertIn("linux-mm@kvack.org", self.read[0]["To"])

    def test_all_answer_the_letter(self):
        answered = {one["In-Reply-To"] for one in self.read[1:]}
        self.assertEqual(answered, {self.read[0]["Message-Id"]})

    def test_they_make_the_series(self):
        """Applied one after the other, the mails give the tree that the series gives."""
        where, head = patches.sync("linux")
        parent = patches.base("linux")
        with tempfile.TemporaryDirectory() as scratch:
            env = {"GIT_INDEX_FILE": f"{scratch}/index"}
            patches.git(where, "read-tree", parent, env=env)
            for one in self.mails[1:]:
                parent = patches.commit(where, one, parent, env)
        made, wanted = (patches.text(where, "rev-parse", f"{commit}^{{tree}}")
                        for commit in (parent, head))
        self.assertEqual(made, wanted)


if __name__ == "__main__":
    unittest.main()
