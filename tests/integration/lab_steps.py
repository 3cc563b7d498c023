# SPDX-License-Identifier: Apache-2.0
"""A shadow copy that stands still where a test wants it, for as long as the test wants: the bridge holds commands until
they are released. What is tested then does not depend on how fast the machine is."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'lab'))
import labhost  # noqa: E402

POST = 'b5'           # SECURITY PROTOCOL OUT: a request on the control channel
READS = ('28', '88')  # of the originals' partition tables, by VSS itself
HOLD_MS = '3600000'   # until it is released
PATIENCE_S = 120      # only a failure waits so long


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
