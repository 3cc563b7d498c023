# SPDX-License-Identifier: Apache-2.0
"""An iSCSI initiator (RFC 7143) without manners, for tests: each PDU is the test's own.

    raw = Raw(array.port)                                    # a TCP connection
    answer = raw.login('iqn.x:h', array.target, secret=…)    # a Login: .status, .keys
    raw.command(1, cdb, length_in=512); pdu = raw.expect(0x25)
"""
import hashlib
import os
import socket
import struct

NOP_OUT, COMMAND, TMF, LOGIN, TEXT, DATA_OUT, LOGOUT = 0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06
NOP_IN, RESPONSE, TMF_RESPONSE, LOGIN_RESPONSE, TEXT_RESPONSE, DATA_IN, LOGOUT_RESPONSE = range(0x20, 0x27)
R2T, ASYNC, REJECT = 0x31, 0x32, 0x3F
FINAL, NO_TAG = 0x80, 0xFFFFFFFF
DIGESTS = {'5': 'md5', '6': 'sha1', '7': 'sha256', '8': 'sha3_256'}


class Ended(ConnectionError):
    """The target closed the connection."""


class Pdu:
    def __init__(self, header, data):
        self.header, self.data = header, data
        self.opcode, self.flags = header[0] & 0x3F, header[1]
        self.itt, self.ttt, self.statsn, self.expcmdsn, self.maxcmdsn = struct.unpack('>IIIII', header[16:36])
        self.status = header[3]  # of a SCSI response
        self.result = header[2]  # of a task management, logout response or reject

    def sense(self):
        """(key, asc << 8 | ascq)"""
        return self.data[4] & 15, self.data[14] << 8 | self.data[15]


class Login:
    def __init__(self, status, keys):
        self.status, self.keys = status, keys


def text(keys):
    return b''.join(f'{key}={value}\0'.encode() for key, value in keys)


def pairs(data):
    return [tuple(item.decode().split('=', 1)) for item in data.split(b'\0') if item]


