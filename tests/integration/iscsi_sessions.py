# SPDX-License-Identifier: Apache-2.0
"""Logins and sessions of umbrad, PDU by PDU: CHAP both ways, changed secrets."""
import os
import unittest

from raw_initiator import ASYNC, Ended, Raw
from umbra_lab import Array, CtlError
from umbra_initiator import LoginError, Session

HOST, THEIRS, OURS = 'iqn.2026-01.test:mutual', 'initiator-secret', 'the-array-secret'
OPEN = 'iqn.2026-01.test:open'


def memory_only():
    """With a store in memory (umbrad-mem) there is no pool to create."""
    return {'pool': '/nonexistent'} if 'umbrad-mem' in os.environ.get('UMBRAD', '') else {}


class Sessions(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.array = Array(**memory_only())
        cls.array.ctl('lun', 'create', 'data', '--size', '64M')
        cls.array.add_host('open', OPEN)
        cls.array.add_host('mutual', HOST, '--mutual-chap-file', cls.secret('ours', OURS), secret=THEIRS)
        for host in ('open', 'mutual'):
            cls.array.ctl('map', 'data', host)

    @classmethod
    def tearDownClass(cls):
        code = cls.array.stop()
        log = cls.array.log()
        cls.array.remove()
        assert code == 0, log

    @classmethod
    def secret(cls, name, text):
        path = os.path.join(cls.array.dir, f'secret-of-{name}')
        with open(path, 'w') as file:
            file.write(text + '\n')
        return path

    def raw(self):
        return Raw(self.array.port)

    def refused(self, status, *arguments, **more):
        with self.raw() as raw:
            self.assertEqual(f'{raw.login(*arguments, **more).status:04x}', f'{status:04x}')
            self.assertRaises(Ended, raw.receive)

    # ---- CHAP

    def test_mutual_chap_with_every_algorithm(self):
        for algorithm in ('5', '6', '7', '8'):
            with self.raw() as raw:
                answer = raw.login(HOST, self.array.target, THEIRS, mutual=OURS, algorithm=algorithm)
                self.assertEqual(answer.status, 0)
                self.assertEqual(answer.keys['CHAP_N'], self.array.target)
                raw.ready(1)
                raw.logout()

    def test_libiscsi_believes_the_array(self):
        with Session(self.array, 'mutual', mutual=(self.array.target, OURS)) as session:
            session.read(1, 0, 1)
        self.assertRaises(LoginError, Session, self.array, 'mutual', mutual=(self.array.target, 'not-that-secret'))

    def test_the_initiators_order_of_algorithms_counts(self):
        for offer, chosen in (('7,5', '7'), ('5,7', '5'), ('200,7', '7')):
            with self.raw() as raw:
                self.assertEqual(raw.login(HOST, self.array.target, THEIRS, algorithm=offer).keys['CHAP_A'], chosen)
        self.refused(0x0201, HOST, self.array.target, THEIRS, algorithm='200')

    def test_a_reflected_challenge_is_refused(self):
        self.refused(0x0201, HOST, self.array.target, THEIRS, mutual='reflect')

    def test_wrong_secrets_are_refused(self):
        self.refused(0x0201, HOST, self.array.target, 'not-that-secret')
        self.refused(0x0201, HOST, self.array.target, OURS)  # the other direction's
        self.refused(0x0201, HOST, self.array.target, THEIRS, response='0x00')
        self.refused(0x0201, HOST, self.array.target)
        self.assertEqual(0, self.array.log().count(THEIRS) + self.array.log().count(OURS))

    def test_a_proof_that_we_do_not_have_is_refused(self):
        self.array.add_host('oneway', 'iqn.2026-01.test:oneway', secret='one-way-secret')
        self.refused(0x0201, 'iqn.2026-01.test:oneway', self.array.target, 'one-way-secret', mutual=OURS)

    def test_one_secret_for_both_directions_is_refused(self):
        for arguments in (('host', 'set', 'mutual', '--mutual-chap-file', self.secret('theirs', THEIRS)),
                          ('host', 'set', 'open', '--chap-file', self.secret('same', OURS)),
                          ('host', 'set', 'open', '--mutual-chap-file', self.secret('another', 'another-secret'))):
            with self.assertRaises(CtlError):
                self.array.ctl(*arguments)

    def test_secrets_are_never_shown(self):
        for arguments in (('host', 'show', 'mutual'), ('host', 'list'), ('status',), ('events',)):
            out = self.array.text(*arguments) + self.array.text(*arguments, '--json')
            self.assertFalse(THEIRS in out or OURS in out)
        self.assertIn('mutual CHAP           yes', self.array.text('host', 'show', 'mutual'))

    # ---- changed secrets

    def test_a_changed_secret_ends_the_sessions(self):
        name = 'iqn.2026-01.test:changing'
        self.array.add_host('changing', name, secret='the-first-secret')
        with self.raw() as raw, self.raw() as bystander:
            self.assertEqual(raw.login(name, self.array.target, 'the-first-secret').status, 0)
            self.assertEqual(bystander.login(OPEN, self.array.target).status, 0)
            self.array.ctl('host', 'set', 'changing', '--chap-file', self.secret('new', 'the-second-one'))
            raw.expect_end()
            bystander.ready(1)
        self.refused(0x0201, name, self.array.target, 'the-first-secret')
        with self.raw() as raw:
            self.assertEqual(raw.login(name, self.array.target, 'the-second-one').status, 0)
            self.array.ctl('host', 'delete', 'changing')
            raw.expect_end()


if __name__ == '__main__':
    unittest.main(verbosity=2)
