#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An array that is slow or away in mid commit (SlowCommit); one of two paths that falls silent then (Paths); deaths during
an import on another host and during a deletion (OtherDeaths).

    lab_faults.py [CLASS]
"""
import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab_steps  # noqa: E402
from lab_world import World, labhost  # noqa: E402

LEASE_S = 15  # longer than what the tests delay and want to succeed
LUNS = 2     # of host A, and so its ways to the array: a commit that one of them does not carry goes over the other, too
ENDLESS_MS = int(lab_steps.HOLD_MS)
VETO = 'VSS_E_PROVIDER_VETO'


world = None  # of the class that runs


def run_windows(world, program, *arguments, codes=(0,)):
    """One of Windows' own programs on host A."""
    host = world.state.host('A')
    done = host.run(os.path.join(host.prefix, 'drive_c/windows/system32', program), *arguments, capture=True, timeout=lab_steps.PATIENCE_S)
    assert done.returncode in codes, f'{program} {arguments}: {done.stdout}{done.stderr}'


def end_provider(world):
    """It ends, whatever hangs in it: nothing that comes back late meets the faults of what follows."""
    run_windows(world, 'net.exe', 'stop', 'umbra-vss', codes=(0, 1, 2))  # it may have ended by itself


def no_later(ms, limit_ms, why):
    if ms >= limit_ms:
        raise lab_steps.Late(f'{why}: {ms} ms')