class Raw:
    def __init__(self, port, address='127.0.0.1', timeout_s=600):
        self.socket = socket.create_connection((address, port), timeout=timeout_s)
        self.cmdsn, self.statsn, self.itt, self.tsih, self.expcmdsn = 100, 0, 0, 0, 0
        self.isid, self.cid = b'\x80' + os.urandom(5), 1

    def close(self):
        self.socket.close()

    def cut(self):
        """As if the machine had gone: a reset of the TCP connection."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.socket.close()

    def echo(self):
        """A NOP: what was sent before has been taken in."""
        self.send(self.header(NOP_OUT | 0x40, FINAL, immediate=True))
        self.expect(NOP_IN)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.close()

    # ---- PDUs

    def bytes(self, count):
        data = b''
        while len(data) < count:
            try:
                more = self.socket.recv(count - len(data))
            except ConnectionResetError:
                more = b''
            if not more:
                raise Ended('the target closed the connection')
            data += more
        return data

    def send(self, header, data=b''):
        header = bytearray(header)
        header[5:8] = struct.pack('>I', len(data))[1:]
        self.socket.sendall(bytes(header) + data + bytes(-len(data) % 4))

    def receive(self):
        header = self.bytes(48)
        length = struct.unpack('>I', b'\0' + header[5:8])[0]
        data = self.bytes(length + (-length % 4))[:length]
        pdu = Pdu(header, data)
        self.statsn, self.expcmdsn = pdu.statsn, pdu.expcmdsn
        return pdu

    def expect(self, *opcodes):
        """The next PDU, which must be one of these; pings are answered by the way."""
        while True:
            pdu = self.receive()
            if pdu.opcode == NOP_IN and pdu.ttt != NO_TAG and NOP_IN not in opcodes:
                self.send(self.header(NOP_OUT | 0x40, FINAL, itt=NO_TAG, ttt=pdu.ttt, immediate=True))
                continue
            if pdu.opcode not in opcodes:
                raise AssertionError(f'opcode {pdu.opcode:#x}, result {pdu.result:#x}; expected {opcodes}')
            return pdu

    def expect_end(self):
        try:
            while True:
                self.receive()
        except Ended:
            pass

    def header(self, opcode, flags, lun=0, itt=None, ttt=NO_TAG, immediate=False, rest=b'', cmdsn=None):
        if itt is None:
            self.itt += 1
            itt = self.itt
        if cmdsn is None:
            cmdsn = self.cmdsn
            if not immediate:
                self.cmdsn += 1
        lun |= 0x4000 if lun > 255 else 0  # flat space addressing
        return struct.pack('>BBxx4xHxxxxxxIIII', opcode, flags, lun, itt, ttt, cmdsn, self.statsn + 1 & NO_TAG) \
            + rest.ljust(16, b'\0')

    # ---- login

    def login_request(self, flags, keys=()):
        self.send(struct.pack('>BBBBxxxx6sHIHxxII16x', LOGIN | 0x40, flags, 0, 0, self.isid, self.tsih, 1, self.cid,
                              self.cmdsn, self.statsn + 1 & NO_TAG), text(keys))
        pdu = self.expect(LOGIN_RESPONSE)
        return pdu, Login(struct.unpack('>H', pdu.header[36:38])[0], dict(pairs(pdu.data)))

    def login(self, initiator, target=None, secret=None, user=None, mutual=None, algorithm='7', more=(), response=None):
        """A whole login; ends at the first failure. mutual: the target must prove that it knows this secret.
        response: what to say instead of the right CHAP_R. target None: a discovery session."""
        who = [('InitiatorName', initiator), ('SessionType', 'Normal' if target else 'Discovery')]
        if target:
            who.append(('TargetName', target))
        if secret is None:
            pdu, answer = self.login_request(FINAL | 1 << 2 | 3, who + list(more))
        else:
            pdu, answer = self.login_request(0, who + [('AuthMethod', 'CHAP,None')])
            if answer.status:
                return answer
            pdu, answer = self.login_request(0, [('CHAP_A', algorithm)])
            if answer.status:
                return answer
            said, hashed = answer.keys, DIGESTS[answer.keys['CHAP_A']]

            def proof(identifier, key, challenge):
                return '0x' + hashlib.new(hashed, bytes([identifier]) + key.encode() + challenge).hexdigest()
            challenge = bytes.fromhex(answer.keys['CHAP_C'][2:])
            keys = [('CHAP_N', user or initiator),
                    ('CHAP_R', response or proof(int(answer.keys['CHAP_I']), secret, challenge))]
            mine = os.urandom(16)
            if mutual == 'reflect':
                mine = challenge
            if mutual:
                keys += [('CHAP_I', '77'), ('CHAP_C', '0x' + mine.hex())]
            pdu, answer = self.login_request(FINAL | 1, keys)
            if answer.status:
                return answer
            if mutual and answer.keys['CHAP_R'] != proof(77, mutual, mine):
                raise AssertionError('the target does not know the secret')
            said.update(answer.keys)
            pdu, answer = self.login_request(FINAL | 1 << 2 | 3, list(more))
            answer.keys.update(said)
        if answer.status == 0:
            self.tsih = struct.unpack('>H', pdu.header[14:16])[0]
        return answer

    # ---- the full feature phase

    def command(self, lun, cdb, out=None, length=0, flags=None, cmdsn=None, immediate_data=b''):
        """Sends a SCSI command: its tag. out: the data (R2Ts are the test's); length: to read."""
        if flags is None:
            flags = FINAL | (0x20 if out is not None else 0x40 if length else 0) | 1
        header = self.header(COMMAND, flags, lun, ttt=len(out) if out is not None else length, rest=bytes(cdb),
                             cmdsn=cmdsn)
        self.send(header, immediate_data)
        return struct.unpack('>I', header[16:20])[0]

    def data_out(self, r2t, data, final=True):
        offset, = struct.unpack('>I', r2t.header[40:44])
        self.send(struct.pack('>BBxx4x8xIIIIIII4x', DATA_OUT, FINAL if final else 0, r2t.itt, r2t.ttt, 0,
                              self.statsn + 1, 0, 0, offset), data)

    def tmf(self, function, lun=0, tag=NO_TAG, refcmdsn=0, immediate=True):
        self.send(self.header(TMF | (0x40 if immediate else 0), FINAL | function, lun, ttt=tag, immediate=immediate,
                              rest=struct.pack('>I', refcmdsn)))

    def do(self, lun, cdb, out=None, length=0):
        """A whole command: (status, sense or None, data). Unit attentions are the caller's."""
        tag = self.command(lun, cdb, out, length)
        data = b''
        while True:
            pdu = self.expect(RESPONSE, DATA_IN, R2T)
            if pdu.itt != tag:
                continue
            if pdu.opcode == R2T:
                offset, wanted = struct.unpack('>II', pdu.header[40:48])
                self.data_out(pdu, out[offset:offset + wanted])
            elif pdu.opcode == DATA_IN:
                data += pdu.data
                if pdu.flags & 1:
                    return pdu.status, None, data
            else:
                return pdu.status, pdu.sense() if pdu.status == 2 else None, data

    def ready(self, lun):
        """TEST UNIT READY until no unit attention is left: those that were told, as asc << 8 | ascq."""
        told = []
        while True:
            status, sense, _ = self.do(lun, bytes(6))
            if status == 2 and sense[0] == 6:
                told.append(sense[1])
                continue
            assert status == 0, (status, sense)
            return told

    def write10(self, lun, lba, data):
        return self.do(lun, struct.pack('>BBIBHB', 0x2A, 0, lba, 0, len(data) // 512, 0), out=data)

    def read10(self, lun, lba, blocks):
        return self.do(lun, struct.pack('>BBIBHB', 0x28, 0, lba, 0, blocks, 0), length=blocks * 512)

    def logout(self):
        self.send(self.header(LOGOUT | 0x40, FINAL, immediate=True))
        return self.expect(LOGOUT_RESPONSE)

    def send_targets(self, value='All'):
        self.send(self.header(TEXT, FINAL), text([('SendTargets', value)]))
        return pairs(self.expect(TEXT_RESPONSE).data)

    def inquiry(self, lun, page, length=255):
        return self.do(lun, struct.pack('>BBBHB', 0x12, 1, page, length, 0), length=length)[2]

    def target_port(self, lun):
        """(relative target port, target port group) by VPD 83h."""
        page, at, found = self.inquiry(lun, 0x83), 4, {}
        while at < 4 + struct.unpack('>H', page[2:4])[0]:
            if page[at + 1] >> 4 & 3 == 1:
                found[page[at + 1] & 15], = struct.unpack('>H', page[at + 6:at + 8])
            at += 4 + page[at + 3]
        return found[4], found[5]

    def port_groups(self, lun):
        """REPORT TARGET PORT GROUPS: {group: [relative target ports]}."""
        data = self.do(lun, struct.pack('>BBxxxxIxx', 0xA3, 0x0A, 1024), length=1024)[2]
        at, groups = 4, {}
        while at < 4 + struct.unpack('>I', data[:4])[0]:
            count = data[at + 7]
            groups[struct.unpack('>H', data[at + 2:at + 4])[0]] = [
                struct.unpack('>I', data[at + 8 + 4 * i:at + 12 + 4 * i])[0] for i in range(count)]
            at += 8 + 4 * count
        return groups

    def report_luns(self):
        """The numbers, and how many PDUs brought them."""
        data = self.do(0, struct.pack('>BxxxxxIxx', 0xA0, 262144), length=262144)[2]
        count = struct.unpack('>I', data[:4])[0] // 8
        return [struct.unpack('>H', data[8 + 8 * i:10 + 8 * i])[0] & 0x3FFF for i in range(count)]
