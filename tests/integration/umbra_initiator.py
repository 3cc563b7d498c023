# SPDX-License-Identifier: Apache-2.0
"""An initiator for tests: libiscsi's, by ctypes, and over it the control protocol.

    session = Session(array, 'h1')                  # an Array of umbra_lab, a host that add_host made
    status, sense, data = session.command(1, cdb, length_in=512)
    session.write(1, lba, data); session.read(1, lba, blocks)
    channel = Channel(session, lun=1)
    reply = channel.ask('identify')                 # a Reply: .status, .text, .fields
    reply = channel.ask('set-begin', set_id=bytes(16))

The messages are packed here by docs/protocol.md, not by the array's codec: two readings of one page.
"""
import ctypes
import ctypes.util
import os
import struct

_lib = ctypes.CDLL('libiscsi.so.7')


class _Sense(ctypes.Structure):
    _fields_ = [('error_type', ctypes.c_ubyte), ('key', ctypes.c_int), ('ascq', ctypes.c_int),
                ('bits', ctypes.c_uint32)]


class _Data(ctypes.Structure):
    _fields_ = [('size', ctypes.c_int), ('data', ctypes.POINTER(ctypes.c_ubyte))]


class _Task(ctypes.Structure):  # the beginning of struct scsi_task
    _fields_ = [('status', ctypes.c_int), ('cdb_size', ctypes.c_int), ('xfer_dir', ctypes.c_int),
                ('expxferlen', ctypes.c_int), ('cdb', ctypes.c_ubyte * 16), ('residual_status', ctypes.c_int),
                ('residual', ctypes.c_size_t), ('sense', _Sense), ('datain', _Data)]


class _Out(ctypes.Structure):
    _fields_ = [('size', ctypes.c_size_t), ('data', ctypes.c_char_p)]


for _name, _result, _arguments in (
        ('iscsi_create_context', ctypes.c_void_p, [ctypes.c_char_p]),
        ('iscsi_destroy_context', ctypes.c_int, [ctypes.c_void_p]),
        ('iscsi_set_targetname', ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p]),
        ('iscsi_set_session_type', ctypes.c_int, [ctypes.c_void_p, ctypes.c_int]),
        ('iscsi_set_header_digest', ctypes.c_int, [ctypes.c_void_p, ctypes.c_int]),
        ('iscsi_set_initiator_username_pwd', ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p]),
        ('iscsi_set_target_username_pwd', ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p]),
        ('iscsi_set_isid_random', ctypes.c_int, [ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]),
        ('iscsi_set_noautoreconnect', None, [ctypes.c_void_p, ctypes.c_int]),
        ('iscsi_set_timeout', ctypes.c_int, [ctypes.c_void_p, ctypes.c_int]),
        ('iscsi_connect_sync', ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p]),
        ('iscsi_login_sync', ctypes.c_int, [ctypes.c_void_p]),
        ('iscsi_logout_sync', ctypes.c_int, [ctypes.c_void_p]),
        ('iscsi_get_error', ctypes.c_char_p, [ctypes.c_void_p]),
        ('scsi_create_task', ctypes.POINTER(_Task), [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_int]),
        ('scsi_free_scsi_task', None, [ctypes.POINTER(_Task)]),
        ('iscsi_scsi_command_sync', ctypes.POINTER(_Task),
         [ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(_Task), ctypes.POINTER(_Out)])):
    _function = getattr(_lib, _name)
    _function.restype, _function.argtypes = _result, _arguments


class LoginError(Exception):
    """The target did not let us in."""


class ScsiError(Exception):
    """A command ended with a status other than GOOD."""

    def __init__(self, what, status, sense):
        super().__init__(f'{what}: status {status:#x}, sense key {sense[0]:#x}, asc/ascq {sense[1]:#06x}')
        self.status, self.sense = status, sense


def refused(call, *arguments, **options):
    """How the command is refused: it must be."""
    try:
        call(*arguments, **options)
    except ScsiError as failure:
        return failure
    raise AssertionError('it was not refused')


