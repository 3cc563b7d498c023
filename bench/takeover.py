# SPDX-License-Identifier: Apache-2.0
"""The timeline of a takeover, for bench/run: when which step of it is over, as somebody sees it who looks at the catalogue's header
and asks the controller that stands by for a block again and again.

  lease     the epoch has risen: the old owner's lease is out, or it was given back
  fenced    Ceph has locked the old owner out (not where the array was given back)
  served    the catalogue was read and the array taken in: the path says that it has changed
  first     a read and a write of one LUN have ended: its image is open
  all       the same for all LUNs, asked at once
"""
import os
import signal
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, 'tests', 'integration'))
from ceph_controllers import BLOCK, CHANGED, HOSTS, PATIENCE_S, Session, block_of, read10, start, wait_until  # noqa: E402
from librados import Rados  # noqa: E402
from umbra_lab import run_ctl  # noqa: E402

LUNS = 16
LOOK_S = 0.003
STEPS = ('lease', 'fenced', 'served', 'first', 'all')


class Catalogue(threading.Thread):
    """Notes when the epoch rises, and when the fence that rose with it is empty again."""

    def __init__(self, rados, name, seen):
        super().__init__(daemon=True)
        self.rados, self.name, self.seen = rados, name, seen
        self.epoch, self.ended = rados.record(name, 'head.epoch'), False
        self.start()

    def run(self):
        while 'lease' not in self.seen and not self.ended:
            if self.rados.record(self.name, 'head.epoch') != self.epoch:
                self.seen['lease'] = time.monotonic()
            time.sleep(LOOK_S)
        while not self.ended and self.rados.record(self.name, 'head.fence'):
            time.sleep(LOOK_S)
        self.seen.setdefault('fenced', time.monotonic())

    def end(self):
        self.ended = True
        self.join()


def ask_until_served(session, seen):
    def served():
        status, sense, _ = session.once(1, read10(0, 1), length=BLOCK)
        if status == 0 or sense == CHANGED:
            seen.setdefault('served', time.monotonic())
        time.sleep(0 if 'served' in seen else LOOK_S)
        return status == 0
    wait_until('the other controller serves', served)
    session.write(1, 8, block_of(8))
    seen['first'] = time.monotonic()


def touch(session, lun):
    session.read(lun, 0)
    session.write(lun, 8, block_of(lun))


def one(rados, owner, other, begin):
    """Milliseconds from `begin` to each step."""
    sessions = [Session(other, 'a', isid) for isid in range(1, LUNS + 1)]
    for session in sessions:
        for lun in (1, LUNS):
            session.do(lun, b'\0' * 6)  # takes what attentions there are
    seen, busy = {}, [Session(owner, 'a', isid) for isid in range(1, LUNS + 1)]
    for lun, session in enumerate(busy, 1):
        session.do(lun, b'\0' * 6)
        touch(session, lun)  # the owner has all images open
    catalogue = Catalogue(rados, 'umbra.default', seen)
    begun = time.monotonic()
    try:
        begin(owner)
        ask_until_served(sessions[0], seen)
    finally:
        catalogue.end()
    threads = [threading.Thread(target=touch, args=(session, lun)) for lun, session in enumerate(sessions, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen['all'] = time.monotonic()
    for session in sessions + busy:
        session.close()
    return {step: (seen[step] - begun) * 1000 for step in STEPS}


def killed(owner):
    owner.kill9()


def frozen(owner):
    owner.process.send_signal(signal.SIGSTOP)


def moved(owner):
    threading.Thread(target=run_ctl, args=('controller', 'move'), kwargs={'socket': owner.socket}, daemon=True).start()


def back(owner, other):
    """It stands by again, and the other one knows."""
    if not owner.process:
        owner.start()
    owner.process.send_signal(signal.SIGCONT)
    wait_until('it stands by', lambda: owner.role() == 'standby')
    wait_until('the other one knows', lambda: all(
        each['lives'] and each['role'] == {owner.number: 'standby', other.number: 'owner'}[each['number']]
        for each in other.ctl('controller', 'list')['controllers']))


def measure(cluster, times):
    """{how the owner went: {step: the median of so many}}"""
    found = {}
    run_ctl('rbd', 'create', cluster.pool, '--conf', cluster.conf)
    controllers = start(cluster)
    try:
        first = controllers[0]
        first.ctl('host', 'add', 'a', '--iqn', HOSTS['a'])
        for number in range(1, LUNS + 1):
            first.ctl('lun', 'create', f'l{number}', '--size', '64M')
            first.ctl('map', f'l{number}', 'a', '--number', str(number))
        owner, other = controllers
        with Rados(cluster.conf, cluster.pool) as rados:
            for name, begin in (('killed, on the same machine', killed), ('frozen', frozen), ('moved', moved)):
                took = []
                for _ in range(times):
                    took.append(one(rados, owner, other, begin))
                    back(owner, other)
                    owner, other = other, owner
                found[name] = {step: sorted(each[step] for each in took)[times // 2] for step in STEPS}
                if begin is moved:
                    del found[name]['fenced']
    finally:
        for controller in controllers:
            controller.remove()
    return found


def show(figures):
    print(f"{'takeover: ms from the end of the owner to':<42}" + ''.join(f'{step:>10}' for step in STEPS))
    for name, steps in figures.items():
        print(f'{name:<42}' + ''.join(f"{steps[step]:>10.0f}" if step in steps else f"{'-':>10}" for step in STEPS))
