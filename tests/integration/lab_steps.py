# SPDX-License-Identifier: Apache-2.0
"""A shadow copy that stands still where a test wants it, for as long as the test wants: the bridge holds commands until
they are released. What is tested then does not depend on how fast the machine is."""
import functools
import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'lab'))
import labhost  # noqa: E402

POST = 'b5'           # SECURITY PROTOCOL OUT: a request on the control channel
READS = ('28', '88')  # of the originals' partition tables, by VSS itself
HOLD_MS = '3600000'   # until it is released
PATIENCE_S = 600      # only a failure waits so long
TRIES = 8             # of what a machine that is busy may miss


class Late(AssertionError):
    """A time limit was not kept."""


class Standstill:
    """with Standstill() as machine: how long nothing ran, as a thread sees it that wants to wake again and again."""
    TICK_S = 0.02
    LONG_S = 0.06  # what is late by less is an idle machine's own unevenness

    def __enter__(self):
        self.lost_s, self.over = 0.0, threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self

    def _watch(self):
        before = time.monotonic()
        while not self.over.wait(self.TICK_S):
            now = time.monotonic()
            if now - before > self.LONG_S:
                self.lost_s += now - before
            before = now

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def in_time(test):
    """For a test whose limits are VSS's own, a few seconds: where the machine had no time for it for one of them and a limit was
    not kept, that says nothing of the provider, and the test is run again, after the case's afresh(). Any other failure counts at once."""
    @functools.wraps(test)
    def run(self):
        for left in reversed(range(TRIES)):
            try:
                with Standstill() as machine:
                    return test(self)
            except Late as late:
                if not left or machine.lost_s < 1:
                    raise
                print(f'   {late}; the machine stood still for {machine.lost_s:.1f} s: once more', file=sys.stderr, flush=True)
            self.doCleanups()
            self.afresh()
            self.setUp()
        return None
    return run


def hold(bridge, *operations):
    """From now on every such command waits for release()."""
    for operation in operations:
        bridge.control('fault', 'delay', '--op', operation, '--count', '0', '--ms', HOLD_MS)


def release(bridge):
    """What is held goes on; the next ones are held again."""
    bridge.control('fault', 'release')


def let_go(bridge):
    """What is held goes on, and nothing is held any more."""
    bridge.control('fault', 'clear')
    bridge.control('fault', 'release')


def away(bridge):
    """The session is lost; come_back() lets it return."""
    bridge.control('fault', 'down-now', '--ms', HOLD_MS)


def come_back(bridge):
    bridge.control('fault', 'release')
    if not labhost.wait_until(lambda: bridge.counters()['connected'] == 1, PATIENCE_S, 0.1):
        raise AssertionError('the session did not come back')


def stop_when_armed(array, bridge, ended=lambda: False):
    """After hold(bridge, *READS): until the array has the set armed and VSS stands still before the commit, which is the
    next request then."""
    end = time.monotonic() + PATIENCE_S
    while True:
        if bridge.counters()['held']:
            if any(s['state'] == 'armed' for s in array.ctl('set', 'list')['sets']):
                return
            release(bridge)
        if ended() or time.monotonic() > end:
            raise AssertionError('the set was never armed')
        time.sleep(0.02)


def let_pass(bridge, count, ended):
    """After hold(bridge, POST): that many requests go on, one after the other. True when the next one is held, False when
    it has ended before."""
    before = bridge.counters()['faults']
    while not ended():
        now = bridge.counters()
        if now['faults'] - before > count and now['held']:
            return True
        if now['held']:
            release(bridge)
        time.sleep(0.02)
    return False