class Session:
    """One normal session. host: the name of one that array.add_host made; iqn, secret, user override.
    isid: a number: the same one makes the same initiator port again. mutual: (name, secret) of the target's proof."""

    def __init__(self, array, host=None, iqn=None, secret=None, user=None, timeout_s=600, digest=False, isid=None,
                 mutual=None):
        name, password = array.hosts.get(host, (None, None))
        self.iqn = iqn or name
        self.secret = secret or password
        self.context = _lib.iscsi_create_context(self.iqn.encode())
        _lib.iscsi_set_targetname(self.context, array.target.encode())
        _lib.iscsi_set_session_type(self.context, 2)
        _lib.iscsi_set_header_digest(self.context, 2 if digest else 0)
        if isid is not None:
            _lib.iscsi_set_isid_random(self.context, isid, 0)
        _lib.iscsi_set_noautoreconnect(self.context, 1)
        _lib.iscsi_set_timeout(self.context, timeout_s)
        if self.secret:
            _lib.iscsi_set_initiator_username_pwd(self.context, (user or self.iqn).encode(), self.secret.encode())
        if mutual:
            _lib.iscsi_set_target_username_pwd(self.context, mutual[0].encode(), mutual[1].encode())
        if _lib.iscsi_connect_sync(self.context, array.portal().encode()) or _lib.iscsi_login_sync(self.context):
            why = self.error()
            self.close(logout=False)
            raise LoginError(why)

    def error(self):
        return (_lib.iscsi_get_error(self.context) or b'').decode(errors='replace')

    def close(self, logout=True):
        if self.context:
            if logout:
                _lib.iscsi_logout_sync(self.context)
            _lib.iscsi_destroy_context(self.context)
            self.context = None

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.close(logout=kind is None)

    def command(self, lun, cdb, out=None, length_in=0):
        """(status, (sense key, asc << 8 | ascq), data in). ConnectionError: the session is gone."""
        direction, length = (2, len(out)) if out is not None else (1, length_in) if length_in else (0, 0)
        task = _lib.scsi_create_task(len(cdb), bytes(cdb), direction, length)
        data = ctypes.byref(_Out(len(out), bytes(out))) if out is not None else None
        done = _lib.iscsi_scsi_command_sync(self.context, lun, task, data)
        if not done:
            raise ConnectionError(f'the session has ended: {self.error()}')
        found = done.contents
        status, sense = found.status, (found.sense.key, found.sense.ascq)
        count = found.datain.size if found.datain.data else 0
        result = ctypes.string_at(found.datain.data, count) if count else b''
        _lib.scsi_free_scsi_task(done)
        if status > 0xFF:  # libiscsi's own: cancelled, or no answer in time
            raise ConnectionError(f'no answer ({status:#x}): {self.error()}')
        return status, sense, result

    def good(self, what, lun, cdb, out=None, length_in=0):
        """command() that must be GOOD, unit attentions passed over: the data."""
        for _ in range(8):
            status, sense, data = self.command(lun, cdb, out, length_in)
            if status == 2 and sense[0] == 6:
                continue
            break
        if status != 0:
            raise ScsiError(what, status, sense)
        return data

    def inquiry(self, lun, page=None, length=255):
        cdb = struct.pack('>BBBHB', 0x12, 0 if page is None else 1, page or 0, length, 0)
        return self.good('INQUIRY', lun, cdb, length_in=length)

    def serial(self, lun):
        page = self.inquiry(lun, 0x80)
        return page[4:4 + page[3]].decode()

    def mapped(self, lun, lba):
        """As GET LBA STATUS says."""
        data = self.good('GET LBA STATUS', lun, struct.pack('>BBQIBB', 0x9E, 0x12, lba, 64, 0, 0), length_in=64)
        return data[20] & 15 == 0

    def report_luns(self):
        data = self.good('REPORT LUNS', 0, struct.pack('>BxxxxxIxx', 0xA0, 65536), length_in=65536)
        count = struct.unpack('>I', data[:4])[0] // 8
        return [struct.unpack('>H', data[8 + 8 * i:10 + 8 * i])[0] & 0x3FFF for i in range(count)]

    def read(self, lun, lba, blocks):
        return self.good('READ', lun, struct.pack('>BBQIBB', 0x88, 0, lba, blocks, 0, 0), length_in=blocks * 512)

    def write(self, lun, lba, data, fua=False):
        assert len(data) % 512 == 0
        self.good('WRITE', lun, struct.pack('>BBQIBB', 0x8A, 8 if fua else 0, lba, len(data) // 512, 0, 0), out=data)

    def flush(self, lun):
        self.good('SYNCHRONIZE CACHE', lun, struct.pack('>BBQIBB', 0x91, 0, 0, 0, 0, 0))

    def blocks(self, lun):
        data = self.good('READ CAPACITY', lun, struct.pack('>BBQIBB', 0x9E, 0x10, 0, 32, 0, 0), length_in=32)
        return struct.unpack('>Q', data[:8])[0] + 1


# ---- the control protocol

OPS = {'identify': 1, 'describe-lun': 2, 'set-begin': 3, 'set-add': 4, 'set-state': 5, 'set-arm': 6, 'set-commit': 7,
       'set-keep': 8, 'set-abort': 9, 'set-luns': 10, 'map': 11, 'unmap': 12, 'delete': 13, 'break': 14,
       'resync-start': 15, 'resync-state': 16, 'resync-cancel': 17, 'list': 18, 'notify': 19,
       'set-label': 20, 'set-tell': 21, 'set-take': 22}
STATUS = ['ok', 'pending', 'bad message', 'version not spoken', 'not supported', 'not found', 'wrong state', 'denied',
          'not authenticated', 'no space', 'limit reached', 'deadline passed', 'busy', 'store error',
          'LUN in another store', 'LUN not mapped', 'id in use', 'internal error']
STATES = [None, 'preparing', 'armed', 'committing', 'committed', 'kept', 'aborted']
TAGS = {'text': (1, 's'), 'array_id': (2, 'id'), 'array_name': (3, 's'), 'initiator_name': (4, 's'),
        'capabilities': (5, 'Q'), 'authenticated': (6, 'I'), 'max_set_luns': (7, 'I'), 'lease_ms': (8, 'I'),
        'set_id': (9, 'id'), 'lun_id': (10, 'id'), 'target_id': (11, 'id'), 'copy_kind': (12, 'I'),
        'state': (13, 'I'), 'deadline_ms': (14, 'I'), 'window_ns': (15, 'Q'), 'durable_ns': (16, 'Q'),
        'cursor': (17, 'I'), 'lun_number': (18, 'I'), 'scope': (19, 'I'), 'flags': (20, 'I'), 'percent': (21, 'I'),
        'lun_entry': (22, 'lun'), 'max_request': (23, 'I'), 'commit_budget_ms': (24, 'I'),
        'job': (25, 'I'), 'job_state': (26, 'I'), 'label': (27, 's'), 'writers': (28, 'I'), 'frozen_us': (29, 'Q'),
        'flush_us': (30, 'Q'), 'commit_us': (31, 'Q'), 'release_us': (32, 'Q'), 'import_us': (33, 'Q')}
BY_TAG = {tag: (name, kind) for name, (tag, kind) in TAGS.items()}


class LunEntry:
    def __init__(self, raw):
        self.id, self.origin, self.set_id = raw[0:16], raw[16:32], raw[32:48]
        self.size, self.block, self.kind, self.number, self.copy_kind = struct.unpack('>QIIII', raw[48:72])
        self.set_state, self.mapped_hosts, self.created_unix_ms = struct.unpack('>IIQ', raw[72:88])
        self.notified, self.full_percent = struct.unpack('>II', raw[88:96])
        assert (self.kind == 2) == (self.set_state != 0) == (self.created_unix_ms != 0)


class Reply:
    """status as text ('ok', …), request_id, and the fields as attributes; luns: a list of LunEntry."""

    def __init__(self, raw):
        magic, major, minor, header, length, op, flags, status, request_id, reserved = struct.unpack(
            '>IBBHIHHIQI', raw[:32])
        assert magic == 0x554D4252 and header == 32 and flags == 1 and reserved == 0, raw[:32].hex()
        assert length <= len(raw), (length, len(raw))
        self.major, self.minor, self.op, self.request_id = major, minor, op, request_id
        self.status, self.fields, self.luns = STATUS[status], {}, []
        at = 32
        while at < length:
            tag, size = struct.unpack('>HH', raw[at:at + 4])
            value = raw[at + 4:at + 4 + size]
            assert len(value) == size
            at += 4 + (size + 3 & ~3)
            name, kind = BY_TAG.get(tag, (None, None))
            if kind == 'lun':
                self.luns.append(LunEntry(value[:96]))
            elif name:
                assert name not in self.fields, name
                self.fields[name] = (value.decode() if kind == 's' else value if kind == 'id'
                                     else struct.unpack('>' + kind, value)[0])
        assert at == length
        self.raw = raw[:length]
        if self.status not in ('ok', 'pending'):
            assert len(self.fields.get('text', '')) > 20, f'{self.status} says nothing of what to do'

    def __getattr__(self, name):
        try:
            return self.fields[name]
        except KeyError:
            raise AttributeError(f'the reply has no {name}: {self.status} {self.fields}') from None

    @property
    def state_name(self):
        return STATES[self.state]


def message(op, request_id, major=1, luns=(), **fields):
    """A request's bytes. luns: the ids of its LUN entries."""
    body = b''.join(struct.pack('>HH', 22, 96) + bytes(lun) + bytes(80) for lun in luns)
    for name, value in fields.items():
        tag, kind = TAGS[name]
        raw = value.encode() if kind == 's' else bytes(value) if kind == 'id' else struct.pack('>' + kind, value)
        body += struct.pack('>HH', tag, len(raw)) + raw + bytes(-len(raw) % 4)
    number = OPS[op] if isinstance(op, str) else op
    return struct.pack('>IBBHIHHIQI', 0x554D4252, major, 0, 32, 32 + len(body), number, 0, 0, request_id, 0) + body


class Channel:
    """A mailbox, reached through a LUN of a session."""

    def __init__(self, session, lun=1, slot=1, vendor=False):
        self.session, self.lun, self.slot = session, lun, slot
        self.out_opcode, self.in_opcode = (0xC5, 0xC2) if vendor else (0xB5, 0xA2)

    def post(self, raw):
        cdb = struct.pack('>BBHxxIxx', self.out_opcode, 0xF0, self.slot, len(raw))
        status, sense, _ = self.session.command(self.lun, cdb, out=raw)
        if status:
            raise ScsiError('SECURITY PROTOCOL OUT', status, sense)

    def fetch(self, length=16384):
        cdb = struct.pack('>BBHxxIxx', self.in_opcode, 0xF0, self.slot, length)
        status, sense, data = self.session.command(self.lun, cdb, length_in=length)
        if status:
            raise ScsiError('SECURITY PROTOCOL IN', status, sense)
        return data

    def exchange(self, raw):
        """The reply, waited for however long the array says that it works on it."""
        self.post(raw)
        while (reply := Reply(self.fetch())).status == 'pending':
            pass
        return reply

    def ask(self, op, want=None, **fields):
        """Asks with a new id; want: the status that the reply must have."""
        request_id = int.from_bytes(os.urandom(8), 'big')
        reply = self.exchange(message(op, request_id, **fields))
        assert reply.request_id == request_id
        if want is not None and reply.status != want:
            raise AssertionError(f"{op}: {reply.status} ({reply.fields.get('text')}), not {want}")
        return reply

    def make_set(self, set_id, lun_ids, keep=True):
        """begin … keep; the shadow LUNs' ids in the order of lun_ids."""
        self.ask('set-begin', 'ok', set_id=set_id)
        shadows = [self.ask('set-add', 'ok', set_id=set_id, lun_id=lun).lun_id for lun in lun_ids]
        self.ask('set-arm', 'ok', set_id=set_id)
        self.ask('set-commit', 'ok', set_id=set_id, deadline_ms=5000)
        if keep:
            self.ask('set-keep', 'ok', set_id=set_id)
        return shadows