class Faults(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        global world
        world = World(copysets={'lease': f'{LEASE_S}s', 'host_gone': '30s'})
        try:
            world.add_luns(LUNS)
        except BaseException:
            world.close()
            raise

    @classmethod
    def tearDownClass(cls):
        if not world.close():
            raise RuntimeError('processes were left')

    def setUp(self):
        self.assertTrue(world.nothing_left(10), f'{world.sets()} {world.shadows()}')
        self.bridge = world.state.host('A').bridge
        self.addCleanup(self.clean_up)

    def clean_up(self):
        for name in world.hosts:
            lab_steps.let_go(world.state.host(name).bridge)
        if not world.array.process:
            world.start_array()
        world.clear_away()

    def afresh(self):
        end_provider(world)

    def hit_during(self, bridge, number, kind, start, strike):
        """Starts a request; strikes while its n-th step is held. (hit, exit code, answer)."""
        before = bridge.counters()['faults']
        bridge.control('fault', kind, '--op', lab_steps.POST, '--skip', str(number), '--ms', lab_steps.HOLD_MS)
        child = start()
        labhost.wait_until(lambda: bridge.counters()['faults'] > before or child.poll() is not None,
                           lab_steps.PATIENCE_S, 0.03)
        hit = bridge.counters()['faults'] > before
        if hit:
            if kind == 'delay-reply':  # the array has served it
                labhost.wait_until(lambda: bridge.counters()['held'] or child.poll() is not None, lab_steps.PATIENCE_S, 0.03)
            strike()
        lab_steps.let_go(bridge)
        code, answer = world.finish_vss(child)
        world.await_sessions()
        return hit, code, answer

    def works(self):
        done = world.vss('A', 'create', '--lun', 1, '--lun', 2)
        world.vss('A', 'delete', done['set'])
        self.assertTrue(world.nothing_left(10), f'{world.sets()} {world.shadows()}')


class SlowCommit(Faults):
    def commit_with(self, kind, ms, strike=lambda: None):
        """A creation whose commit meets the fault: exit code, answer, the call. What is held then stays so."""
        lab_steps.hold(self.bridge, *lab_steps.READS)
        child = world.start_vss('A', 'create', '--lun', 1, '--lun', 2)
        lab_steps.stop_when_armed(world.array, self.bridge, lambda: child.poll() is not None)
        self.bridge.control('fault', 'clear')
        before = self.bridge.counters()['faults']
        self.bridge.control('fault', kind, '--op', lab_steps.POST, '--ms', str(ms), '--count', str(LUNS))
        lab_steps.release(self.bridge)
        self.assertTrue(labhost.wait_until(lambda: self.bridge.counters()['faults'] > before, lab_steps.PATIENCE_S, 0.03))
        strike()
        code, answer = world.finish_vss(child)
        call = [c for c in answer['calls'] if c['method'] == 'CommitSnapshots'][0]
        self.assertGreater(call['ms'], min(ms, 4000) * 0.9, 'the fault did not meet the commit')
        return code, answer, call

    def works_afresh(self):
        self.afresh()
        self.works()

    def check_veto(self, code, answer, call):
        self.assertEqual(code, 1)
        no_later(call['ms'], 10000, 'VSS cancels the hold at ten seconds')
        self.assertEqual(answer['hresult_name'], VETO)
        self.assertIn('AbortSnapshots', [c['method'] for c in answer['calls']])

    @lab_steps.in_time
    def test_three_seconds_are_within_the_budget(self):
        for kind in ('delay', 'delay-reply'):
            code, answer, call = self.commit_with(kind, 3000)
            if code and answer['hresult_name'] == VETO and call['hresult'] != '0x00000000':
                raise lab_steps.Late(f'CommitSnapshots failed after {call["ms"]} ms')
            self.assertEqual(code, 0, answer)
            self.assertGreaterEqual(call['ms'], 3000)
            world.vss('A', 'delete', answer['set'])
            self.assertTrue(world.nothing_left(10))

    @lab_steps.in_time
    def test_a_commit_that_arrives_too_late(self):
        code, answer, call = self.commit_with('delay', ENDLESS_MS)
        self.check_veto(code, answer, call)
        lab_steps.release(self.bridge)  # now the request reaches the array
        self.assertTrue(world.nothing_left(LEASE_S + 8), f'{world.sets()} {world.shadows()}')
        self.works_afresh()

    @lab_steps.in_time
    def test_a_commit_whose_reply_comes_too_late(self):
        code, answer, call = self.commit_with('delay-reply', ENDLESS_MS)
        self.check_veto(code, answer, call)
        self.assertTrue(world.nothing_left(LEASE_S + 8), f'{world.sets()} {world.shadows()}')
        self.works_afresh()

    @lab_steps.in_time
    def test_no_answer_at_all(self):
        code, answer, call = self.commit_with('silent', ENDLESS_MS)
        self.check_veto(code, answer, call)
        self.assertTrue(world.nothing_left(LEASE_S + 8), f'{world.sets()} {world.shadows()}')
        self.works_afresh()

    @lab_steps.in_time
    def test_the_array_is_away_in_mid_commit(self):
        code, answer, call = self.commit_with('delay-reply', ENDLESS_MS, world.array.kill9)
        self.check_veto(code, answer, call)
        world.start_array()
        self.assertTrue(world.nothing_left(LEASE_S + 8), f'{world.sets()} {world.shadows()}')
        self.works_afresh()


class Paths(unittest.TestCase):
    """A host with two adapters, each with a session to the array: one falls silent in mid commit, without an error and
    without its link going down."""

    @classmethod
    def setUpClass(cls):
        cls.world = w = World(hosts=('A',), up=False, copysets={'lease': f'{LEASE_S}s', 'host_gone': '30s'})
        try:
            w.add_luns(2)
            w.state.configure('A', w.state.settings('A'), adapter=1)
            w.up('A')
            cls.bridges = w.state.host('A').bridges
            cls.trace = os.path.join(w.directory, 'trace')
            run_windows(w, 'reg.exe', 'add', r'HKLM\SOFTWARE\Umbra\Provider', '/v', 'TraceFile', '/t', 'REG_SZ', '/d',
                        labhost.windows_path(cls.trace), '/f')
        except BaseException:
            w.close()
            raise

    @classmethod
    def tearDownClass(cls):
        if not cls.world.close():
            raise RuntimeError('processes were left')

    def setUp(self):
        self.addCleanup(self.clean_up)
        self.assertEqual([b.counters()['sessions'] for b in self.bridges], [1, 1])

    def clean_up(self):
        """The next provider knows nothing of silent paths."""
        for bridge in self.bridges:
            lab_steps.let_go(bridge)
        end_provider(self.world)
        for row in self.world.sets():
            self.world.array.ctl('set', 'delete' if row['state'] == 'kept' else 'abort', row['id'], check=False)

    def afresh(self):
        self.assertTrue(self.world.nothing_left(LEASE_S), f'{self.world.sets()} {self.world.shadows()}')

    def create(self, kind, silenced):
        """A set over the second adapter's disks. From the commit on nothing comes back over the bridges `silenced`: the
        array has the request (kind silent), or gets it when it is released (delay)."""
        lab_steps.hold(self.bridges[1], *lab_steps.READS)
        child = self.world.start_vss('A', 'create', '--lun', 'd3', '--lun', 'd4', '--no-import')
        lab_steps.stop_when_armed(self.world.array, self.bridges[1], lambda: child.poll() is not None)
        self.bridges[1].control('fault', 'clear')
        before = self.bridges[0].counters()['faults']
        for bridge in silenced:
            bridge.control('fault', kind, '--op', lab_steps.POST, '--ms', lab_steps.HOLD_MS)
        lab_steps.release(self.bridges[1])
        self.assertTrue(labhost.wait_until(lambda: self.bridges[0].counters()['faults'] > before, lab_steps.PATIENCE_S, 0.03))
        for bridge in silenced:
            bridge.control('fault', 'silent', '--count', '0')
        code, answer = self.world.finish_vss(child)
        return code, answer, {call['method']: call['ms'] for call in answer['calls']}

    def events(self, number):
        with open(self.trace, errors='replace') as source:
            return [line for line in source if f' event {number} ' in line]

    def check_made_once(self):
        self.assertEqual([(s['state'], s['luns']) for s in self.world.sets()], [('kept', 2)])
        self.assertEqual(len(self.world.shadows()), 2)

    def check_failover(self, kind):
        code, answer, took = self.create(kind, self.bridges[:1])
        self.assertEqual(code, 0, answer)
        self.assertGreater(took['CommitSnapshots'], 900, 'the silence did not meet the commit')
        no_later(took['PostCommitSnapshots'], 8000, 'the silent path was asked first')
        self.check_made_once()
        self.assertTrue(labhost.wait_until(lambda: self.events(28), lab_steps.PATIENCE_S))
        print(f'   {kind}: CommitSnapshots {took["CommitSnapshots"]:.0f} ms', file=sys.stderr)

    @lab_steps.in_time
    def test_no_answer_to_a_request_that_the_array_has(self):
        self.check_failover('silent')

    @lab_steps.in_time
    def test_the_request_arrives_when_all_is_over(self):
        self.check_failover('delay')
        before = self.bridges[0].counters()['commands']
        lab_steps.release(self.bridges[0])
        labhost.wait_until(lambda: self.bridges[0].counters()['commands'] > before, 5)
        self.check_made_once()

    @lab_steps.in_time
    def test_every_path_falls_silent(self):
        code, answer, took = self.create('silent', self.bridges)
        self.assertEqual(code, 1)
        no_later(took['CommitSnapshots'], 10000, 'VSS cancels the hold at ten seconds')
        self.assertEqual(answer['hresult_name'], VETO)
        for bridge in self.bridges:
            lab_steps.let_go(bridge)
        self.assertTrue(self.world.nothing_left(LEASE_S + 8), f'{self.world.sets()} {self.world.shadows()}')

    def test_pass_through_under_the_watch(self):
        """The provider's own code, with the watch over the commit window in it: once as it should be, once with a path
        that answers the commit when it is over: its memory must be there until then, and no longer."""
        program = os.path.join(labhost.ROOT, 'build/windows/tests/unit/provider/windows/test_provider_passthrough.exe')
        luns = [lun['id'] for lun in self.world.array.ctl('lun', 'list')['luns']]
        for silent in (False, True):
            mark = os.path.join(self.world.directory, f'mark-{silent}')
            command, env = self.world.state.host('A').command(program, labhost.windows_path(mark), *luns)
            child = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
            self.addCleanup(child.stdout.close)
            self.addCleanup(child.kill)
            labhost.wait_until(lambda: os.path.exists(mark + '.ready') or child.poll() is not None, lab_steps.PATIENCE_S)
            if silent:
                self.bridges[0].control('fault', 'delay-reply', '--op', lab_steps.POST, '--ms', lab_steps.HOLD_MS)
            with open(mark + '.go', 'w'):
                pass
            text = []
            for line in child.stdout:
                text.append(line)
                if line.startswith('CommitSnapshots'):
                    self.assertEqual(self.bridges[0].counters()['held'], int(silent))
                    lab_steps.release(self.bridges[0])
            self.assertEqual(child.wait(lab_steps.PATIENCE_S), 0, text)
            self.assertTrue(any(line.startswith('CommitSnapshots') for line in text), text)
            self.assertTrue(self.world.nothing_left(LEASE_S + 8), f'{self.world.sets()} {self.world.shadows()}')


class OtherDeaths(Faults):
    def each_step(self, bridge, prepare, start, strike, check):
        """prepare, start and a strike at step 0, 1, 2 …, with both kinds of delay, until nothing is met."""
        for number in range(30):
            met = False
            for kind in ('delay', 'delay-reply'):
                with self.subTest(step=number, kind=kind):
                    prepare()
                    hit, code, answer = self.hit_during(bridge, number, kind, start, strike)
                    met = met or hit
                    check(code, answer)
                    self.assertTrue(world.nothing_left(10), f'{world.sets()} {world.shadows()}')
            if not met:
                self.assertGreater(number, 1, 'it has more requests than that')
                return
        self.fail('it never ended')

    def restart_array(self):
        world.array.kill9()
        world.array.start()

    def test_the_array_dies_during_a_deletion(self):
        done = {}

        def prepare():
            done.update(world.vss('A', 'create', '--lun', 1, '--lun', 2))

        def check(code, answer):
            if code != 0:  # what is left of it is deleted by another try
                world.rescan('A')
                again = world.vss('A', 'delete', done['set'], want=None)
                if again['hresult'] != '0x00000000':
                    # Deleted on the array before the answer was lost: VSS misses the disk; nothing is there any more.
                    self.assertEqual(again['hresult_name'], 'VSS_E_MISSING_DISK', again)

        self.each_step(self.bridge, prepare, lambda: world.start_vss('A', 'delete', done['set']), self.restart_array,
                       check)

    def transport(self, strike):
        document = os.path.join(world.directory, 'transport.json')

        def prepare():
            world.vss('A', 'create', '--lun', 1, '--lun', 2, '--transportable', document)

        def check(code, answer):
            self.assertEqual([(s['state'], s['luns']) for s in world.sets()], [('kept', 2)])
            if code != 0:
                answer = world.vss('B', 'import', document)
            world.vss('B', 'delete', answer['set'])

        self.each_step(world.state.host('B').bridge, prepare, lambda: world.start_vss('B', 'import', document), strike,
                       check)

    def test_the_array_dies_during_an_import(self):
        self.transport(self.restart_array)

    def test_the_provider_dies_during_an_import(self):
        self.transport(lambda: self.assertEqual(world.state.host('B').kill_program('umbra-vss.exe'), 1))


if __name__ == '__main__':
    unittest.main(verbosity=2)
