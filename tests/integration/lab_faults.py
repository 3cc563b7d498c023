#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An array that is slow or away in mid commit; deaths during an import on another host and during a deletion."""
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab_steps  # noqa: E402
from lab_world import World, labhost  # noqa: E402

LEASE_S = 8  # longer than what the tests delay and want to succeed
ENDLESS_MS = int(lab_steps.HOLD_MS)
VETO = 'VSS_E_PROVIDER_VETO'


def setUpModule():
    global world
    world = World(copysets={'lease': f'{LEASE_S}s', 'host_gone': '30s'})
    try:
        world.add_luns(2)
    except BaseException:
        world.close()
        raise


def tearDownModule():
    if not world.close():
        raise RuntimeError('processes were left')


class Faults(unittest.TestCase):
    def setUp(self):
        self.assertTrue(world.nothing_left(10), f'{world.sets()} {world.shadows()}')
        self.bridge = world.state.host('A').bridge
        self.addCleanup(self.clean_up)

    def clean_up(self):
        for name in world.hosts:
            lab_steps.let_go(world.state.host(name).bridge)
        if not world.array.process:
            world.array.start()
        world.clear_away()

    def hit_during(self, bridge, number, kind, start, strike):
        """Starts a request; strikes while its n-th step is held. (hit, exit code, answer)."""
        before = bridge.counters()['faults']
        bridge.control('fault', kind, '--op', lab_steps.POST, '--skip', str(number), '--ms', lab_steps.HOLD_MS)
        child = start()
        labhost.wait_until(lambda: bridge.counters()['faults'] > before or child.poll() is not None, 40, 0.01)
        hit = bridge.counters()['faults'] > before
        if hit:
            if kind == 'delay-reply':  # the array has served it
                labhost.wait_until(lambda: bridge.counters()['held'] or child.poll() is not None, 40, 0.01)
            strike()
        lab_steps.let_go(bridge)
        code, answer = world.finish_vss(child)
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
        self.bridge.control('fault', kind, '--op', lab_steps.POST, '--ms', str(ms))
        lab_steps.release(self.bridge)
        self.assertTrue(labhost.wait_until(lambda: self.bridge.counters()['faults'] > before, lab_steps.PATIENCE_S, 0.01))
        strike()
        code, answer = world.finish_vss(child)
        call = [c for c in answer['calls'] if c['method'] == 'CommitSnapshots'][0]
        self.assertGreater(call['ms'], min(ms, 5000) * 0.9, 'the fault did not meet the commit')
        return code, answer, call

    def check_veto(self, code, answer, call):
        self.assertEqual((code, answer['hresult_name']), (1, VETO))
        self.assertLess(call['ms'], 10000, 'VSS cancels the hold at ten seconds')
        self.assertIn('AbortSnapshots', [c['method'] for c in answer['calls']])

    def test_five_seconds_are_within_the_budget(self):
        for kind in ('delay', 'delay-reply'):
            code, answer, call = self.commit_with(kind, 5000)
            self.assertEqual(code, 0, answer)
            self.assertGreaterEqual(call['ms'], 5000)
            world.vss('A', 'delete', answer['set'])
            self.assertTrue(world.nothing_left(10))

    def test_a_commit_that_arrives_too_late(self):
        code, answer, call = self.commit_with('delay', ENDLESS_MS)
        self.check_veto(code, answer, call)
        lab_steps.release(self.bridge)  # now the request reaches the array
        self.assertTrue(world.nothing_left(LEASE_S + 8), f'{world.sets()} {world.shadows()}')
        self.works()

    def test_a_commit_whose_reply_comes_too_late(self):
        code, answer, call = self.commit_with('delay-reply', ENDLESS_MS)
        self.check_veto(code, answer, call)
        self.assertTrue(world.nothing_left(LEASE_S + 8), f'{world.sets()} {world.shadows()}')
        self.works()

    def test_no_answer_at_all(self):
        code, answer, call = self.commit_with('silent', ENDLESS_MS)
        self.check_veto(code, answer, call)
        self.assertTrue(world.nothing_left(LEASE_S + 8), f'{world.sets()} {world.shadows()}')
        self.works()

    def test_the_array_is_away_in_mid_commit(self):
        code, answer, call = self.commit_with('delay-reply', ENDLESS_MS, world.array.kill9)
        self.check_veto(code, answer, call)
        world.array.start()
        self.assertTrue(world.nothing_left(LEASE_S + 8), f'{world.sets()} {world.shadows()}')
        self.works()


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
