# SPDX-License-Identifier: Apache-2.0
"""Figures of an array in Ceph, for bench/run. The cluster is one monitor and one OSD with its data in memory, on this machine: the
daemons share the processors with what is measured, so ratios count, each the median over turns in which all have had theirs.

- I/O of one image and of four at once: by librbd alone (fio's rbd engine, as it is and with the option of librados's that umbrad sets; and
  qemu-img bench, which loads the others), through umbrad, and through two others that serve librbd's images: tgt (iSCSI) and qemu-nbd.
  What load, server and OSD take of the processors.
- The window of copy sets of 1, 16 and 64 LUNs beside a round of the monitors, of 50 ms and of Ceph's default second.
- The timeline of a takeover (takeover.py)."""
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(ROOT, 'bench'), os.path.join(ROOT, 'tests', 'integration')]
import takeover  # noqa: E402
from librados import Rados  # noqa: E402
from umbra_ceph import Cluster, free_port, missing  # noqa: E402
from umbra_lab import Array  # noqa: E402

IMAGE_MIB = 128
IMAGES = 4
IQN = 'iqn.2026-01.dev.umbra:bench'
HZ = os.sysconf('SC_CLK_TCK')
SCATTER = 4096 * 7919  # a prime number of blocks: no two requests near each other
LOADS = [
    # name, fio's, bytes, depth, bytes from one request to the next
    ('4 KiB scattered write, depth 32', 'randwrite', 4096, 32, SCATTER),
    ('4 KiB scattered read, depth 32', 'randread', 4096, 32, SCATTER),
    ('4 KiB scattered write, depth 1', 'randwrite', 4096, 1, SCATTER),
    ('4 KiB scattered read, depth 1', 'randread', 4096, 1, SCATTER),
    ('128 KiB write, depth 8', 'write', 131072, 8, 131072),
    ('128 KiB read, depth 8', 'read', 131072, 8, 131072),
]
FIO = 'fio rbd'
FIOS = {FIO: '', 'fio, 1 thread': '--librados-thread-count=1'}  # CEPH_ARGS; umbrad's: array/store/rbd/cluster.c
# OSDs that sleep before what they do, as disks and a network make them: about a millisecond for an I/O. They sleep for a connection as
# a whole, and a server has one for all its images where the others have one each: so there are several OSDs, and little is under way.
SLOW = ['osd debug inject dispatch delay probability = 1', 'osd debug inject dispatch delay duration = 0.0002']
WINDOWS = (1, 16, 64)
DAMPING = 'paxos min wait = 0.05'  # Ceph's default: so long monitors that had rest wait for more than the first who asks


def cpu_s(pid):
    with open(f'/proc/{pid}/stat') as source:
        fields = source.read().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / HZ


# ---- what serves images, each its own IMAGES of them


class Plain:
    """None: librbd in the load's own process."""

    def __init__(self, cluster, name):
        self.cluster, self.name, self.pids = cluster, name, []
        for number in range(IMAGES):
            cluster.rbd('create', self.image(number), '--size', f'{IMAGE_MIB}M')

    def image(self, number):
        return f'{self.name}-{number}'

    def options(self, number):
        """As qemu-img takes it."""
        return f'driver=rbd,pool={self.cluster.pool},image={self.image(number)},conf={self.cluster.conf}'

    def stop(self):
        pass


def over_iscsi(port, target, number):
    return f'driver=iscsi,transport=tcp,portal=127.0.0.1:{port},target={target},initiator-name={IQN},lun={number + 1}'


class Umbrad:
    def __init__(self, cluster):
        self.cluster = cluster
        self.array = Array(name='bench', ceph=cluster)
        self.array.add_host('bench', IQN)
        for number in range(IMAGES):
            self.array.ctl('lun', 'create', f'l{number}', '--size', f'{IMAGE_MIB}M')
            self.array.ctl('map', f'l{number}', 'bench', '--number', str(number + 1))
        self.pids = [self.array.pid]

    def options(self, number):
        return over_iscsi(self.array.port, self.array.target, number)

    def stop(self):
        self.array.stop()
        self.array.remove()


