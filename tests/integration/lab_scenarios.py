#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""From the COM call to the array and back: the life of shadow copy sets with umbrad, the provider and the lab.

One world for all scenarios; each brings LUNs of its own and leaves nothing behind."""
import os
import re
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from lab_tgt import Tgt  # noqa: E402
from lab_world import BLOCK, MIB, World, labhost, lun_of  # noqa: E402

ORDER = ['AreLunsSupported', 'BeginPrepareSnapshot', 'EndPrepareSnapshots', 'PreCommitSnapshots', 'CommitSnapshots',
         'PostCommitSnapshots', 'GetTargetLuns', 'PreFinalCommitSnapshots', 'PostFinalCommitSnapshots', 'LocateLuns',
         'FillInLunInfo']


def setUpModule():
    global world
    world = World()
    try:
        world.add_luns(4)
    except BaseException:
        world.close()
        raise


def tearDownModule():
    if not world.close():
        raise RuntimeError('processes were left')


def pattern(seed, blocks=16):
    """Blocks that differ from each other and with the seed."""
    return b''.join((f'{seed}/{i};'.encode() * BLOCK)[:BLOCK] for i in range(blocks))


class Scenario(unittest.TestCase):
    def setUp(self):
        self.assertTrue(world.nothing_left(8), f'an earlier scenario left {world.shadows()} {world.sets()}')

    def tearDown(self):
        world.clear_away()  # what a failed one left

    def delete(self, host, done):
        world.vss(host, 'delete', done['set'])
        self.assertTrue(world.nothing_left(10), f'left: {world.shadows()} {world.sets()}')

    def check_copies(self, done, host, before):
        """before: {number of the original: what it held at the instant}. The originals are changed now; the shadow
        LUNs keep what was, and take writes that the originals do not see."""
        originals = {lun['serial']: lun['lun'] for lun in done['luns'] if lun['role'] == 'original'}
        shadows = [lun for lun in done['luns'] if lun['role'] == 'shadow']
        self.assertEqual(len(shadows), len(before))
        for number in before:
            world.write('A', number, 0, pattern('later'))
        for lun in shadows:
            number = originals.get(lun['pair'], lun.get('original_number'))
            data = before[number]
            blocks = len(data) // BLOCK
            self.assertEqual(world.read(host, lun['lun'], 0, blocks), data, f'shadow of {number}')
            world.write(host, lun['lun'], 1, b'w' * BLOCK)
            self.assertEqual(world.read(host, lun['lun'], 1, 1), b'w' * BLOCK)
            self.assertEqual(world.read('A', number, 0, 16), pattern('later'))


class Creation(Scenario):
    def create(self, *volumes, before=None):
        words = [w for v in volumes for w in ('--lun', v)]
        done = world.vss('A', 'create', *words)
        self.assertEqual(done['hresult'], '0x00000000')
        return done

    def fill(self, *numbers):
        before = {}
        for number in numbers:
            before[number] = pattern(f'lun {number} {time.time_ns()}')
            world.write('A', number, 0, before[number])
        return before

    def test_one_lun(self):
        before = self.fill(1)
        done = self.create('1')
        methods = [call['method'] for call in done['calls']]
        seen = [m for m in dict.fromkeys(methods) if m in ORDER]
        self.assertEqual(seen, ORDER)
        self.assertEqual([s['state'] for s in world.sets()], ['kept'])
        self.check_copies(done, 'A', before)
        self.assertEqual(len(world.vss('A', 'list')['sets']), 1)
        self.delete('A', done)
        self.assertEqual(world.vss('A', 'list')['sets'], [])
        self.assertEqual(len(world.vss('A', 'scan')['luns']), 4)

    def test_two_luns(self):
        before = self.fill(1, 2)
        done = self.create('1', '2')
        self.assertEqual(len(world.shadows()), 2)
        self.check_copies(done, 'A', before)
        self.delete('A', done)

    def test_several_volumes_on_one_lun(self):
        before = self.fill(3)
        done = self.create('3', '3', '3')
        self.assertEqual(len(world.shadows()), 1)
        self.check_copies(done, 'A', before)
        self.delete('A', done)

    def test_a_volume_over_several_luns(self):
        before = self.fill(1, 2, 3)
        done = self.create('1,2,3')
        self.check_copies(done, 'A', before)
        self.delete('A', done)

    def test_volumes_that_share_luns(self):
        before = self.fill(1, 2, 3, 4)
        done = self.create('1,2', '2,3', '4')
        self.assertEqual(len(world.shadows()), 4)
        self.check_copies(done, 'A', before)
        self.delete('A', done)

    def test_targets_after_the_final_commit(self):
        before = self.fill(1)
        done = world.vss('A', 'create', '--lun', 1, '--targets-after', 'final')
        self.check_copies(done, 'A', before)
        self.delete('A', done)

    def test_sets_live_side_by_side_and_a_shadow_of_a_shadow(self):
        self.fill(1)
        first = self.create('1')
        second = self.create('1')
        self.assertEqual(len(world.shadows()), 2)
        third = self.create(str(lun_of(second, 'shadow')['lun']))  # a copy of the copy
        self.assertEqual(len(world.shadows()), 3)
        world.vss('A', 'delete', first['set'])
        self.assertEqual(len(world.shadows()), 2)
        world.vss('A', 'delete', third['set'])
        self.delete('A', second)

    def test_differential_context(self):
        done = world.vss('A', 'create', '--lun', 1, '--context', 'differential')
        self.delete('A', done)

    def test_plex_context(self):
        before = self.fill(1, 2)
        done = world.vss('A', 'create', '--lun', 1, '--lun', 2, '--context', 'plex')
        self.assertEqual([row['copy_kind'] for row in world.shadows()], ['plex', 'plex'])
        self.check_copies(done, 'A', before)
        self.delete('A', done)

    def test_both_kinds_at_once_are_not_supported_and_leave_nothing(self):
        done = world.vss('A', 'create', '--lun', 1, '--context', 'differential,plex', want=1)
        self.assertEqual(done['hresult_name'], 'VSS_E_VOLUME_NOT_SUPPORTED')
        self.assertTrue(world.nothing_left())

    def test_client_accessible_is_the_system_providers(self):
        done = world.vss('A', 'create', '--lun', 1, '--context', 'client-accessible', '--any-context', want=1)
        self.assertEqual(done['hresult_name'], 'VSS_E_VOLUME_NOT_SUPPORTED')

    def test_not_imported_is_kept_for_the_administrator(self):
        world.vss('A', 'create', '--lun', 1, '--no-import')
        rows = world.shadows()
        self.assertEqual([r['mappings'] for r in rows], [0])
        world.array.ctl('shadow', 'delete', rows[0]['id'])
        self.assertTrue(world.nothing_left(10))

    def test_bursts_of_deletes(self):
        sets = [self.create('1', '2') for _ in range(4)]
        for done in sets:
            world.vss('A', 'delete', done['set'])
        self.assertTrue(world.nothing_left(10))

    def test_deleting_twice_is_not_found(self):
        done = self.create('1')
        self.delete('A', done)
        again = world.vss('A', 'delete', done['set'], want=1)
        self.assertEqual(again['hresult_name'], 'VSS_E_OBJECT_NOT_FOUND')


class Many(Scenario):
    def many(self, count):
        numbers = world.add_luns(count, size='4M', prefix=f'many{count}-')
        try:
            before = {n: pattern(f'many {n}', 4) for n in numbers}
            session = world.session('A')
            for n in numbers:
                session.write(n, 0, before[n])
            session.close()
            done = world.vss('A', 'create', *[w for n in numbers for w in ('--lun', n)])
            row = world.sets()[0]
            print(f"{count} LUNs: CommitSnapshots {done['commit_ms']:.1f} ms, hold {done['hold_ms']:.1f} ms, window "
                  f"{row['window_ns'] / 1000:.1f} us, durable {row['durable_ns'] / 1e6:.2f} ms, whole "
                  f"{done['phases'][-1]['start_ms'] + done['phases'][-1]['ms']:.0f} ms", file=sys.stderr)
            self.assertEqual(len(world.shadows()), count)
            session = world.session('A')
            originals = {lun['serial']: lun['lun'] for lun in done['luns'] if lun['role'] == 'original'}
            for lun in (lun for lun in done['luns'] if lun['role'] == 'shadow'):
                self.assertEqual(session.read(lun['lun'], 0, 4), before[originals[lun['pair']]])
            session.close()
            self.delete('A', done)
        finally:
            for i in range(1, count + 1):
                world.array.ctl('unmap', f'many{count}-{i}', 'A', check=False)
                world.array.ctl('lun', 'delete', f'many{count}-{i}', check=False)
            world.rescan('A')

    def test_16_luns(self):
        self.many(16)

    def test_64_luns(self):
        self.many(64)

    def test_65_luns_are_refused(self):
        numbers = world.add_luns(65, size='4M', prefix='many65-')
        try:
            done = world.vss('A', 'create', '--lun', ','.join(map(str, numbers)), want=1)
            self.assertEqual(done['hresult_name'], 'VSS_E_MAXIMUM_NUMBER_OF_SNAPSHOTS_REACHED')
            world.vss('A', 'unload', '--force')  # as VSS ends: the set that was never done goes
            self.assertTrue(world.nothing_left(8), world.sets())
        finally:
            for i in range(1, 66):
                world.array.ctl('unmap', f'many65-{i}', 'A', check=False)
                world.array.ctl('lun', 'delete', f'many65-{i}', check=False)
            world.rescan('A')


class Transport(Scenario):
    def test_to_the_second_host(self):
        document = os.path.join(world.directory, 'set.json')
        before = {n: pattern(f'transport {n}') for n in (1, 2)}
        for n in before:
            world.write('A', n, 0, before[n])
        done = world.vss('A', 'create', '--lun', 1, '--lun', 2, '--transportable', document)
        self.assertEqual([row['mappings'] for row in world.shadows()], [0, 0])
        self.assertEqual(len(world.vss('A', 'scan')['luns']), 4)
        for n in before:
            world.write('A', n, 0, pattern('after'))
        imported = world.vss('B', 'import', document)
        self.assertEqual(imported['hresult'], '0x00000000')
        pairs = {lun['serial']: lun['lun'] for lun in done['luns'] if lun['role'] == 'original'}
        for lun in (lun for lun in imported['luns'] if lun['role'] == 'shadow'):
            self.assertEqual(world.read('B', lun['lun'], 0, 16), before[pairs[lun['pair']]])
        # A second import fails cleanly: on the same host, and elsewhere nothing changes for the first.
        again = world.vss('B', 'import', document, want=1)
        self.assertEqual(again['hresult_name'], 'VSS_E_OBJECT_ALREADY_EXISTS')
        for lun in (lun for lun in imported['luns'] if lun['role'] == 'shadow'):
            self.assertEqual(world.read('B', lun['lun'], 0, 16), before[pairs[lun['pair']]])
        self.delete('B', imported)

    def test_an_import_of_what_is_gone(self):
        document = os.path.join(world.directory, 'gone.json')
        world.vss('A', 'create', '--lun', 1, '--transportable', document)
        for row in world.shadows():
            world.array.ctl('shadow', 'delete', row['id'])
        done = world.vss('B', 'import', document, want=1)
        self.assertNotEqual(done['hresult'], '0x00000000')
        self.assertTrue(world.nothing_left(10))

    def test_a_host_without_the_right(self):
        document = os.path.join(world.directory, 'denied.json')
        world.vss('A', 'create', '--lun', 1, '--transportable', document)
        world.array.ctl('host', 'set', 'B', '--import', 'own')
        try:
            done = world.vss('B', 'import', document, want=1)
            self.assertNotEqual(done['hresult'], '0x00000000')
            self.assertEqual([row['mappings'] for row in world.shadows()], [0])
        finally:
            world.array.ctl('host', 'set', 'B', '--import', 'any')
        done = world.vss('B', 'import', document)
        self.delete('B', done)


class Flags(Scenario):
    """The partition table's flags: on the copy, not on the original."""

    def setUp(self):
        super().setUp()
        self.image = os.path.join(world.directory, 'gpt.img')
        with open(self.image, 'wb') as image:
            image.truncate(8 * MIB)
        subprocess.run(['sgdisk', '--clear', '--new=1:2048:0', '--typecode=1:0700', self.image], check=True,
                       capture_output=True)
        with open(self.image, 'rb') as image:
            whole = image.read()
        session = world.session('A')
        for at in range(0, len(whole), MIB // 4):
            if any(whole[at:at + MIB // 4]):
                session.write(4, at // BLOCK, whole[at:at + MIB // 4])
        session.close()

    def attributes(self, host, number):
        """The attribute bits of the first partition, as sgdisk reads them from both copies of the table."""
        session = world.session(host)
        data = b''.join(session.read(number, at // BLOCK, MIB // 4 // BLOCK) for at in range(0, 8 * MIB, MIB // 4))
        session.close()
        with open(self.image, 'wb') as image:
            image.write(data)
        check = subprocess.run(['sgdisk', '--verify', self.image], capture_output=True, text=True)
        self.assertIn('No problems found', check.stdout)
        shown = subprocess.run(['sgdisk', '--info=1', self.image], check=True, capture_output=True, text=True).stdout
        return int(re.search(r'Attribute flags: ([0-9A-F]+)', shown)[1], 16)

    def test_flags_on_the_shadow_only(self):
        self.assertEqual(self.attributes('A', 4), 0)
        done = world.vss('A', 'create', '--lun', 4)
        self.assertEqual(lun_of(done, 'original')['table'], 'gpt')
        self.assertEqual(lun_of(done, 'shadow')['table'], 'gpt+flags')
        self.assertEqual(self.attributes('A', 4), 0)
        # GPT attribute bits 60 read-only, 61 shadow copy, 62 hidden, 63 no drive letter
        self.assertEqual(self.attributes('A', lun_of(done, 'shadow')['lun']) >> 60, 0xF)
        self.delete('A', done)

    def test_a_failed_set_clears_them_too(self):
        bridge = world.state.host('A').bridge
        bridge.control('fault', 'silent', '--op', 'b5', '--skip', '4', '--count', '0')
        bridge.control('fault', 'silent', '--op', 'c5', '--count', '0')
        try:
            world.vss('A', 'create', '--lun', 4, want=None)
        finally:
            bridge.control('fault', 'clear')
        self.assertEqual(self.attributes('A', 4), 0)
        self.assertTrue(world.nothing_left(15), world.sets())


class Foreign(Scenario):
    """Another array's LUN beside ours: never claimed, never touched."""

    def test_a_mix_is_not_supported(self):
        tgt = Tgt(world.directory)
        self.addCleanup(tgt.close)
        tgt.add_lun(1, 8 * MIB)
        host = world.state.host('A')
        host.down()
        world.state.configure('A', dict(tgt.settings(), initiator='iqn.1991-05.com.microsoft:lab-a'), adapter=1)
        try:
            world.state.host('A').up()
            scan = world.vss('A', 'scan')['luns']
            foreign = [lun for lun in scan if lun['port'] == 1]
            self.assertEqual(len(foreign), 1)
            drive = f"d{foreign[0]['drive']}"
            ours = f"d{[lun for lun in scan if lun['port'] == 0 and lun['lun'] == 1][0]['drive']}"
            for volumes in ([drive], [f'{ours},{drive}'], [ours, drive]):
                done = world.vss('A', 'create', *[w for v in volumes for w in ('--lun', v)], want=1)
                self.assertEqual(done['hresult_name'], 'VSS_E_VOLUME_NOT_SUPPORTED', volumes)
            # What was begun for the first volume goes with its lease, or with the next set.
            done = world.vss('A', 'create', '--lun', ours)
            self.delete('A', done)
        finally:
            world.state.host('A').down()
            world.state.drop_adapter('A', 1)
            world.state.host('A').up()


class Order(Scenario):
    """Cross-LUN order: whoever waits for A before writing B never sees B without A in a copy."""

    def writer(self, *options):
        ready = os.path.join(world.directory, f'writer-{time.time_ns()}.ready')
        urls = ['--a', world.array.url('A', 1), '--b', world.array.url('A', 2), '--initiator', world.array.hosts['A'][0]]
        process = subprocess.Popen([labhost.need_program('umbra-lab-writer'), 'run', *urls, '--streams', '8',
                                    '--pause-us', '200', '--ready', ready, *options], stdin=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, text=True)
        self.addCleanup(self.end, process)
        self.assertTrue(labhost.wait_until(lambda: os.path.exists(ready) or process.poll() is not None, labhost.PATIENCE_S))
        self.assertIsNone(process.poll(), 'the writer ended')
        return process

    def end(self, process):
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=labhost.PATIENCE_S)[1]
        self.assertEqual(process.returncode, 0, said)

    def verify(self, done, *options):
        pairs = {lun['serial']: lun['lun'] for lun in done['luns'] if lun['role'] == 'original'}
        numbers = {pairs[lun['pair']]: lun['lun'] for lun in done['luns'] if lun['role'] == 'shadow'}
        checked = subprocess.run([labhost.need_program('umbra-lab-writer'), 'verify', '--a',
                                  world.array.url('A', numbers[1]), '--b', world.array.url('A', numbers[2]),
                                  '--initiator', world.array.hosts['A'][0], '--streams', '8', *options],
                                 capture_output=True, text=True, timeout=600)
        self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)

    def test_held_writers_stand_still(self):
        ledger = os.path.join(world.directory, 'ledger')
        self.writer('--hold', str(world.hold_port), '--ledger', ledger)
        done = world.vss('A', 'create', '--lun', 1, '--lun', 2, '--hold-ms', 300)
        self.assertEqual(done['writers'], 1)
        self.assertGreaterEqual(done['hold_ms'], 300)
        self.verify(done)
        self.delete('A', done)

    def test_the_array_alone_keeps_the_order(self):
        self.writer('--no-hold')
        for _ in range(5):
            done = world.vss('A', 'create', '--lun', 1, '--lun', 2)
            self.assertEqual(done['writers'], 0)
            self.verify(done)
            world.vss('A', 'delete', done['set'])
        self.assertTrue(world.nothing_left(10))


class Registration(Scenario):
    def test_twice_each_way(self):
        for _ in range(2):
            self.assertEqual(world.run('A', 'umbra-vss.exe', 'install').returncode, 0)
        self.assertEqual(len(world.run('A', 'umbra-lab-requester.exe', 'providers').stdout.splitlines()), 1)
        for _ in range(2):
            self.assertEqual(world.run('A', 'umbra-vss.exe', 'uninstall').returncode, 0)
        done = world.vss('A', 'create', '--lun', 1, want=1)
        self.assertEqual(done['hresult_name'], 'VSS_E_PROVIDER_NOT_REGISTERED')
        self.assertEqual(world.run('A', 'umbra-vss.exe', 'install').returncode, 0)
        self.delete('A', world.vss('A', 'create', '--lun', 1))

    def test_the_provider_is_loaded_anew_after_an_unload(self):
        done = world.vss('A', 'create', '--lun', 1)
        world.vss('A', 'unload', '--force')
        self.delete('A', done)


class CommandLine(Scenario):
    """lab/lab vss, as a user types it: paths of this machine, exit codes, another provider by its class."""

    def lab(self, *words, want=0):
        done = subprocess.run([sys.executable, os.path.join(labhost.ROOT, 'lab', 'lab'), '--state', world.state.path,
                               'vss', *words],
                              cwd=world.directory, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
        self.assertEqual(done.returncode, want, f'{words}: {done.stdout}{done.stderr}')
        return done.stdout + done.stderr

    def test_create_list_import_delete(self):
        self.lab('create', '--lun', '1', '--lun', '2,3', '--transportable', 'here.json', '--hold-ms', '20')
        self.assertTrue(os.path.exists(os.path.join(world.directory, 'here.json')))
        said = self.lab('--host', 'B', 'import', 'here.json', '--json')
        set_id = labhost.json_in(said)['set']
        self.assertIn(set_id, self.lab('--host', 'B', 'list'))
        self.lab('--host', 'B', 'delete', set_id)
        self.assertTrue(world.nothing_left(10))
        self.lab('--host', 'B', 'delete', set_id, want=1)

    def test_a_provider_by_its_class(self):
        said = world.run('A', 'umbra-lab-requester.exe', 'providers').stdout
        clsid = re.search(r'class (\{[-0-9A-F]+\})', said)[1]
        done = labhost.json_in(self.lab('--provider-clsid', clsid, 'create', '--lun', '1', '--json'))
        self.lab('delete', done['set'])
        self.assertTrue(world.nothing_left(10))
        said = self.lab('--provider-clsid', '{00000000-0000-0000-0000-000000000001}', 'create', '--lun', '1', want=1)
        self.assertIn('no provider is registered', said)

    def test_wrong_usage(self):
        self.lab(want=2)
        self.lab('create', want=2)
        self.lab('create', '--lun', 'x', want=2)
        self.lab('create', '--lun', '99', want=1)
        self.lab('import', 'no-such-file.json', want=1)
        self.assertIn('usage', self.lab('--help-requester'))


if __name__ == '__main__':
    unittest.main(verbosity=2)
