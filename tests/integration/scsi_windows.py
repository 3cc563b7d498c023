#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Windows' view of a new disk: what its drivers send to it, in their order and with their allocation lengths, and what
they make of the answers. Every expectation names where Microsoft says so:

  [thin]      learn.microsoft.com/windows-hardware/drivers/storage/thin-provisioning
  [lbp]       learn.microsoft.com/windows/win32/api/winioctl/ns-winioctl-device_lb_provisioning_descriptor
  [hlk-thin]  learn.microsoft.com/windows-hardware/test/hlk/testref/ac970c9b-8d76-4cd6-bc8a-3efdd8ec6fb7
  [odx]       learn.microsoft.com/windows-hardware/drivers/storage/offloaded-data-transfer
  [odx-page]  learn.microsoft.com/windows-hardware/drivers/ddi/scsi/ns-scsi-_vpd_third_party_copy_page
  [odx-limit] learn.microsoft.com/windows-hardware/drivers/ddi/scsi/ns-scsi-_windows_block_device_token_limits_descriptor
  [odx-read]  learn.microsoft.com/windows-hardware/drivers/ddi/scsi/ns-scsi-populate_token_header
  [odx-info]  learn.microsoft.com/windows-hardware/drivers/ddi/scsi/ns-scsi-receive_token_information_header
  [odx-resp]  learn.microsoft.com/windows-hardware/drivers/ddi/scsi/ns-scsi-receive_token_information_response_header
  [odx-write] learn.microsoft.com/windows-hardware/drivers/ddi/scsi/ns-scsi-write_using_token_header
  [odx-token] learn.microsoft.com/windows-hardware/drivers/ddi/ntddstor/ns-ntddstor-_storage_offload_token
  [id]        learn.microsoft.com/windows/win32/api/winioctl/ns-winioctl-storage_device_id_descriptor
  [duid]      learn.microsoft.com/windows-hardware/drivers/ddi/storduid/ns-storduid-_storage_device_unique_identifier
  [mscs]      learn.microsoft.com/previous-versions/windows/desktop/mscs/diskuniqueids
  [pr-in]     learn.microsoft.com/windows-hardware/drivers/ddi/ntddstor/ni-ntddstor-ioctl_storage_persistent_reserve_in
  [pr-out]    learn.microsoft.com/windows-hardware/drivers/ddi/ntddstor/ni-ntddstor-ioctl_storage_persistent_reserve_out
  [classpnp]  github.com/microsoft/Windows-driver-samples, storage/class/classpnp/src (class.c, utils.c)
  [disk]      github.com/microsoft/Windows-driver-samples, storage/class/disk/src (disk.c)
"""
import os
import struct
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from umbra_initiator import Session  # noqa: E402
from umbra_lab import Array  # noqa: E402

GOOD, CHECK, CONFLICT = 0x00, 0x02, 0x18
IQN = 'iqn.1991-05.com.microsoft:win-server.test'
VPD_MAX_BUFFER = 255  # [classpnp] VPD_MAX_BUFFER_SIZE, the allocation length of every VPD page
MODE_DATA = 192       # [disk] MODE_DATA_SIZE
MIB = 1 << 20
PATIENCE_S = 60 * float(os.environ.get('UMBRA_TEST_PATIENCE', '1'))


class Disk:
    def __init__(self, session, number):
        self.session, self.number = session, number

    def send(self, cdb, out=None, length_in=0):
        return self.session.command(self.number, cdb, out, length_in)

    def get(self, what, cdb, length):
        return self.session.good(what, self.number, cdb, length_in=length)

    def vpd(self, page):
        """The page's body; the header is checked as classpnp does: the page code, the length within the data."""
        data = self.get(f'VPD {page:02X}h', struct.pack('>BBBBBB', 0x12, 1, page, 0, VPD_MAX_BUFFER, 0), VPD_MAX_BUFFER)
        assert data[1] == page, data.hex()
        length = struct.unpack('>H', data[2:4])[0]
        assert len(data) == 4 + length, (len(data), length)
        return data[4:]

    def mode_page(self, page):
        """MODE SENSE(6) with the block descriptor, as ClassModeSense sends it: (device-specific byte, the page)."""
        data = self.get('MODE SENSE', struct.pack('>BBBBBB', 0x1A, 0, page, 0, MODE_DATA, 0), MODE_DATA)
        assert data[0] == len(data) - 1
        return data[2], data[4 + data[3]:]

    def lba_status(self, lba, room):
        data = self.get('GET LBA STATUS', struct.pack('>BBQIBB', 0x9E, 0x12, lba, room, 0, 0), room)
        runs = []
        for at in range(8, len(data) - 15, 16):
            start, blocks, state = struct.unpack('>QIB', data[at:at + 13])
            runs.append((start, blocks, state & 0x0F))
        return runs

    def unmap(self, *ranges):
        body = b''.join(struct.pack('>QIxxxx', lba, blocks) for lba, blocks in ranges)
        data = struct.pack('>HHxxxx', 6 + len(body), len(body)) + body
        return self.send(struct.pack('>BBxxxxxHB', 0x42, 0, len(data), 0), out=data)

    def pr_out(self, action, key, new_key=0, kind=0, aptpl=0):
        data = struct.pack('>QQIBxH', key, new_key, 0, aptpl, 0)  # PRO_PARAMETER_LIST
        return self.send(struct.pack('>BBBxxIB', 0x5F, action, kind, len(data), 0), out=data)[0]

    def pr_in(self, action, length):
        return self.get('PR IN', struct.pack('>BBxxxxxHB', 0x5E, action, length, 0), length)