class Tgt(Plain):
    TARGET = 'iqn.2026-01.dev.umbra:tgt'

    def __init__(self, cluster):
        super().__init__(cluster, 'tgt')
        self.control, self.port = free_port() % 30000 + 1000, free_port()
        self.process = subprocess.Popen(['tgtd', '-f', '-C', str(self.control), '--iscsi', f'portal=127.0.0.1:{self.port}'],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        env=cluster.environment())
        self.pids = [self.process.pid]
        for _ in range(200):
            if self.admin('--mode', 'sys', '--op', 'show') == 0:
                break
            time.sleep(0.05)
        done = [self.admin('--mode', 'target', '--op', 'new', '--tid', '1', '-T', self.TARGET)]
        done += [self.admin('--mode', 'logicalunit', '--op', 'new', '--tid', '1', '--lun', str(number + 1), '--bstype', 'rbd',
                            '-b', f'{cluster.pool}/{self.image(number)}', '--bsopts', f'conf={cluster.conf};id=admin')
                 for number in range(IMAGES)]
        done += [self.admin('--mode', 'target', '--op', 'bind', '--tid', '1', '-I', 'ALL')]
        if any(done):
            self.stop()
            raise RuntimeError('tgt does not serve images')

    def admin(self, *words):
        return subprocess.run(['tgtadm', '-C', str(self.control), '--lld', 'iscsi', *words], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode

    def options(self, number):
        return over_iscsi(self.port, self.TARGET, number)

    def stop(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


class Nbd(Plain):
    def __init__(self, cluster):
        super().__init__(cluster, 'nbd')
        self.processes = [
            subprocess.Popen(['qemu-nbd', '-t', '-k', self.socket(number), '--cache=none', '--image-opts', Plain.options(self, number)],
                             stdin=subprocess.DEVNULL)
            for number in range(IMAGES)]
        self.pids = [process.pid for process in self.processes]
        for number in range(IMAGES):
            for _ in range(600):
                if os.path.exists(self.socket(number)):
                    break
                time.sleep(0.05)

    def socket(self, number):
        return os.path.join(self.cluster.dir, f'nbd-{number}')

    def options(self, number):
        return f'driver=nbd,path={self.socket(number)}'

    def stop(self):
        for process in self.processes:
            process.kill()
            process.wait()


def servers(cluster, made):
    """Adds what serves, by its name; those that are not installed are missing."""
    made['qemu rbd'] = Plain(cluster, 'qemu')
    made['umbrad'] = Umbrad(cluster)
    if shutil.which('tgtd') and os.path.exists('/usr/lib/tgt/backing-store/bs_rbd.so'):
        made['tgt'] = Tgt(cluster)
    if shutil.which('qemu-nbd'):
        made['qemu-nbd'] = Nbd(cluster)


# ---- I/O


class Took:
    """What a load took of the processors, in seconds: its own processes, the server's, the OSDs'."""

    def __init__(self, server):
        self.server = server.pids
        self.osds = [process.pid for name, process in server.cluster.daemons.items() if name.startswith('osd.')]
        self.begun = self.now()

    def now(self):
        ours = resource.getrusage(resource.RUSAGE_CHILDREN)
        return ours.ru_utime + ours.ru_stime, sum(map(cpu_s, self.server)), sum(map(cpu_s, self.osds))

    def end(self):
        return [now - begun for now, begun in zip(self.now(), self.begun)]


def by_fio(plain, count, mode, block, depth, seconds, arguments=''):
    """I/O a second of so many images together; how many; seconds of load, server and OSDs. seconds: 0: one I/O."""
    cluster = plain.cluster
    words = ['fio', '--output-format=json', '--ioengine=rbd', '--clientname=admin', f'--pool={cluster.pool}', f'--rw={mode}',
             f'--bs={block}', f'--iodepth={depth}', f'--size={IMAGE_MIB}m', '--group_reporting']
    words += ['--time_based', f'--runtime={seconds}'] if seconds else ['--number_ios=1']
    words += [word for number in range(count) for word in (f'--name={number}', f'--rbdname={plain.image(number)}')]
    took = Took(plain)
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          env=dict(cluster.environment(), CEPH_ARGS=arguments))
    if done.returncode:
        raise RuntimeError(done.stderr[-500:])
    (job,) = json.loads(done.stdout[done.stdout.index('{'):])['jobs']
    job = job['write' if 'write' in mode else 'read']
    return job['iops'], job['total_ios'], took.end()


def by_qemu(server, count, mode, block, depth, step, each):
    """The same, `each` requests to each image."""
    words = ['qemu-img', 'bench', '-c', str(each), '-d', str(depth), '-s', str(block), '-S', str(step), '-t', 'none']
    words += ['-w'] if 'write' in mode else []
    took = Took(server)
    running = [subprocess.Popen(words + ['--image-opts', server.options(number)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                text=True) for number in range(count)]
    ended = [re.search(r'Run completed in ([\d.]+) seconds', process.communicate()[0]) for process in running]
    if not all(ended):
        raise RuntimeError('qemu-img failed')
    return sum(each / max(float(found.group(1)), 0.001) for found in ended), count * each, took.end()


def median(values):
    return sorted(values)[len(values) // 2]


def each_part(of, *values):
    return [of(part) for part in zip(*values)]


def starts(plain, others, count):
    """{name: what load, server and OSDs take of the processors before its first I/O}"""
    return {name: each_part(median, *[
        (by_fio(plain, count, 'read', 4096, 1, 0, FIOS[name]) if name in FIOS else
         by_qemu(others[name], count, 'read', 4096, 1, 4096, 1))[2] for _ in range(3)])
        for name in [*FIOS, *others]}


def turn(plain, others, load, seconds, before):
    """{images: {name: {rate, cpu_us: of load, server and OSDs}}}"""
    _, mode, block, depth, step = load
    found = {}
    for count in (1, IMAGES):
        measured = {name: by_fio(plain, count, mode, block, depth, seconds, arguments) for name, arguments in FIOS.items()}
        each = int(measured[FIO][0] * seconds / count / 2) + 100
        for name, server in others.items():
            measured[name] = by_qemu(server, count, mode, block, depth, step, each)
        found[count] = {name: {'rate': rate, 'cpu_us': [(part - begun) / ios * 1e6 for part, begun in zip(cpu, before[count][name])]}
                        for name, (rate, ios, cpu) in measured.items()}
    return found


def medians(turns):
    """{name: {…}}; a ratio is of numbers of one turn."""
    def over(of):
        return median([of(each) for each in turns])
    return {name: {
        'one': over(lambda t: t[1][name]['rate']), 'all': over(lambda t: t[IMAGES][name]['rate']),
        'one_of_fio': over(lambda t: t[1][name]['rate'] / t[1][FIO]['rate']),
        'all_of_fio': over(lambda t: t[IMAGES][name]['rate'] / t[IMAGES][FIO]['rate']),
        'times_one': over(lambda t: t[IMAGES][name]['rate'] / t[1][name]['rate']),
        'cpu_us': each_part(median, *[t[1][name]['cpu_us'] for t in turns]),
        'fio_by_cpu': over(lambda t: sum(t[1][FIO]['cpu_us']) / sum(t[1][name]['cpu_us']))} for name in turns[0][1]}


def rates(seconds, turns, loads=tuple(LOADS), settings=(), osds=1):
    """{load: {name: …}}"""
    found = {}
    with Cluster(settings=['rbd cache = false', *settings], osds=osds) as cluster:
        plain, others = Plain(cluster, 'plain'), {}
        try:
            servers(cluster, others)
            by_fio(plain, IMAGES, 'write', 1 << 20, 4, 5)  # the objects are there
            for server in others.values():
                by_qemu(server, IMAGES, 'write', 1 << 20, 4, 1 << 20, IMAGE_MIB)
            before = {count: starts(plain, others, count) for count in (1, IMAGES)}
            for load in loads:
                print(f'ceph: {load[0]} …', file=sys.stderr, flush=True)
                found[load[0]] = medians([turn(plain, others, load, seconds, before) for _ in range(turns)])
        finally:
            for server in others.values():
                server.stop()
    return found


# ---- windows


def windows(fast, sets):
    """{LUNs: {window_ms, round_ms, of_round}}, medians over so many sets. The monitors have just agreed on something when a round, and
    when a set, begins: it waits for a whole one."""
    found = {}
    patient = {'copysets': {'commit_budget': '60s'}}
    with Cluster(fast=fast, settings=[DAMPING]) as cluster, Array(patient, name='bench', ceph=cluster) as array, \
            Rados(cluster.conf, cluster.pool) as rados:
        for number in range(max(WINDOWS)):
            array.ctl('lun', 'create', f'l{number}', '--size', '1M')
        for count in WINDOWS:
            took, rounds = [], []
            for number in range(sets):
                rounds.append(rados.round_ms(count))
                rados.snapshot_number()
                array.ctl('set', 'create', f's{count}-{number}', *(f'l{i}' for i in range(count)))
                took.append(array.ctl('set', 'show', f's{count}-{number}')['window_ns'] / 1e6)
                array.ctl('set', 'delete', f's{count}-{number}')
            found[str(count)] = {'window_ms': median(took), 'round_ms': median(rounds),
                                 'of_round': median([a / b for a, b in zip(took, rounds)])}
    return found


def measure(seconds, sets=5, turns=3):
    """None: Ceph is not installed, or umbrad has no such store. So many loads of so many servers get a third of the seconds each."""
    seconds = max(seconds // 3, 1)
    if missing() or not os.path.exists(os.path.join(ROOT, 'build/bin/umbra-store-rbd.so')):
        return None
    found = {'rates': rates(seconds, turns), 'slow_rates': rates(seconds, turns, LOADS[2:4], SLOW, 4)}
    print('ceph: windows …', file=sys.stderr, flush=True)
    found['windows'] = {'50 ms': windows(True, sets), 'default': windows(False, sets)}
    print('ceph: takeovers …', file=sys.stderr, flush=True)
    with Cluster() as cluster:
        found['takeover'] = takeover.measure(cluster, turns)
    return found


def show_rates(what, found):
    names = list(next(iter(found.values())))
    print(f'{what:<50}' + ''.join(f'{name:>18}' for name in names))
    for load, row in found.items():
        for count, which in ((1, 'one'), (IMAGES, 'all')):
            cells = (f"{row[name][which]:.0f} {row[name][which + '_of_fio']:.2f}" for name in names)
            print(f"{load + f', {count} image' + 's' * (count > 1):<50}" + ''.join(f'{cell:>18}' for cell in cells))
        print(f'    {IMAGES} images together, times one{"":<17}' + ''.join(f"{row[name]['times_one']:>18.2f}" for name in names))
        cells = ('+'.join(f'{part:.0f}' for part in row[name]['cpu_us']) + f" {row[name]['fio_by_cpu']:.2f}" for name in names)
        print(f"    {'us of the processors for each':<46}" + ''.join(f'{cell:>18}' for cell in cells))
    print('behind the rates: times fio\'s; us: of load + server + OSDs, and behind it fio\'s sum divided by theirs')


def show(figures):
    show_rates('in Ceph (an OSD in memory, here), I/O a second', figures['rates'])
    show_rates('with OSDs that take their time', figures['slow_rates'])
    for name, by_luns in figures['windows'].items():
        print(f'window of copy sets, monitor round {name}: ' + ', '.join(
            f"{luns} LUN(s) {one['window_ms']:.0f} ms (a round {one['round_ms']:.0f}: {one['of_round']:.2f} x)"
            for luns, one in by_luns.items()))
    takeover.show(figures['takeover'])
