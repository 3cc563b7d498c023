# SPDX-License-Identifier: Apache-2.0
"""Logins and sessions of umbrad, PDU by PDU: CHAP both ways, changed secrets."""
import fcntl
import os
import socket
import struct
import subprocess
import termios
import threading
import time
import unittest

from raw_initiator import ASYNC, R2T, RESPONSE, TMF_RESPONSE, Ended, Raw
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
        cls.array = Array(config={'iscsi': {'logout_timeout': '300ms'}}, **memory_only())
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

    @staticmethod
    def event(raw):
        """(event, parameter 1, 2, 3) of an asynchronous message."""
        pdu = raw.expect(ASYNC)
        return pdu.header[36], *struct.unpack('>HHH', pdu.header[38:44])

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
        self.tells(f'{HOST} (127.0.0.1', 'hung up in the middle of its login: does it have another secret')

    def tells(self, *words):
        """Waits for an event with these words."""
        end = time.monotonic() + 60
        while not any(all(word in line for word in words) for line in self.array.log().splitlines()):
            self.assertLess(time.monotonic(), end, self.array.log())
            time.sleep(0.05)

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

    def test_a_byte_order_mark_is_no_part_of_a_secret(self):
        """As Windows' editors write it."""
        name = 'iqn.2026-01.test:marked'
        self.array.ctl('host', 'add', 'marked', '--iqn', name, '--chap-file', self.secret('marked', '\ufeffsecretsecret1\r\n'))
        with Raw(self.array.port) as raw:
            self.assertEqual(raw.login(name, self.array.target, 'secretsecret1').status, 0)

    # ---- changed secrets

    def test_a_changed_secret_ends_the_sessions(self):
        name = 'iqn.2026-01.test:changing'
        self.array.add_host('changing', name, secret='the-first-secret')
        with self.raw() as raw, self.raw() as bystander:
            self.assertEqual(raw.login(name, self.array.target, 'the-first-secret').status, 0)
            self.assertEqual(bystander.login(OPEN, self.array.target).status, 0)
            self.array.ctl('host', 'set', 'changing', '--chap-file', self.secret('new', 'the-second-one'))
            self.assertEqual(self.event(raw), (1, 0, 0, 1))  # asks for a logout within a second
            self.assertEqual(raw.do(1, bytes(6))[:2], (2, (5, 0x2002)))  # access denied from now on
            self.assertEqual(self.event(raw), (2, 1, 2, 0))  # drops connection 1
            raw.expect_end()
            bystander.ready(1)
        self.refused(0x0201, name, self.array.target, 'the-first-secret')
        with self.raw() as raw:
            self.assertEqual(raw.login(name, self.array.target, 'the-second-one').status, 0)
            self.array.ctl('host', 'delete', 'changing')
            raw.expect_end()


    # ---- task management reaches the commands of other sessions

    def waiting_write(self, raw, lun=1, blocks=128):
        """A WRITE whose R2T is out: the R2T and the data."""
        data = os.urandom(blocks * 512)
        raw.command(lun, struct.pack('>BBIBHB', 0x2A, 0, 64, 0, blocks, 0), out=data)
        return raw.expect(R2T), data

    def test_functions_take_what_they_must_of_other_sessions(self):
        self.array.ctl('lun', 'create', 'first', '--size', '16M')
        self.array.add_host('other', 'iqn.2026-01.test:other')
        self.array.ctl('map', 'first', 'other')
        self.array.ctl('map', 'data', 'other')  # as number 2: functions reach LUNs, not numbers
        for function, answer, told_other, told_asker in ((2, 0, [], []), (4, 0x40, [], []), (5, 0x40, [0x2903], [0x2903]),
                                                         (6, 0x40, [0x2902], [0x2902])):
            for half_way in (False, True):
                with self.subTest(function=function, half_way=half_way), self.raw() as asker, self.raw() as other:
                    self.assertEqual(asker.login(OPEN, self.array.target).status, 0)
                    self.assertEqual(other.login('iqn.2026-01.test:other', self.array.target).status, 0)
                    asker.ready(1)
                    other.ready(2)
                    r2t, data = self.waiting_write(other, 2)
                    own, own_data = self.waiting_write(asker)
                    if half_way:  # the answer to the R2T is on its way
                        wire = []
                        other.socket, real = type('', (), {'sendall': lambda _, part: wire.append(part)})(), other.socket
                        other.data_out(r2t, data)
                        other.socket = real
                        other.socket.sendall(wire[0][:30000])
                        self.settle(real)
                    asker.tmf(function, 1)
                    if half_way:  # answered when that has come; else after a while without it
                        asker.data_out(own, own_data)
                    self.assertEqual(asker.expect(0x22).result, 0)
                    if half_way:
                        other.socket.sendall(wire[0][30000:])
                    else:
                        other.data_out(r2t, data)
                    self.assertEqual(other.expect(0x21).status, answer)  # TASK ABORTED: TAS is 1
                    self.assertEqual(other.ready(2), told_other)
                    if not half_way:
                        asker.data_out(own, own_data)  # thrown away
                    self.assertEqual(asker.ready(1), told_asker)

    @staticmethod
    def settle(sock):
        """Until the target has taken what was sent."""
        end = time.monotonic() + 600
        while fcntl.ioctl(sock, termios.TIOCOUTQ, b'\0\0\0\0') != b'\0\0\0\0' and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.05)

    def test_late_data_goes_nowhere(self):
        """The tag of an aborted write is used again at once, on another LUN."""
        self.array.ctl('lun', 'create', 'late', '--size', '16M')
        number = self.array.ctl('map', 'late', 'open')['number']
        with self.raw() as raw:
            self.assertEqual(raw.login(OPEN, self.array.target).status, 0)
            raw.ready(1)
            raw.ready(number)
            before = raw.read10(1, 64, 128)[2]
            for function in (1, 2, 4, 5, 6):
                with self.subTest(function=function):
                    r2t, data = self.waiting_write(raw)
                    raw.tmf(function, 1, tag=r2t.itt, refcmdsn=raw.cmdsn - 1)
                    self.assertEqual(raw.expect(TMF_RESPONSE).result, 0)
                    raw.ready(1)
                    raw.ready(number)
                    raw.itt = r2t.itt - 1
                    now, wanted = self.waiting_write(raw, number)
                    self.assertEqual(now.itt, r2t.itt)
                    raw.data_out(r2t, data[:20000], final=False)
                    raw.data_out(r2t, data)
                    raw.data_out(now, wanted)
                    self.assertEqual(raw.expect(RESPONSE).status, 0)
                    self.assertEqual(raw.read10(number, 64, 128)[2], wanted)
                    self.assertEqual(raw.read10(1, 64, 128)[2], before)
        self.array.ctl('unmap', 'late', 'open')

    def test_a_reset_spares_what_comes_after_it(self):
        """A request is missing; behind it wait a reset and a write, and a write of another session."""
        self.array.add_host('beside', 'iqn.2026-01.test:beside')
        self.array.ctl('map', 'data', 'beside')
        data = os.urandom(512)
        for function in (2, 4, 5, 6):
            with self.subTest(function=function), self.raw() as raw, self.raw() as other:
                self.assertEqual(raw.login(OPEN, self.array.target).status, 0)
                self.assertEqual(other.login('iqn.2026-01.test:beside', self.array.target).status, 0)
                raw.ready(1)
                other.ready(1)
                missing, missing_there = raw.cmdsn, other.cmdsn
                raw.cmdsn += 1
                other.cmdsn += 1
                raw.tmf(function, 1, immediate=False)
                cdb = struct.pack('>BBIBHB', 0x2A, 0, 7, 0, 1, 0)
                tag = raw.command(1, cdb, out=data, immediate_data=data)
                raw.echo()
                theirs = other.command(1, cdb, out=data, immediate_data=data)
                other.echo()
                first = raw.command(1, bytes(6), cmdsn=missing)
                self.assertEqual(raw.expect(RESPONSE).itt, first)
                answers = sorted((raw.expect(RESPONSE, TMF_RESPONSE) for _ in range(2)), key=lambda pdu: pdu.opcode)
                self.assertEqual((answers[0].itt, answers[0].status), (tag, 0))
                self.assertEqual(answers[1].result, 0)
                other.command(1, bytes(6), cmdsn=missing_there)
                other.expect(RESPONSE)  # perhaps with the reset's attention
                answer = other.expect(RESPONSE)
                self.assertEqual(answer.itt, theirs)
                self.assertEqual(answer.status, 0)
                raw.ready(1)
                self.assertEqual(raw.read10(1, 7, 1)[2], data)
                other.ready(1)

    def test_a_cold_reset_ends_all_sessions(self):
        with self.raw() as asker, self.raw() as other:
            self.assertEqual(asker.login(OPEN, self.array.target).status, 0)
            self.assertEqual(other.login(HOST, self.array.target, THEIRS).status, 0)
            asker.ready(1)
            asker.tmf(7, 1)
            self.assertEqual(asker.expect(0x22).result, 0)
            asker.expect_end()
            other.expect_end()

    def test_a_task_is_never_reassigned(self):
        with self.raw() as raw:
            self.assertEqual(raw.login(OPEN, self.array.target).status, 0)
            raw.ready(1)
            raw.tmf(8, 1, tag=1)
            self.assertEqual(raw.expect(0x22).result, 4)  # allegiance reassignment not supported
            raw.tmf(9, 1)
            self.assertEqual(raw.expect(0x22).result, 255)
            raw.tmf(5, 99)
            self.assertEqual(raw.expect(0x22).result, 2)  # no such LUN

    # ---- the target asks for a logout

    def test_the_administrator_asks_for_logouts(self):
        with self.raw() as one, self.raw() as two:
            self.assertEqual(one.login(OPEN, self.array.target).status, 0)
            self.assertEqual(two.login(HOST, self.array.target, THEIRS).status, 0)
            self.assertEqual(self.array.ctl('session', 'logout', 'mutual'), {'asked': 1})
            self.assertEqual(self.event(two), (1, 0, 0, 1))
            two.ready(1)  # it may finish what it has begun
            self.assertEqual(two.logout().result, 0)
            two.expect_end()
            self.assertIn('1 session(s) asked', self.array.text('session', 'logout', 'all'))
            self.assertEqual(self.event(one), (1, 0, 0, 1))
            self.assertEqual(self.event(one), (2, 1, 2, 0))  # it did not
            one.expect_end()
        self.assertEqual(self.array.ctl('session', 'logout', 'nobody', check=False).returncode, 1)

    def test_libiscsi_logs_out_when_asked(self):
        with Session(self.array, 'mutual') as session:
            session.read(1, 0, 1)
            self.array.ctl('session', 'logout', 'all')
            self.assertRaises((ConnectionError, LoginError), lambda: [session.read(1, 0, 1) for _ in range(1000)])


