#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Something dies, or the path goes, at every step of a shadow copy set's life.

A step is one request on the control channel. The bridge delays the n-th before the array sees it, or after it was
served and before the provider hears; while it waits, the array, the provider or the whole host is killed, or the
session dropped. n counts up until a creation runs through without meeting its fault. After each:

- what was flushed before is there;
- a set is whole or not there: never some of its shadow LUNs;
- the creation succeeded and all is imported, or it failed; failed before GetTargetLuns of the last volume (in which
  the identities are handed over and the array is told to keep the set), the array has nothing of it left when the
  lease is over; failed later (an import that was cut off), it may have the whole set, for the administrator;
- the next creation works.

lab_kills.py array|provider|host|path before|after|both [FIRST [LAST]]
"""
import os
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab_steps  # noqa: E402
from lab_world import BLOCK, World, labhost  # noqa: E402

LEASE_S = 6  # longer than a set needs from one request to the next, on a busy machine too
STEPS_MAX = 60
# What may reach a requester (notes of the contract: allowed codes and what VSS makes of others).
CLEAN = {'VSS_E_PROVIDER_VETO', 'VSS_E_VOLUME_NOT_SUPPORTED', 'VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER',
         'VSS_E_OBJECT_NOT_FOUND', 'VSS_E_BAD_STATE', 'VSS_E_INSUFFICIENT_STORAGE', 'VSS_E_FLUSH_WRITES_TIMEOUT',
         'VSS_E_HOLD_WRITES_TIMEOUT', 'VSS_E_NO_SNAPSHOTS_IMPORTED', 'VSS_S_SOME_SNAPSHOTS_NOT_IMPORTED',
         'VSS_E_UNEXPECTED_PROVIDER_ERROR', 'VSS_E_MAXIMUM_NUMBER_OF_SNAPSHOTS_REACHED'}
TOLD = []  # one line a step, printed at the end


class Step:
    """One creation of a set of two LUNs with a fault at its n-th request."""

    def __init__(self, world, number, kind, strike):
        self.world, self.number, self.kind = world, number, kind
        world.await_sessions()
        self.bridge = world.state.host('A').bridge
        self.data = f'step {number} {kind} {time.time_ns()};'.encode().ljust(BLOCK, b'.')
        session = world.session('A')
        for lun in (1, 2):
            session.write(lun, 7, self.data)
            session.flush(lun)
        session.close()
        self.bridge.control('fault', 'clear')
        before = self.bridge.counters()['faults']
        self.bridge.control('fault', kind, '--op', lab_steps.POST, '--skip', str(number), '--ms', lab_steps.HOLD_MS)
        child = world.start_vss('A', 'create', '--lun', 1, '--lun', 2)

        def met(counter, than):
            return labhost.wait_until(lambda: self.bridge.counters()[counter] > than or child.poll() is not None,
                                      lab_steps.PATIENCE_S, 0.03) and self.bridge.counters()[counter] > than
        self.hit = met('faults', before)
        if self.hit:
            if kind == 'delay-reply':
                met('held', 0)  # the array has served it
            strike()
        lab_steps.let_go(self.bridge)
        self.code, self.answer = world.finish_vss(child)
        if self.answer is None:
            self.code = None  # whatever it ended with: under Wine with 0, when the server of the whole host is killed first

    def handed_over(self):
        """May the identities have been given away? Then the set may be kept, whatever came later."""
        if self.answer is None:
            return True  # the coordinator died: nobody can tell
        return len([c for c in self.answer['calls'] if c['method'] == 'GetTargetLuns']) == 2

    def last_call(self):
        return self.answer['calls'][-1]['method'] if self.answer and self.answer['calls'] else '-'

    def result(self):
        return self.answer.get('hresult_name') or self.answer['hresult'] if self.answer else 'no answer'

    def tell(self, end):
        TOLD.append(f'{self.number:2} {self.kind:12} {self.result():34} last {self.last_call():24} {end}')


class Deaths(unittest.TestCase):
    """The frame; a subclass says who dies."""
    kinds = {'before': 'delay', 'after': 'delay-reply'}
    requester_dies = False  # with the others

    @classmethod
    def setUpClass(cls):
        if cls is Deaths:
            raise unittest.SkipTest('the frame')
        cls.world = World(hosts=('A',), copysets={'lease': f'{LEASE_S * 1000:.0f}ms', 'host_gone': '30s'})
        try:
            cls.world.add_luns(2)
            cls.world.vss('A', 'delete', cls.world.vss('A', 'create', '--lun', 1, '--lun', 2)['set'])
        except BaseException:
            cls.world.close()
            raise

    @classmethod
    def tearDownClass(cls):
        log = cls.world.array.log()
        clean = cls.world.close()
        if TOLD:
            print('\n'.join([f'-- {cls.__name__}'] + TOLD), file=sys.stderr)
            TOLD.clear()
        assert 'ERROR: AddressSanitizer' not in log and 'runtime error' not in log, log[-4000:]
        assert clean, 'processes were left'

    def strike(self):
        raise NotImplementedError

    def whole_or_nothing(self, step):
        """Waits for the lease; fails on half a set, or on one that has no business to be there."""
        world = self.world
        end = time.monotonic() + LEASE_S + lab_steps.PATIENCE_S
        while True:
            sets, shadows = world.sets(), world.shadows()
            if [(s['id'], s['state']) for s in sets] != [(s['id'], s['state']) for s in world.sets()]:
                # A lease ended between the two listings: they are not of one instant.
                self.assertLess(time.monotonic(), end, f'the sets keep changing after step {step.number} {step.kind}')
                time.sleep(0.1)
                continue
            for row in sets:
                if row['state'] in ('committed', 'kept'):
                    mine = [s for s in shadows if s['set_id'] == row['id']]
                    self.assertEqual(len(mine), 2, f'half a set after step {step.number} {step.kind}: {row} {mine}')
            for row in shadows:
                self.assertIn(row['set_id'], [s['id'] for s in sets], f'a shadow LUN without its set: {row}')
            kept = [row for row in sets if row['state'] == 'kept']
            if len(sets) == len(kept) and (not kept or step.handed_over()):
                return kept
            self.assertLess(time.monotonic(), end, f'left after step {step.number} {step.kind}, {step.result()}, last '
                            f'{step.last_call()}: {sets} {shadows}')
            time.sleep(0.1)

    def check(self, step):
        world = self.world
        self.assertEqual([world.read('A', n, 7, 1) for n in (1, 2)], [step.data] * 2, 'flushed data is gone')
        if step.code == 0:
            self.assertEqual([(s['state'], s['luns']) for s in world.sets()], [('kept', 2)])
            world.vss('A', 'delete', step.answer['set'])
            self.assertTrue(world.nothing_left(10), f'{world.sets()} {world.shadows()}')
            return 'succeeded'
        told = self.requester_dies and step.result() == 'S_OK'  # it had said so when it was killed
        if step.answer is not None and not told:
            self.assertIn(step.result(), CLEAN, step.answer)
        kept = self.whole_or_nothing(step)
        if told:
            self.assertEqual([row['luns'] for row in kept], [2], 'a set that was told of is not there')
        for row in kept:
            for shadow in [s for s in world.shadows() if s['set_id'] == row['id']]:
                for name in world.hosts:
                    world.array.ctl('shadow', 'unmap', shadow['id'], name, check=False)
                world.array.ctl('shadow', 'delete', shadow['id'])
        self.assertTrue(world.nothing_left(10), f'{world.sets()} {world.shadows()}')
        return 'kept for the administrator' if kept else 'nothing left'

    def works_again(self):
        world = self.world
        world.await_sessions()
        done = world.vss('A', 'create', '--lun', 1, '--lun', 2)
        world.vss('A', 'delete', done['set'])
        self.assertTrue(world.nothing_left(10), f'{world.sets()} {world.shadows()}')

    def test_at_every_step(self):
        first, last = RANGE
        for number in range(first, last):
            hit = False
            for kind in (self.kinds[when] for when in WHEN):
                step = Step(self.world, number, kind, self.strike)
                hit = hit or step.hit
                with self.subTest(step=number, kind=kind):
                    step.tell(self.check(step))
                    if step.hit and step.code != 0:
                        self.works_again()
                if self.world.sets() or self.world.shadows():
                    self.world.clear_away()  # what a failed step left must not fail the next ones
            if not hit:
                self.assertGreater(number, 8, 'a creation has more requests than that')
                return
        self.assertNotEqual(last, STEPS_MAX, 'it never ended')


class ArrayDies(Deaths):
    def strike(self):
        self.world.array.kill9()
        self.world.array.start()


class ProviderDies(Deaths):
    def strike(self):
        self.assertEqual(self.world.state.host('A').kill_program('umbra-vss.exe'), 1)


class HostDies(Deaths):
    """Everything of the host at once, its session too; it comes back."""
    requester_dies = True

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        host = cls.world.state.host('A')
        host.down()  # in order, once: Wine writes the registry to disk at its end
        host.up()

    def strike(self):
        host = self.world.state.host('A')
        host.kill()
        host.down()
        host.up()


class PathGoes(Deaths):
    """The session is dropped instead of the request being sent, or after it was served."""
    kinds = {'before': 'drop-before', 'after': 'drop-after'}

    def strike(self):
        pass


NAMES = {'array': ArrayDies, 'provider': ProviderDies, 'host': HostDies, 'path': PathGoes}
WHEN = ('before', 'after')
RANGE = (0, STEPS_MAX)

if __name__ == '__main__':
    words = sys.argv[1:]
    if len(words) < 2 or words[0] not in NAMES or words[1] not in (*WHEN, 'both'):
        sys.exit(f'usage: lab_kills.py {"|".join(NAMES)} before|after|both [FIRST [LAST]]')
    WHEN = WHEN if words[1] == 'both' else (words[1],)
    RANGE = (int(words[2]) if len(words) > 2 else 0, int(words[3]) + 1 if len(words) > 3 else STEPS_MAX)
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(NAMES[words[0]])
    sys.exit(not unittest.TextTestRunner(verbosity=2).run(suite).wasSuccessful())