class Windows(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.array = Array(pool_options=('--capacity', '1G'), config={'copysets': {'number_rest': '1ms'}})
        cls.array.ctl('lun', 'create', 'disk', '--size', '512M')
        cls.array.add_host('win', IQN)
        cls.array.ctl('map', 'disk', 'win')
        cls.session = Session(cls.array, 'win', isid=1)
        cls.disk = Disk(cls.session, 1)

    @classmethod
    def tearDownClass(cls):
        cls.session.close()
        with cls.array:
            pass

    # ---- enumeration: the port driver

    def test_01_enumeration(self):
        # The port driver asks LUN 0 for the LUNs; a LUN 0 that holds nothing must answer, as not connected.
        self.assertEqual(self.session.report_luns(), [1])
        inquiry = self.session.inquiry(0, length=36)
        self.assertEqual(inquiry[0], 0x7F)
        # The first 36 bytes become the hardware id; the drivers trim trailing spaces, ours has none to trim ([duid]:
        # the device descriptor comes from this non-VPD data).
        inquiry = self.session.inquiry(1, length=36)
        self.assertEqual(inquiry[0], 0)                   # connected, direct access: disk.sys
        self.assertGreaterEqual(inquiry[2], 5)            # SPC-3 or later: VPD pages are asked for
        self.assertEqual(inquiry[3] & 0x0F, 2)
        self.assertTrue(inquiry[7] & 0x02)                # CMDQUE: tagged queuing
        self.assertNotIn(b' ', inquiry[8:36])

    def test_02_supported_pages(self):
        # [classpnp] ClasspGetInquiryVpdSupportInfo: page 00h decides what else is asked. [odx] 8Fh: offloaded transfer.
        pages = self.disk.vpd(0x00)
        self.assertEqual(list(pages), sorted(pages))
        for page in (0x80, 0x83, 0x8F, 0xB0, 0xB1, 0xB2):
            self.assertIn(page, pages)

    def test_03_identity(self):
        # [id] the identifiers are page 83h's; [duid] they and the serial number make the disk's unique id;
        # [mscs] a cluster finds the disk again by them. Association 0 and NAA (3) or EUI (2) or T10 (1) count.
        serial = self.disk.vpd(0x80)
        self.assertRegex(serial.decode(), '^[0-9a-f]{32}$')
        page, found, at = self.disk.vpd(0x83), [], 0
        while at < len(page):
            code_set, kind, length = page[at] & 0x0F, page[at + 1], page[at + 3]
            found.append((kind >> 4 & 3, kind & 0x0F, code_set, page[at + 4:at + 4 + length]))
            at += 4 + length
        self.assertEqual(at, len(page))
        lun = [(kind, value) for association, kind, _, value in found if association == 0]
        self.assertEqual(sorted(kind for kind, _ in lun), [1, 3, 8])
        naa = dict(lun)[3]
        self.assertEqual((len(naa), naa[0] >> 4), (8, 3))  # locally assigned
        self.assertIn(serial, dict(lun)[1])
        # the same over another path
        with Session(self.array, 'win', isid=2) as other:
            self.assertEqual(Disk(other, 1).vpd(0x83), page)
            self.assertEqual(Disk(other, 1).vpd(0x80), serial)

    # ---- the disk starts: disk.sys and classpnp

    def test_04_capacity(self):
        # [classpnp] READ CAPACITY(16) also tells the physical block (ClasspAccessAlignmentProperty): 4 KiB, aligned.
        self.session.good('TEST UNIT READY', 1, bytes(6))
        data = self.disk.get('READ CAPACITY(16)', struct.pack('>BBQIBB', 0x9E, 0x10, 0, 32, 0, 0), 32)
        last, block = struct.unpack('>QI', data[:12])
        self.assertEqual(((last + 1) * block, block), (512 * MIB, 512))
        self.assertEqual(1 << (data[13] & 0x0F), 8)
        lowest = struct.unpack('>H', data[14:16])[0]
        self.assertEqual(lowest & 0x3FFF, 0)
        # [lbp] ThinProvisioningEnabled, ThinProvisioningReadZeros
        self.assertEqual(lowest & 0xC000, 0xC000)
        data = self.disk.get('READ CAPACITY(10)', struct.pack('>BxIxxBx', 0x25, 0, 0), 8)
        self.assertEqual(struct.unpack('>II', data), (last, 512))

    def test_05_write_cache(self):
        # [disk] DiskGetCacheInformation, DiskSetCacheInformation: page 08h, WCE is bit 2 of byte 2. With WCE the
        # drivers flush with SYNCHRONIZE CACHE and write through with FUA: DPOFUA is bit 4 of the device-specific byte.
        device, page = self.disk.mode_page(0x08)
        self.assertEqual((page[0] & 0x3F, page[1]), (0x08, 0x12))
        self.assertTrue(page[2] & 0x04)
        self.assertTrue(device & 0x10)
        self.session.write(1, 0, b'\x11' * 4096, fua=True)
        self.session.good('SYNCHRONIZE CACHE', 1, struct.pack('>BBIBHB', 0x35, 0, 0, 0, 0, 0))
        # What the user may turn off in the device manager can be turned off, and on again.
        for wce in (0, 4):
            changed = bytes([page[0] & 0x3F, page[1], page[2] & ~0x04 | wce]) + page[3:20]
            self.session.good('MODE SELECT', 1, bytes([0x15, 0x10, 0, 0, 24, 0]), out=bytes(4) + changed)
            self.assertEqual(self.disk.mode_page(0x08)[1][2] & 4, wce)

    def test_06_writable(self):
        # [classpnp] ClassIsDiskWritable: MODE SENSE of all pages, bit 7 of the device-specific byte.
        device, pages = self.disk.mode_page(0x3F)
        self.assertFalse(device & 0x80)
        # [disk] failure prediction asks for page 1Ch
        self.assertEqual(self.disk.mode_page(0x1C)[1][0] & 0x3F, 0x1C)
        self.assertIn(0x1C, pages)

    def test_07_limits(self):
        # [classpnp] ClasspDeviceGetBlockLimitsVPDPage: at least 24h bytes and the page code, else no limits are known;
        # UNMAP COUNT and DESCRIPTOR COUNT of 0 would mean: no UNMAP.
        body = self.disk.vpd(0xB0)
        self.assertGreaterEqual(4 + len(body), 0x24)
        granularity, longest, optimal = struct.unpack('>HII', body[2:12])
        self.assertEqual(granularity, 8)
        self.assertGreaterEqual(longest * 512, MIB)        # Windows splits at 1 MiB or the adapter's limit, if less
        self.assertLessEqual(optimal, longest)
        lbas, descriptors, slab, alignment = struct.unpack('>IIII', body[16:32])
        self.assertGreater(lbas, 0)
        self.assertGreater(descriptors, 0)
        # [thin] "The OPTIMAL UNMAP GRANULARITY parameter … sets the slab size"; [lbp] UnmapGranularityAlignmentValid
        self.assertEqual((slab * 512, alignment), (65536, 0x80000000))
        # [classpnp] ClasspDeviceGetBlockDeviceCharacteristicsVPDPage: rate 1: no seek penalty
        self.assertEqual(struct.unpack('>H', self.disk.vpd(0xB1)[:2])[0], 1)

    def test_08_thin(self):
        # [thin] "reports its provisioning type and UNMAP and TRIM capability according to the SBC3 specification";
        # [classpnp] ClasspDeviceGetLBProvisioningVPDPage: at least 8 bytes; LBPU, LBPRZ, type 2: thin
        body = self.disk.vpd(0xB2)
        self.assertGreaterEqual(4 + len(body), 8)
        self.assertTrue(body[1] & 0x80)
        self.assertTrue(body[1] & 0x04)  # "file system level trim is enabled for a … “read return zero”"
        self.assertEqual(body[2] & 0x07, 2)
        self.assertGreater(body[0], 0)   # the exponent in which the log page counts

    # ---- space: file system, Optimize-Volume, storage management

    def used(self):
        """(available, used) bytes of the log page, as classpnp computes them for the system event."""
        # [thin] "the storage array must support the log page specification for logical block provisioning"
        data = self.disk.get('LOG SENSE', struct.pack('>BBBBBHHB', 0x4D, 0, 0x4C, 0, 0, 0, 255, 0), 255)
        self.assertEqual(data[0] & 0x3F, 0x0C)
        unit, found, at = 512 << self.disk.vpd(0xB2)[0], {}, 4
        while at < 4 + struct.unpack('>H', data[2:4])[0]:
            code, control, length = struct.unpack('>HBB', data[at:at + 4])
            self.assertEqual((control & 3, length), (3, 8))
            found[code] = struct.unpack('>I', data[at + 4:at + 8])[0] * unit
            at += 4 + length
        return found[1], found[2]

    def test_09_slabs(self):
        # [thin] "retrieve the mapped or unmapped state of each slab in a particular range … If the LBA provisioning
        # status returned doesn't describe the entire allocation range, the application sends another SCSI command"
        lba, blocks = 100 * MIB // 512, 16 * MIB // 512
        before = self.used()
        for at in range(0, blocks, 2048):
            self.session.write(1, lba + at, b'\x22' * MIB)
        after = self.used()
        self.assertEqual(after[1] - before[1], 16 * MIB)
        self.assertEqual(before[0] - after[0], 16 * MIB)
        runs = self.disk.lba_status(lba, 4096)
        self.assertEqual(runs[0], (lba, blocks, 0))
        self.assertEqual(runs[1][0::2], (lba + blocks, 1))
        # Optimize-Volume: UNMAP of whole slabs, several descriptors a command
        slab = 128
        status, sense, _ = self.disk.unmap((lba, 8 * slab), (lba + 16 * slab, slab))
        self.assertEqual(status, GOOD, sense)
        self.assertEqual(self.disk.lba_status(lba, 8 + 4 * 16), [
            (lba, 8 * slab, 1), (lba + 8 * slab, 8 * slab, 0), (lba + 16 * slab, slab, 1),
            (lba + 17 * slab, blocks - 17 * slab, 0)])
        # what room there is for one descriptor: the next command goes on behind it
        at, seen = lba, []
        while at < lba + blocks:
            runs = self.disk.lba_status(at, 24)
            self.assertEqual((len(runs), runs[0][0]), (1, at))
            seen.append(runs[0][2])
            at += runs[0][1]
        self.assertEqual(seen, [1, 0, 1, 0])
        self.assertEqual(self.session.read(1, lba, 8), bytes(4096))
        # a real-time TRIM of a deleted file, and nothing at all
        self.assertEqual(self.disk.unmap((lba, blocks))[0], GOOD)
        self.assertEqual(self.disk.unmap()[0], GOOD)
        self.assertEqual(self.disk.lba_status(lba, 24)[0][2], 1)

    # ---- offloaded data transfer: Explorer, robocopy, Hyper-V

    def ranges(self, *pairs):
        """BLOCK_DEVICE_RANGE_DESCRIPTORs: LogicalBlockAddress[8], TransferLength[4], Reserved[4]."""
        return b''.join(struct.pack('>QIxxxx', lba, blocks) for lba, blocks in pairs)

    def token_information(self, disk, list_id):
        """[odx-info] AvailableData[4], ResponseToServiceAction, OperationStatus, OperationCounter[2],
        EstimatedStatusUpdateDelay[4], CompletionStatus, SenseDataFieldLength, SenseDataLength, TransferCountUnits,
        TransferCount[8], SegmentsProcessed[2], Reserved[6], SenseData; [odx-resp] then TokenDescriptorsLength[4] and the
        descriptors of 2 + 512 bytes. (action, status, blocks, token)"""
        data = disk.get('RECEIVE ROD TOKEN INFORMATION', struct.pack('>BBIxxxxIxx', 0x84, 0x07, list_id, 1024), 1024)
        self.assertEqual(struct.unpack('>I', data[:4])[0], len(data) - 4)
        self.assertEqual(data[15], 0xF1)  # TRANSFER_COUNT_UNITS_NUMBER_BLOCKS
        at = 32 + data[13]
        length = struct.unpack('>I', data[at:at + 4])[0]
        self.assertIn(length, (0, 2 + 512))
        return data[4] & 0x1F, data[5] & 0x7F, struct.unpack('>Q', data[16:24])[0], data[at + 6:at + 4 + length]

    def test_095_offloaded_transfer(self):
        # [odx-page] "For offload data transfer on Windows, PageLength must be >= 0x24"; the descriptors contain one that is
        # formatted as a WINDOWS_BLOCK_DEVICE_TOKEN_LIMITS_DESCRIPTOR: the first
        # even where the page is longer than the allocation length.
        data = self.disk.get('VPD 8Fh', struct.pack('>BBBBBB', 0x12, 1, 0x8F, 0, VPD_MAX_BUFFER, 0), VPD_MAX_BUFFER)
        page = data[4:]
        self.assertEqual(data[1], 0x8F)
        self.assertGreaterEqual(struct.unpack('>H', data[2:4])[0], 0x24)
        kind, length, most, longest, default, largest, optimal = struct.unpack('>HHxxxxxxHIIQQ', page[:36])
        self.assertEqual((kind, length), (0, 0x20))
        # [odx-limit] what may be asked for at most, and the time of a token whose InactivityTimeout is 0
        self.assertGreater(most, 0)
        self.assertGreaterEqual(longest, default)
        self.assertGreater(default, 0)
        self.assertGreaterEqual(largest, optimal)
        self.assertGreater(optimal, 0)
        self.array.ctl('lun', 'create', 'copies', '--size', '64M')
        number = self.array.ctl('map', 'copies', 'win')['number']
        self.session.report_luns()
        self.session.good('TEST UNIT READY', number, bytes(6))
        copies, lba, blocks = Disk(self.session, number), 256 * 2048, 8 * 2048
        old = bytes(range(256)) * (MIB // 256)
        for at in range(0, blocks, 2048):
            self.session.write(1, lba + at, old)
        # [odx] 1. "a copy application sends an offload read request to the copy manager of the source storage device";
        # [odx-read] PopulateTokenDataLength[2], Immediate, Reserved, InactivityTimeout[4], Reserved[4], Reserved[2],
        # BlockDeviceRangeDescriptorListLength[2]
        body = struct.pack('>BxIxxxxxxH', 0, 0, 32) + self.ranges((lba, blocks // 2), (lba + blocks // 2, blocks // 2))
        data = struct.pack('>H', len(body)) + body
        cdb = struct.pack('>BBxxxxIIxx', 0x83, 0x10, 0x80001, len(data))
        self.assertEqual(self.disk.send(cdb, out=data)[:2], (GOOD, (0, 0)))
        # [odx] 2. "the copy manager returns a token", a representation of the data; OPERATION_COMPLETED_WITH_SUCCESS
        action, status, count, token = self.token_information(self.disk, 0x80001)
        self.assertEqual((action, status, count, len(token)), (0x10, 0x01, blocks, 512))
        self.session.write(1, lba, b'\x44' * MIB)  # the token is of an instant
        # [odx] 3. "sends an offload write request with the token to the copy manager of the destination";
        # [odx-write] WriteUsingTokenDataLength[2], Immediate, Reserved[5], BlockOffsetIntoToken[8], Token[512],
        # Reserved[6], BlockDeviceRangeDescriptorListLength[2]
        body = struct.pack('>BxxxxxQ', 0, 0) + token + struct.pack('>xxxxxxH', 16) + self.ranges((4096, blocks))
        data = struct.pack('>H', len(body)) + body
        cdb = struct.pack('>BBxxxxIIxx', 0x83, 0x11, 0x80002, len(data))
        self.assertEqual(copies.send(cdb, out=data)[:2], (GOOD, (0, 0)))
        # [odx] 4. "the copy manager moves the data and returns the result"
        self.assertEqual(self.token_information(copies, 0x80002), (0x11, 0x01, blocks, b''))
        for at in range(0, blocks, 2048):
            self.assertEqual(self.session.read(number, 4096 + at, 2048), old)
        # [odx-token] STORAGE_OFFLOAD_TOKEN_TYPE_ZERO_DATA, TokenIdLength 504: zeros
        zero = struct.pack('>IHH', 0xFFFF0001, 0, 504) + bytes(504)
        body = struct.pack('>BxxxxxQ', 1, 0) + zero + struct.pack('>xxxxxxH', 16) + self.ranges((4096, 2048))
        data = struct.pack('>H', len(body)) + body
        self.assertEqual(copies.send(struct.pack('>BBxxxxIIxx', 0x83, 0x11, 0x80003, len(data)), out=data)[0], GOOD)
        end = time.monotonic() + PATIENCE_S
        while self.token_information(copies, 0x80003)[1] in (0x11, 0x12):  # in progress: asked again
            self.assertLess(time.monotonic(), end)
        self.assertEqual(self.token_information(copies, 0x80003)[1:3], (0x01, 2048))
        self.assertEqual(self.session.read(number, 4096, 8), bytes(4096))
        self.assertEqual(self.session.read(number, 4096 + 2048, 8), old[:4096])
        # a token that is none: the copy engine reads and writes instead
        body = struct.pack('>BxxxxxQ', 0, 0) + token[:400] + bytes(112) + struct.pack('>xxxxxxH', 16) + self.ranges((0, 8))
        data = struct.pack('>H', len(body)) + body
        status, sense, _ = copies.send(struct.pack('>BBxxxxIIxx', 0x83, 0x11, 0x80004, len(data)), out=data)
        self.assertEqual((status, sense), (CHECK, (5, 0x2305)))
        self.array.ctl('unmap', 'copies', 'win')
        self.array.ctl('lun', 'delete', 'copies')
        self.session.report_luns()

    # ---- changes while the disk is in use

    def test_10_luns_come_and_go(self):
        # [classpnp] 3Fh: IoInvalidateDeviceRelations, so the port driver sends REPORT LUNS; the command that met it is
        # sent again after 5 s: it must come once only, on one LUN, and never because of the host's own doing.
        self.session.good('TEST UNIT READY', 1, bytes(6))
        self.array.ctl('lun', 'create', 'second', '--size', '64M')
        number = self.array.ctl('map', 'second', 'win')
        status, sense, _ = self.disk.send(bytes(6))
        self.assertEqual((status, sense), (CHECK, (6, 0x3F0E)), number)
        self.assertEqual(self.disk.send(bytes(6))[0], GOOD)
        self.assertEqual(self.session.report_luns(), [1, 2])
        self.session.good('TEST UNIT READY', 2, bytes(6))
        self.array.ctl('unmap', 'second', 'win')
        # Who asks REPORT LUNS first (Windows' scan every half minute) needs no attention any more.
        self.assertEqual(self.session.report_luns(), [1])
        self.assertEqual(self.disk.send(bytes(6))[0], GOOD)
        self.assertEqual(self.session.command(2, bytes(6))[:2], (CHECK, (5, 0x2500)))

    def test_11_grown(self):
        # [thin] "When the … LUN capacity is changed, the storage array raises a UNIT ATTENTION": 2Ah/09h
        self.array.ctl('lun', 'resize', 'disk', '--size', '768M')
        status, sense, _ = self.disk.send(bytes(6))
        self.assertEqual((status, sense), (CHECK, (6, 0x2A09)))
        self.assertEqual(self.session.blocks(1) * 512, 768 * MIB)

    def test_12_persistent_reservation(self):
        # [pr-out] the service actions and types that the class driver passes on; PRO_PARAMETER_LIST has 24 bytes with
        # APTPL in byte 20. [pr-in] too small a buffer is success, with the needed size in the list.
        register, reserve, release, clear, preempt, preempt_abort, ignore = range(7)
        with Session(self.array, 'win', isid=3) as second:
            other = Disk(second, 1)
            second.good('TEST UNIT READY', 1, bytes(6))
            self.assertEqual(self.disk.pr_out(ignore, 0, 0xA, aptpl=1), GOOD)
            self.assertEqual(other.pr_out(register, 0, 0xB, aptpl=1), GOOD)
            for kind in (1, 3, 5, 6):
                self.assertEqual(self.disk.pr_out(reserve, 0xA, kind=kind), GOOD)
                data = self.disk.pr_in(1, 24)
                self.assertEqual((struct.unpack('>Q', data[8:16])[0], data[21]), (0xA, kind))
                self.assertEqual(self.disk.pr_out(release, 0xA, kind=kind), GOOD)
            self.session.command(1, bytes(6))
            second.command(1, bytes(6))
            data = self.disk.pr_in(0, 8)
            self.assertEqual((len(data), struct.unpack('>I', data[4:8])[0]), (8, 16))
            self.assertEqual(self.disk.pr_out(reserve, 0xA, kind=5), GOOD)
            self.assertEqual(other.pr_out(preempt, 0xB, 0xA, kind=5), GOOD)
            self.assertEqual(self.disk.send(bytes(6))[1], (6, 0x2A05))
            cdb = struct.pack('>BBQIBB', 0x8A, 0, 0, 8, 0, 0)
            self.assertEqual(self.disk.send(cdb, out=bytes(4096))[0], CONFLICT)
            # what a reserved disk still tells anybody: identity, capacity, its reservation
            self.assertEqual(len(self.disk.vpd(0x80)), 32)
            self.assertEqual(self.session.blocks(1) * 512, 768 * MIB)
            self.assertEqual(self.disk.pr_out(ignore, 0, 0xA), GOOD)
            self.assertEqual(other.pr_out(preempt_abort, 0xB, 0xA, kind=5), GOOD)
            self.assertEqual(other.pr_out(clear, 0xB), GOOD)

    # ---- the end of space

    def test_13_threshold_and_exhaustion(self):
        # [thin] crossing the threshold: "terminates the command by using sense data and sends a THIN PROVISIONING SOFT
        # THRESHOLD REACHED message", "The terminated command is retried"; [hlk-thin] 70 percent is the default, and the
        # log page must then say so. Exhausted: "SPACE ALLOCATION FAILED WRITE PROTECT": 27h/07h, and reads go on.
        self.array.ctl('lun', 'create', 'filler', '--size', '2G')
        number = self.array.ctl('map', 'filler', 'win')['number']
        seen, at, chunk = [], 0, b'\x33' * MIB
        self.session.report_luns()
        available, used = self.used()
        total = available + self.pool_used()
        while at < 4 << 30:
            cdb = struct.pack('>BBQIBB', 0x8A, 0, at // 512 % (4 << 20), 2048, 0, 0)
            status, sense, _ = self.session.command(number, cdb, out=chunk)
            if status == GOOD:
                at += MIB
                continue
            if sense == (6, 0x3807):
                seen.append(self.used()[0])
                continue
            if sense[0] == 6:
                continue
            self.assertEqual((status, sense), (CHECK, (7, 0x2707)))
            break
        self.assertEqual(len(seen), 1, 'one warning')
        self.assertAlmostEqual(seen[0] / total, 0.30, delta=0.05)
        self.assertEqual(self.session.read(number, 0, 8), b'\x33' * 4096)
        status, sense, _ = self.session.command(number, struct.pack('>BBQIBB', 0x8A, 0, 0, 8, 0, 0), out=bytes(4096))
        self.assertIn((status, sense), [(GOOD, sense), (CHECK, (7, 0x2707))])
        # the administrator's view of the mode page: 1Ch/02h says what the threshold was
        data = self.disk.get('MODE SENSE(10)', struct.pack('>BBBBxxxHx', 0x5A, 8, 0x1C, 2, 64), 64)
        unit = 512 << self.disk.vpd(0xB2)[0]
        self.assertAlmostEqual(struct.unpack('>I', data[28:32])[0] * unit / total, 0.30, delta=0.02)

    def pool_used(self):
        return self.array.ctl('status')['pool']['used_bytes']


if __name__ == '__main__':
    unittest.main(argv=sys.argv[:1], verbosity=1, failfast=False)