def free_port():
    with socket.socket() as one:
        one.bind(('127.0.0.1', 0))
        return one.getsockname()[1]


class Portals(unittest.TestCase):
    """Four portals: two in group 1, one in group 7, and one that sends hosts to the first."""

    @classmethod
    def setUpClass(cls):
        port = free_port()
        cls.array = Array(config={'iscsi': {
            'portals': f'127.0.0.1:{port}, 127.0.0.2:0, 127.0.0.3:0/7, 127.0.0.4:0/9',
            'redirect': f'127.0.0.4:0 127.0.0.1:{port} temporary'}}, **memory_only())
        cls.array.ctl('lun', 'create', 'data', '--size', '64M')
        cls.array.add_host('open', OPEN)
        cls.array.add_host('proven', HOST, secret=THEIRS)
        cls.array.ctl('map', 'data', 'open')
        cls.array.ctl('map', 'data', 'proven')

    @classmethod
    def tearDownClass(cls):
        cls.array.stop()
        cls.array.remove()

    def raw(self, portal):
        return Raw(self.array.ports[portal], f'127.0.0.{portal + 1}')

    def test_groups_are_told_everywhere_alike(self):
        groups = {1: [1, 7, 9]}  # one group of paths, three target ports
        for portal, group in ((0, 1), (1, 1), (2, 7)):
            with self.raw(portal) as raw:
                answer = raw.login(OPEN, self.array.target)
                self.assertEqual(answer.keys['TargetPortalGroupTag'], str(group))
                raw.ready(1)
                self.assertEqual(raw.target_port(1), (group, 1))
                self.assertEqual(raw.port_groups(1), groups)
        self.assertEqual([p['group'] for p in self.array.ctl('status')['array']['portals']], [1, 1, 7, 9])

    def test_discovery_tells_portals_with_their_groups_to_hosts_only(self):
        expected = [('TargetName', self.array.target)] + [
            ('TargetAddress', f'127.0.0.{i + 1}:{port},{(1, 1, 7, 9)[i]}') for i, port in enumerate(self.array.ports)]
        for portal in range(4):
            with self.raw(portal) as raw:
                self.assertEqual(raw.login(OPEN).status, 0)
                self.assertEqual(raw.send_targets(), expected)
                self.assertEqual(raw.send_targets(self.array.target), expected)
                self.assertEqual(raw.send_targets('iqn.2026-01.test:another'), [])
        with self.raw(0) as raw:
            self.assertEqual(raw.login('iqn.2026-01.test:stranger').status, 0)
            self.assertEqual(raw.send_targets(), [])
            self.assertEqual(raw.send_targets(self.array.target), [])
        with self.raw(0) as raw:  # within a normal session: the one it has
            self.assertEqual(raw.login(OPEN, self.array.target).status, 0)
            self.assertEqual(raw.send_targets(''), expected)

    def test_a_portal_sends_hosts_to_another(self):
        with self.raw(3) as raw:
            answer = raw.login(HOST, self.array.target, THEIRS)
            self.assertEqual(answer.status, 0x0101)
            self.assertEqual(answer.keys, {'TargetAddress': f'127.0.0.1:{self.array.port}'})
            raw.expect_end()
        with self.raw(3) as raw:
            self.assertEqual(raw.login('iqn.2026-01.test:stranger', self.array.target).status, 0x0202)
        url = f'iscsi://{HOST}%{THEIRS}@127.0.0.4:{self.array.ports[3]}/{self.array.target}/1'
        out = subprocess.run(['iscsi-inq', '-i', HOST, url], capture_output=True, text=True, check=True, timeout=600)
        self.assertIn('Vendor:UMBRADEV', out.stdout)  # libiscsi went where it was sent
        self.assertIn(f'group 9, sends hosts to 127.0.0.1:{self.array.port}, for now', self.array.text('status'))

    def test_an_isid_is_one_session_for_each_group(self):
        with self.raw(0) as first, self.raw(2) as other, self.raw(1) as again:
            for raw in (first, other, again):
                raw.isid = b'\x80isid1'
            self.assertEqual(first.login(OPEN, self.array.target).status, 0)
            self.assertEqual(other.login(OPEN, self.array.target).status, 0)
            first.ready(1)
            other.ready(1)  # group 7: another target port, another nexus
            self.assertEqual(again.login(OPEN, self.array.target).status, 0)
            first.expect_end()  # group 1 again: it begins the session anew
            again.ready(1)
            other.ready(1)

    def test_a_connection_begun_anew_keeps_its_session(self):
        with self.raw(0) as first, self.raw(1) as again, self.raw(0) as anew:
            self.assertEqual(first.login(OPEN, self.array.target).status, 0)
            self.assertEqual(first.ready(1), [0x2900])
            first.command(1, struct.pack('>BBIBHB', 0x2A, 0, 64, 0, 128, 0), out=bytes(65536))
            first.expect(R2T)
            self.assertEqual(first.do(1, bytes([0x16, 0, 0, 0, 0, 0]))[0], 0)  # RESERVE(6): of the nexus
            again.isid, again.tsih, again.cid, again.cmdsn = first.isid, first.tsih, first.cid, first.cmdsn
            self.assertEqual(again.login(OPEN, self.array.target).status, 0)
            self.assertEqual(again.tsih, first.tsih)
            first.expect_end()
            self.assertEqual(again.ready(1), [])  # the nexus was not lost: no 29/00
            self.assertEqual(again.write10(1, 64, bytes(512))[0], 0)
            with self.raw(0) as other:
                self.assertEqual(other.login(OPEN, self.array.target).status, 0)
                other.do(1, bytes(6))
                self.assertEqual(other.write10(1, 64, bytes(512))[0], 0x18)  # still reserved
            anew.isid = first.isid
            self.assertEqual(anew.login(OPEN, self.array.target).status, 0)
            again.expect_end()
            self.assertNotEqual(anew.tsih, first.tsih)
            self.assertEqual(anew.ready(1), [0x2900])  # another session

    def test_a_second_connection_of_a_session_is_refused(self):
        with self.raw(0) as first, self.raw(1) as second, self.raw(0) as third:
            self.assertEqual(first.login(OPEN, self.array.target).status, 0)
            second.isid, second.tsih, second.cid = first.isid, first.tsih, 2
            self.assertEqual(second.login(OPEN, self.array.target).status, 0x0206)
            second.expect_end()
            third.isid, third.tsih = first.isid, first.tsih + 1000
            self.assertEqual(third.login(OPEN, self.array.target).status, 0x020A)
            first.ready(1)


