# SPDX-License-Identifier: Apache-2.0
"""Two paths of one host to umbrad, and what becomes of the rest when one goes: the same LUNs on both, a control request
posted on one and sent again on the other, connections cut in mid write and at a closed gate. And a host with as many LUNs
as it may have. With the store in memory, whose cuts can be made to last (UMBRA_MEM_CUT_MS)."""
import contextlib
import os
import struct
import threading
import time
import unittest

from raw_initiator import DATA_IN, R2T, RESPONSE, Raw
from umbra_initiator import Reply, message
from umbra_lab import Array, Management, Refused

NAME, SECRET = 'iqn.2026-01.test:paths', 'secret-of-paths'
CUT_S = 3


def until(what, true, timeout_s=600):
    end = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() > end:
            raise AssertionError(f'in vain: {what}')
        time.sleep(0.02)


class Paths(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        os.environ['UMBRA_MEM_CUT_MS'] = str(CUT_S * 1000)
        try:
            cls.array = Array(pool='/nonexistent', config={
                'iscsi': {'portals': '127.0.0.1:0/1, 127.0.0.2:0/2'}, 'copysets': {'commit_budget': '60s'}})
        finally:
            del os.environ['UMBRA_MEM_CUT_MS']
        cls.array.add_host('paths', NAME, secret=SECRET)
        for name in ('a', 'b'):
            cls.array.ctl('lun', 'create', name, '--size', '64M')
            cls.array.ctl('map', name, 'paths')
        cls.ids = [bytes.fromhex(cls.array.ctl('lun', 'show', name)['id']) for name in ('a', 'b')]

    @classmethod
    def tearDownClass(cls):
        code = cls.array.stop()
        log = cls.array.log()
        cls.array.remove()
        assert code == 0, log

    @contextlib.contextmanager
    def paths(self):
        with Raw(self.array.ports[0]) as one, Raw(self.array.ports[1], '127.0.0.2') as two:
            for raw in (one, two):
                self.assertEqual(raw.login(NAME, self.array.target, SECRET).status, 0)
                for lun in (1, 2):
                    raw.ready(lun)
            yield one, two

    def sessions(self):
        return self.array.ctl('status')['sessions']

    def nothing_is_left(self, lun='a'):
        """An unmap ends when no I/O of the host is under way any more."""
        self.array.ctl('unmap', lun, 'paths')
        self.array.ctl('map', lun, 'paths', '--number', '1' if lun == 'a' else '2')

    def test_both_show_the_same(self):
        with self.paths() as (one, two):
            self.assertEqual(one.report_luns(), [1, 2])
            self.assertEqual(two.report_luns(), [1, 2])
            for lun in (1, 2):
                self.assertEqual(one.inquiry(lun, 0x80), two.inquiry(lun, 0x80))
                pages = [raw.inquiry(lun, 0x83) for raw in (one, two)]
                self.assertEqual(*[page[:page.index(b'\x51\x94')] for page in pages])  # but for the port
                self.assertEqual([raw.target_port(lun) for raw in (one, two)], [(1, 1), (2, 1)])
                self.assertEqual(one.port_groups(lun), {1: [1, 2]})
                self.assertEqual(two.port_groups(lun), {1: [1, 2]})
            self.assertEqual(one.write10(1, 8, b'\x5a' * 512)[0], 0)
            self.assertEqual(two.read10(1, 8, 1)[2], b'\x5a' * 512)

    # ---- control requests

    @staticmethod
    def post(raw, bytes_, slot=3):
        status, sense, _ = raw.do(1, struct.pack('>BBHxxIxx', 0xB5, 0xF0, slot, len(bytes_)), out=bytes_)
        assert status == 0, (status, sense)

    @staticmethod
    def fetch(raw, slot=3):
        status, sense, data = raw.do(1, struct.pack('>BBHxxIxx', 0xA2, 0xF0, slot, 16384), length=16384)
        assert status == 0, (status, sense)
        return data

    def ask(self, raw, op, **fields):
        self.post(raw, message(op, int.from_bytes(os.urandom(8), 'big'), **fields))
        while (reply := Reply(self.fetch(raw))).status == 'pending':
            pass
        assert reply.status == 'ok', (op, reply.status, reply.fields)
        return reply

    def begun(self, raw, set_id):
        self.ask(raw, 'set-begin', set_id=set_id)
        self.ask(raw, 'set-add', set_id=set_id, lun_id=self.ids[0])
        self.ask(raw, 'set-arm', set_id=set_id)

    def shadows(self, set_id):
        return [s for s in self.array.ctl('shadow', 'list')['shadows'] if s['set_id'].replace('-', '') == set_id.hex()]

    def test_a_request_sent_again_over_the_other_path_is_done_once(self):
        set_id = os.urandom(16)
        with self.paths() as (one, two):
            self.begun(one, set_id)
            commit = message('set-commit', 77, set_id=set_id, deadline_ms=50000)
            self.post(one, commit)
            reply = self.fetch(two)  # posted here, fetched there
            self.assertEqual(Reply(reply).status, 'ok')
            self.post(two, commit)  # the same again
            self.assertEqual(self.fetch(two), reply)
            self.assertEqual(self.fetch(one), reply)
            self.assertEqual(len(self.shadows(set_id)), 1)
            self.ask(two, 'set-abort', set_id=set_id)

    def test_a_request_whose_path_is_cut_is_done_once(self):
        set_id = os.urandom(16)
        with self.paths() as (one, two):
            self.begun(one, set_id)
            commit = message('set-commit', 78, set_id=set_id, deadline_ms=50000)
            self.post(one, commit)
            one.command(1, struct.pack('>BBHxxIxx', 0xA2, 0xF0, 3, 16384), length=16384)  # waits for the reply
            one.echo()
            one.cut()
            self.post(two, commit)
            reply = Reply(self.fetch(two))
            self.assertEqual((reply.status, reply.request_id), ('ok', 78))
            self.assertEqual(len(self.shadows(set_id)), 1)
            until('one session is left', lambda: len(self.sessions()) == 1)
            self.ask(two, 'set-keep', set_id=set_id)
            self.array.ctl('set', 'delete', set_id.hex())

    # ---- paths that are cut

    def test_a_path_cut_in_mid_write_leaves_nothing(self):
        with self.paths() as (one, two):
            self.assertEqual(two.write10(1, 0, b'\x11' * 4096)[0], 0)
            for lba in (0, 1024, 2048):  # R2Ts are out; one is answered by half
                one.command(1, struct.pack('>BBIBHB', 0x2A, 0, lba, 0, 512, 0), out=b'\x22' * 262144)
            asked = [one.expect(R2T) for _ in range(3)]
            one.data_out(asked[0], b'\x22' * 4096, final=False)
            one.echo()
            one.cut()
            self.assertEqual(two.read10(1, 0, 8)[2], b'\x11' * 4096)
            self.assertEqual(two.write10(1, 0, b'\x33' * 4096)[0], 0)
            until('one session is left', lambda: len(self.sessions()) == 1)
            self.nothing_is_left()
            two.ready(1)
            self.assertEqual(two.read10(1, 0, 8)[2], b'\x33' * 4096)

    def closed_gate(self, raw, lba):
        """Writes until one is not answered, for the gate is closed: its tag."""
        while True:
            tag = raw.command(2, struct.pack('>BBIBHB', 0x2A, 0, lba, 0, 1, 0), out=b'\x44' * 512,
                              immediate_data=b'\x44' * 512)
            raw.socket.settimeout(0.3)
            try:
                self.assertEqual(raw.expect(RESPONSE).status, 0)
            except TimeoutError:
                return tag
            finally:
                raw.socket.settimeout(60)

    def test_a_path_cut_with_writes_at_a_closed_gate_leaves_nothing(self):
        while not self.cut_at_a_closed_gate():
            pass  # a slow machine: the gate had opened

    def cut_at_a_closed_gate(self):
        with self.paths() as (one, two):
            before = os.urandom(8 * 512)
            self.assertEqual(two.write10(2, 256, before)[0], 0)
            commit = threading.Thread(target=self.array.ctl, args=('set', 'create', 'gate', 'b'))
            commit.start()
            held = self.closed_gate(two, 64)
            for i in range(8):
                one.command(2, struct.pack('>BBIBHB', 0x2A, 0, 256 + i, 0, 1, 0), out=b'\x55' * 512,
                            immediate_data=b'\x55' * 512)
            try:
                one.echo()
            except AssertionError:  # a write was answered
                commit.join()
                self.array.ctl('set', 'delete', 'gate')
                return False
            one.cut()
            tag = two.command(2, struct.pack('>BBIBHB', 0x28, 0, 256, 0, 8, 0), length=4096)
            answers = {}
            while len(answers) < 2:
                pdu = two.expect(RESPONSE, DATA_IN)
                answers[pdu.itt] = pdu
                self.assertEqual(pdu.status, 0)
            self.assertEqual(list(answers), [tag, held])  # reads pass the gate, the write came after it
            self.assertEqual(answers[tag].data, before)
            commit.join()
            self.assertEqual(two.read10(2, 256, 8)[2], before)  # what waited there for the lost path never ran
            self.assertEqual(two.read10(2, 64, 1)[2], b'\x44' * 512)
            until('one session is left', lambda: len(self.sessions()) == 1)
            self.nothing_is_left('b')
            self.array.ctl('set', 'delete', 'gate')
            return True


class ManyLuns(unittest.TestCase):
    """1,024 LUNs of one host, which is all that it may have here."""

    COUNT = 1024

    def test_all_are_seen_and_work(self):
        with Array(pool='/nonexistent', config={'array': {'host_luns_max': self.COUNT}}) as array:
            array.add_host('h', NAME)
            with Management(array.socket) as management:
                for i in range(self.COUNT):
                    management.ask('lun.create', name=f'lun{i}', size_bytes=1 << 20)
                    self.assertEqual(management.ask('map.add', lun=f'lun{i}', host='h')['number'], i + 1)
                management.ask('lun.create', name='more', size_bytes=1 << 20)
                with self.assertRaisesRegex(Refused, 'host h has its 1024 LUNs; unmap some or raise host_luns_max'):
                    management.ask('map.add', lun='more', host='h')
            begun = time.monotonic()
            with Raw(array.port) as raw:
                self.assertEqual(raw.login(NAME, array.target).status, 0)
                logged_in = time.monotonic()
                self.assertEqual(raw.report_luns(), list(range(1, self.COUNT + 1)))
                reported = time.monotonic()
                for number in (1, 255, 256, self.COUNT):
                    raw.ready(number)
                    self.assertEqual(raw.write10(number, 2047, struct.pack('>I', number) * 128)[0], 0)
                self.assertEqual(raw.read10(256, 2047, 1)[2], struct.pack('>I', 256) * 128)
                self.assertEqual(raw.do(self.COUNT + 1, bytes(6))[:2], (2, (5, 0x2500)))
                raw.logout()
            print(f'login {1000 * (logged_in - begun):.1f} ms, REPORT LUNS {1000 * (reported - logged_in):.1f} ms')
            self.assertEqual(array.stop(), 0)


if __name__ == '__main__':
    unittest.main(verbosity=2)