class Limits(unittest.TestCase):
    """One past each limit of the transport, and a word on what it is."""

    def test_sessions_and_connections(self):
        with Array(config={'iscsi': {'sessions_max': 4, 'sessions_per_host': 2, 'connections_max': 8,
                                     'connections_per_source': 6}}, **memory_only()) as array:
            names = [f'iqn.2026-01.test:h{i}' for i in range(3)]
            for i, name in enumerate(names):
                array.add_host(f'h{i}', name)
            array.add_host('two-names', 'iqn.2026-01.test:a', '--iqn', 'iqn.2026-01.test:b')
            open_now = []

            def login(name, status):
                raw = Raw(array.port)
                self.assertEqual(f'{raw.login(name, array.target).status:04x}', f'{status:04x}')
                if status == 0:
                    open_now.append(raw)
                else:
                    raw.expect_end()
                    raw.close()
            login('iqn.2026-01.test:a', 0)
            login('iqn.2026-01.test:b', 0)
            login('iqn.2026-01.test:a', 0x0302)
            self.assertIn('as many sessions as sessions_per_host allows', array.log())
            login(names[0], 0)
            login(names[1], 0)
            login(names[2], 0x0302)
            self.assertIn('as many sessions as sessions_max allows', array.log())
            open_now[-1].logout()
            open_now.pop().close()
            login(names[2], 0)
            idle = [socket.create_connection(('127.0.0.1', array.port)) for _ in range(4)]
            login(names[2], 0x0302)
            self.assertIn('as many connections as connections_max allows', array.log())
            # four may wait to be told; one more is not waited for
            idle += [socket.create_connection(('127.0.0.1', array.port)) for _ in range(5)]
            self.assertEqual(idle[-1].recv(1), b'')
            for one in idle + open_now:
                one.close()
            self.assertEqual(array.stop(), 0)

    def test_outstanding_commands(self):
        with Array(config={'iscsi': {'tasks_max': 4, 'portals': '127.0.0.1:0'}}, **memory_only()) as array:
            array.ctl('lun', 'create', 'data', '--size', '16M')
            array.add_host('open', OPEN)
            array.ctl('map', 'data', 'open')
            with Raw(array.port) as raw:
                self.assertEqual(raw.login(OPEN, array.target).status, 0)
                raw.ready(1)
                tags = [raw.command(1, struct.pack('>BBIBHB', 0x2A, 0, 0, 0, 1, 0), out=bytes(512)) for _ in range(4)]
                asked = [raw.expect(R2T) for _ in tags]
                self.assertEqual(asked[-1].expcmdsn, asked[-1].maxcmdsn + 1)  # the window is closed
                raw.command(1, bytes(6), cmdsn=raw.cmdsn)  # one past it: not looked at
                for r2t in asked:
                    raw.data_out(r2t, bytes(512))
                self.assertEqual([raw.expect(RESPONSE).itt for _ in tags], tags)
                self.assertEqual(raw.ready(1), [])
            self.assertEqual(array.stop(), 0)

    def test_an_orderly_end_asks_and_tells(self):
        with Array(**memory_only()) as array:
            array.add_host('open', OPEN)
            with Raw(array.port) as polite, Raw(array.port) as deaf:
                self.assertEqual(polite.login(OPEN, array.target).status, 0)
                self.assertEqual(deaf.login(OPEN, array.target).status, 0)
                stopping = threading.Thread(target=array.stop)
                stopping.start()
                self.assertEqual(polite.expect(ASYNC).header[36], 1)
                self.assertEqual(deaf.expect(ASYNC).header[36], 1)
                self.assertEqual(polite.logout().result, 0)
                self.assertEqual(deaf.expect(ASYNC).header[36], 2)
                deaf.expect_end()
            stopping.join()


if __name__ == '__main__':
    unittest.main(verbosity=2)
