# SPDX-License-Identifier: Apache-2.0
"""A lab host: a Wine prefix, a bridge and a keeper in one directory STATE/NAME. What lab/lab and the tests call.

Everything that a host starts is known by its process id and start time, so that down() ends exactly that; the prefix's
own processes end with its wineserver. Nothing outside STATE and the cache of prepared prefixes is written.
"""
import configparser
import fcntl
import glob
import io
import json
import os
import re
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import volumes  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ADAPTERS_MAX = 4
PATIENCE_S = 300  # for what comes at once, on a machine that may stand still for a while; only a failure waits so long
STARTS = 3  # of a prefix
PREFIX_FORMAT = 2  # of the prepared prefix: count up when prepare_prefix() changes
NAME = re.compile(r'[A-Za-z0-9_-]{1,32}\Z')
SETTINGS = ('portal', 'target', 'initiator', 'chap_user', 'chap_secret_file', 'link_down_ms', 'nop_ms', 'reset_ms', 'hold_port',
            'idle_ms', 'import_wait_ms', 'volumes', 'mounted', 'multipath')
COORDINATOR_SETTINGS = {'hold_port': 'HoldPort', 'idle_ms': 'IdleMs', 'import_wait_ms': 'ImportWaitMs', 'multipath': 'Multipath'}


class LabError(Exception):
    """What went wrong and what to do, for the user."""


BUILT = ('bin', 'linux/array', 'linux/ctl', 'linux/lab', 'linux/tests', 'windows/provider', 'windows/lab',
         'windows/packaging')


def walk_build(top):
    """os.walk below build/ that stays out of links, of Wine's prefixes, whose dosdevices lead everywhere, and of objects."""
    for folder, folders, names in os.walk(os.path.join(ROOT, 'build', top), followlinks=False):
        folders[:] = [f for f in folders if f not in ('prefix', 'dosdevices', 'out') and not f.endswith('.p')]
        yield folder, folders, names


FOUND = {}  # (name, directory): path, '' for none; a look through build/ is not made again for every request to a bridge


def find_program(name, directory=None):
    """The newest of that name in the given directory, or in build/."""
    directory = directory or os.environ.get('UMBRA_LAB_BIN')
    if not os.path.isfile(FOUND.get((name, directory), '')):
        FOUND[name, directory] = look_for_program(name, directory) or ''
    return FOUND[name, directory] or None


def look_for_program(name, directory):
    if directory:
        found = [p for p in (os.path.join(directory, name),) if os.path.isfile(p)]
    else:
        found = [os.path.join(folder, name) for top in BUILT for folder, _, names in walk_build(top) if name in names]
    return max(found, key=os.path.getmtime) if found else None


def need_program(name, directory=None):
    path = find_program(name, directory)
    if not path:
        raise LabError(f'{name} is not built: run make in {ROOT} (or give --bin DIR)')
    return path


def windows_path(path):
    return 'Z:' + os.path.abspath(path).replace('/', '\\')


def wine_program():
    for path in ('/usr/lib/wine/wine64', shutil.which('wine64'), shutil.which('wine')):
        if path and os.path.exists(path):
            return path
    raise LabError('Wine is not installed: apt-get install wine wine64 wine64-preloader')


def wine_environment(prefix):
    # MALLOC_PERTURB_: meson's, another one for every test; it is Wine's own memory that it would fill with junk.
    kept_out = ('DISPLAY', 'WAYLAND_DISPLAY', 'WINEDEBUG', 'MALLOC_PERTURB_')
    env = {k: v for k, v in os.environ.items() if k not in kept_out}
    env.update(WINEPREFIX=prefix, WINEARCH='win64', WINEDLLOVERRIDES='mscoree,mshtml,winemenubuilder.exe=;vssapi=native,builtin',
               WINEDEBUG=os.environ.get('UMBRA_LAB_WINEDEBUG', '-all,err+module,err+process,err+seh,err+server,err+virtual'))
    ends_threads = find_program('umbra-lab-wine.so')  # lab/wine/thread_exit.c; a lab of other programs (--bin) may have none
    if ends_threads:
        env['LD_PRELOAD'] = ends_threads
    return env


def start_time(pid):
    """The kernel's start time of a process: tells it from a later one with the same id. None: no such process."""
    try:
        with open(f'/proc/{pid}/stat') as stat:
            fields = stat.read().rpartition(')')[2].split()
    except OSError:
        return None
    return None if fields[0] == 'Z' else int(fields[19])


def wait_until(condition, seconds, pause=0.02):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= end:
            return False
        time.sleep(pause)
    return True


def tail(path, lines=6):
    try:
        with open(path, errors='replace') as source:
            return ''.join(source.readlines()[-lines:]).strip()
    except OSError:
        return ''


class Process:
    """A started program, remembered in a file: "PID STARTTIME"."""

    def __init__(self, path):
        self.path = path

    def start(self, arguments, log, env=None, stdin=subprocess.DEVNULL):
        with open(log, 'ab') as sink:
            child = subprocess.Popen(arguments, stdin=stdin, stdout=sink, stderr=sink, env=env,
                                     start_new_session=True, cwd='/')
        CHILDREN[child.pid] = child
        with open(self.path, 'w') as out:
            out.write(f'{child.pid} {start_time(child.pid)}\n')
        return child

    def pid(self):
        """Its process id while it runs, else None."""
        try:
            with open(self.path) as source:
                pid, started = source.read().split()
        except (OSError, ValueError):
            return None
        return int(pid) if str(start_time(pid)) == started else None

    def stop(self, seconds=20):
        for sig in (signal.SIGTERM, signal.SIGKILL):
            pid = self.pid()
            if pid is None:
                break
            try:
                os.kill(pid, sig)
            except ProcessLookupError:
                break
            wait_until(lambda: reaped(pid) or self.pid() is None, seconds)
        for pid in list(CHILDREN):
            reaped(pid)
        if os.path.exists(self.path):
            os.unlink(self.path)


CHILDREN = {}  # process id: Popen, of what this very process started


def reaped(pid):
    """True when it was a child of ours and is gone now."""
    if pid not in CHILDREN or CHILDREN[pid].poll() is None:
        return False
    del CHILDREN[pid]
    return True


# --- prefixes ---------------------------------------------------------------------------------------------------

def prefix_processes(prefix):
    """Process ids whose environment names this prefix."""
    wanted = b'WINEPREFIX=' + os.fsencode(prefix)
    found = []
    for entry in os.listdir('/proc'):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            with open(f'/proc/{entry}/environ', 'rb') as source:
                if wanted in source.read().split(b'\0'):
                    found.append(int(entry))
        except OSError:
            pass
    return [p for p in found if start_time(p) is not None]


def command_line(pid):
    """A process's words; none when it is gone."""
    try:
        with open(f'/proc/{pid}/cmdline', errors='replace') as source:
            return source.read().rstrip('\0').split('\0')
    except OSError:
        return []


def kill_processes(pids):
    """kill -9, also of what has just ended."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def picture(prefix):
    """What the processes of the prefix are doing: a line each."""
    lines = []
    for pid in sorted(prefix_processes(prefix)):
        words = ' '.join(command_line(pid))
        try:
            waits = []
            for thread in sorted(os.listdir(f'/proc/{pid}/task'), key=int):
                with open(f'/proc/{pid}/task/{thread}/wchan') as source:
                    waits.append(source.read() or 'runs')
        except OSError:
            continue
        lines.append(f'{pid} {words[:120]}: {" ".join(waits)}')
    return '\n'.join(lines)


class Stuck(subprocess.TimeoutExpired):
    """A Windows program did not end in time, with a picture of its host."""

    def __init__(self, expired, prefix):
        super().__init__(expired.cmd, expired.timeout)
        self.picture = picture(prefix)

    def __str__(self):
        return f'{super().__str__()}\n{self.picture}'


def ended(prefix, seconds):
    """Waits until no process of the prefix is left. Only when those that were there have gone all of /proc is looked through again."""
    left = prefix_processes(prefix)
    return wait_until(lambda: not any(start_time(pid) for pid in left) and not prefix_processes(prefix), seconds)


def end_prefix(prefix):
    """Ends every process of the prefix; True when none is left."""
    env = wine_environment(prefix)
    for _ in range(2):
        subprocess.run(['wineserver', '-k'], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        if ended(prefix, 60):
            return True
    kill_processes(prefix_processes(prefix))
    return ended(prefix, PATIENCE_S)


def cache_directory():
    return os.environ.get('UMBRA_LAB_CACHE') or os.path.join(ROOT, 'build', 'lab', 'cache')


def make_prefix(wine, making):
    """A new prefix; None, or why there is none."""
    shutil.rmtree(making, ignore_errors=True)
    env = dict(wine_environment(making), WINEDEBUG='-all')
    for arguments in (['wineboot', '-i'], ['winecfg', '-v', 'win2008r2']):
        done = subprocess.run([wine] + arguments, env=env, stdin=subprocess.DEVNULL, capture_output=True)
        if done.returncode != 0:
            end_prefix(making)
            return f'wine {" ".join(arguments)} ended with {done.returncode}: {done.stderr.decode(errors="replace")[-300:]}'
    subprocess.run(['wineserver', '-w'], env=env, stdin=subprocess.DEVNULL)
    if not os.path.exists(os.path.join(making, 'system.reg')):
        return 'wineboot made no registry; is the disk full?'
    return None


def prepare_prefix():
    """The path of a prefix that is ready to be copied; makes it on the first use (about 15 s)."""
    wine = wine_program()
    version = subprocess.run([wine, '--version'], capture_output=True, text=True).stdout.split()[0]
    directory = cache_directory()
    ready = os.path.join(directory, f'prefix-{version}-{PREFIX_FORMAT}')
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, 'lock'), 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.isdir(ready):
            return ready
        making = ready + '.new'
        for left in reversed(range(STARTS)):
            why = make_prefix(wine, making)
            if not why:
                break
            if not left:
                raise LabError(why)
            print(f'{why}; it is begun anew', file=sys.stderr, flush=True)
        os.rename(making, ready)
    return ready


def copy_prefix(source, target):
    """Wine's own files (0.7 GB) are linked, for nobody writes into them; the rest is copied."""
    making = target + '.new'
    shutil.rmtree(making, ignore_errors=True)

    def place(src, dst, **_):
        if '/drive_c/windows/' in src:
            try:
                os.link(src, dst)
                return
            except OSError:
                pass
        shutil.copy2(src, dst, follow_symlinks=False)

    shutil.copytree(source, making, symlinks=True, copy_function=place)
    os.rename(making, target)


def relay(child, sinks, timeout=None):
    """Copies a child's pipes until it has ended and they are empty, or closed."""
    end = None if timeout is None else time.monotonic() + timeout
    with selectors.DefaultSelector() as selector:
        for stream in sinks:
            selector.register(stream, selectors.EVENT_READ)
        while True:
            ended = child.poll() is not None
            ready = selector.select(0 if ended else 0.02) if selector.get_map() else []
            for key, _ in ready:
                data = os.read(key.fd, 65536)
                if data:
                    sinks[key.fileobj].write(data)
                    sinks[key.fileobj].flush()
                else:
                    selector.unregister(key.fileobj)
            if ended and not ready:
                return
            if not ready and not selector.get_map():
                time.sleep(0.01)
            if end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired(child.args, timeout)


def volumes_of(settings):
    """[('D', '1,2'), …] of the setting "D=1,2 E=3"."""
    pairs = [word.partition('=') for word in settings.get('volumes', '').split()]
    for letter, _, luns in pairs:
        if not re.fullmatch('[A-Za-z]', letter) or not re.fullmatch(r'\d{1,3}(,\d{1,3})*', luns):
            raise LabError(f'{letter}={luns} is no volume: a letter and LUN numbers, D=1 or D=1,2')
    return [(letter.upper(), luns) for letter, _, luns in pairs]


def place_vssapi(prefix, bin_directory=None):
    """The lab's vssapi.dll instead of Wine's, which is a link into the prepared prefix: never written through."""
    dll = find_program('vssapi.dll', bin_directory)
    if not dll:
        return
    placed = os.path.join(prefix, 'drive_c', 'windows', 'system32', 'vssapi.dll')
    if os.path.exists(placed):
        os.unlink(placed)
    shutil.copyfile(dll, placed)


# --- hosts ------------------------------------------------------------------------------------------------------

class State:
    """A directory with hosts in it, and their settings in lab.conf."""

    def __init__(self, path, bin_directory=None):
        self.path = os.path.abspath(path)
        self.bin = bin_directory
        self.conf = os.path.join(self.path, 'lab.conf')

    def host(self, name):
        if not NAME.match(name):
            raise LabError(f'{name!r} is no name for a host: letters, digits, - and _')
        return Host(self, name)

    def names(self):
        parser = self._read()
        return sorted(s[5:] for s in parser.sections() if s.startswith('host ') and ' ' not in s[5:])

    def adapters(self, name):
        """The numbers of the host's SCSI ports: 0 and what follows it in lab.conf as [host NAME adapter N]."""
        parser = self._read()
        numbers = [0]
        while parser.has_section(f'host {name} adapter {len(numbers)}'):
            numbers.append(len(numbers))
        return numbers

    def _read(self):
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read(self.conf)
        except configparser.Error as error:
            raise LabError(f'{self.conf}: {error}') from None
        for section in parser.sections():
            unknown = [k for k in parser[section] if k not in SETTINGS]
            if unknown or not (section == 'lab' or section.startswith('host ')):
                raise LabError(f'{self.conf}: unknown {"key " + unknown[0] if unknown else "section " + section}')
        return parser

    def settings(self, name, adapter=0):
        """[lab] holds for all hosts, [host NAME] for one; the initiator's name has a default."""
        parser = self._read()
        found = {'initiator': f'iqn.1991-05.com.microsoft:lab-{name.lower()}'}
        for section in ('lab', f'host {name}', f'host {name} adapter {adapter}'):
            if parser.has_section(section):
                found.update(parser[section])
        return found

    def configure(self, name, values, adapter=0):
        """Writes the settings that are not None into [host NAME], or [host NAME adapter N]."""
        if adapter > len(self.adapters(name)) or adapter >= ADAPTERS_MAX:
            raise LabError(f'adapters follow each other from 0 to {ADAPTERS_MAX - 1}: host {name} has none before '
                           f'{adapter}')
        os.makedirs(self.path, exist_ok=True)
        with open(os.path.join(self.path, 'lock'), 'w') as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            parser = self._read()
            section = f'host {name} adapter {adapter}' if adapter else f'host {name}'
            if not parser.has_section(section):
                parser.add_section(section)
            for key, value in values.items():
                if value is not None:
                    parser[section][key] = str(value)
            with open(self.conf + '.new', 'w') as out:
                parser.write(out)
            os.rename(self.conf + '.new', self.conf)

    def harm(self):
        """What the hosts' Windows had to reset, and whose commands that ended: lines of the bridges' logs. A story that is
        not about late commands leaves none."""
        found = []
        for log in sorted(glob.glob(os.path.join(self.path, '*', 'bridge*.log'))):
            with open(log, errors='replace') as source:
                found += [f'host {os.path.basename(os.path.dirname(log))}: {line.strip()}' for line in source
                          if line.startswith('RESET')]
        return found

    def drop_adapter(self, name, adapter):
        """Forgets the settings of a host's last adapter; the host must be down."""
        with open(os.path.join(self.path, 'lock'), 'w') as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            parser = self._read()
            parser.remove_section(f'host {name} adapter {adapter}')
            with open(self.conf + '.new', 'w') as out:
                parser.write(out)
            os.rename(self.conf + '.new', self.conf)


# lab/bridge/wire.h: length, version, verb, flags and tag; what the reply of STATUS has behind them and its result.
FRAME = struct.Struct('>IBBHI')
VERB_STATUS = 5
COUNTERS = ('connected', 'sessions', 'rescan-wanted', 'commands', 'timeouts', 'lost', 'faults', 'held', 'resets', 'aborted')


class Bridge:
    """One adapter's bridge: a session with one target."""

    def __init__(self, host, adapter):
        self.host, self.adapter = host, adapter
        base = os.path.join(host.path, f'bridge{adapter}')
        self.process = Process(base + '.pid')
        self.port_file, self.last_port_file, self.log = base + '.port', base + '.last-port', base + '.log'
        self.log_begin = None  # where the log of the process begins that start() started

    def pid(self):
        return self.process.pid()

    def start(self):
        """Also after it was killed: it takes the port that the driver knows, if there is one (another may have it since)."""
        state = self.host.state
        settings = state.settings(self.host.name, self.adapter)
        for key in ('portal', 'target'):
            if not settings.get(key):
                raise LabError(f'host {self.host.name} has no {key}: give --{key} or write it into {state.conf}')
        arguments = [need_program('umbra-lab-bridge', state.bin), '--port-file', self.port_file,
                     '--adapter', str(self.adapter)]
        for key in ('portal', 'target', 'initiator', 'chap_user', 'chap_secret_file', 'link_down_ms', 'nop_ms', 'reset_ms'):
            if settings.get(key):
                arguments += ['--' + key.replace('_', '-'), settings[key]]
        if self.host.is_up() and os.path.exists(self.last_port_file):
            arguments += ['--port', tail(self.last_port_file, 1)]
        if os.path.exists(self.port_file):
            os.unlink(self.port_file)
        self.log_begin = os.path.getsize(self.log) if os.path.exists(self.log) else 0
        child = self.process.start(arguments, self.log)
        if not wait_until(lambda: os.path.exists(self.port_file) or child.poll() is not None, PATIENCE_S) or \
                child.poll() is not None:
            self.process.stop()
            raise LabError(f'the bridge did not start: {tail(self.log)}')
        shutil.copyfile(self.port_file, self.last_port_file)

    def stop(self):
        self.process.stop()
        if os.path.exists(self.port_file):
            os.unlink(self.port_file)

    def refused(self):
        """Did the target refuse its secret? Waiting does not change that."""
        if self.log_begin is None:
            return False
        with open(self.log, errors='replace') as source:
            source.seek(self.log_begin)
            return any(line.startswith('login failed') and 'Authentication failure' in line for line in source)

    def control(self, *words):
        """Speaks to the bridge: status, list, rescan, fault …. Returns its output."""
        done = subprocess.run([need_program('umbra-lab-bridge', self.host.state.bin), '--control', self.port_file,
                               *words], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise LabError((done.stderr or done.stdout).strip())
        return done.stdout

    def counters(self):
        """What control('status') tells; asked for without a program, for tests do it over and over."""
        try:
            with open(self.port_file) as source:
                address = '127.0.0.1', int(source.read())
            with socket.create_connection(address, PATIENCE_S) as peer, peer.makefile('rb') as replies:
                peer.sendall(FRAME.pack(FRAME.size - 4, 1, VERB_STATUS, 0, 1))
                reply = replies.read(struct.unpack('>I', replies.read(4))[0])
            return dict(zip(COUNTERS, struct.unpack(f'>{len(COUNTERS)}I', reply[12:])))
        except (OSError, ValueError, struct.error) as error:
            raise LabError(f'no bridge answers at the port in {self.port_file}: {error}') from None


class Host:
    def __init__(self, state, name):
        self.state, self.name = state, name
        self.path = os.path.join(state.path, name)
        self.prefix = os.path.join(self.path, 'prefix')
        self.keeper = Process(os.path.join(self.path, 'keeper.pid'))
        self.manager = Process(os.path.join(self.path, 'volumes.pid'))
        self.bridges = [Bridge(self, adapter) for adapter in state.adapters(name)]
        self.bridge = self.bridges[0]

    def _file(self, name):
        return os.path.join(self.path, name)

    def is_up(self):
        return self.keeper.pid() is not None

    def up(self):
        """Brings the host up; one that is up stays so (a bridge that ended is started again)."""
        os.makedirs(self.path, exist_ok=True)
        if not os.path.isdir(self.prefix):
            copy_prefix(prepare_prefix(), self.prefix)
        try:
            for bridge in self.bridges:
                if bridge.pid() is None:
                    bridge.start()
            if not self.is_up():
                self._start_wine()
        except LabError:
            self.down()
            raise

    def _start_wine(self):
        """Wine's own processes do not always find each other at their start: it gets a second one, from nothing."""
        try:
            self._start_keeper()
        except LabError:
            self.keeper.stop()
            if self._refused():
                raise
            self._start_keeper()

    def _refused(self):
        return any(bridge.refused() for bridge in self.bridges)

    def _start_keeper(self):
        end_prefix(self.prefix)  # what an earlier host may have left
        ready, log = self._file('ready'), self._file('keeper.log')
        if os.path.exists(ready):
            os.unlink(ready)
        ports = ','.join(tail(bridge.port_file, 1) for bridge in self.bridges)
        keeper = need_program('umbra-lab-keeper.exe', self.state.bin)
        driver = need_program('umbra-lab-scsi.sys', self.state.bin)
        arguments = [wine_program(), keeper, windows_path(ready), ports, windows_path(driver)]
        for option, name in (('--proxy-stub', 'vss_ps.dll'), ('--coordinator', 'umbra-lab-vss.exe')):
            path = find_program(name, self.state.bin)
            if path:
                arguments += [option, windows_path(path)]
        settings = self.state.settings(self.name)
        for letter, luns in volumes_of(settings):
            arguments += ['--volume', f'{letter}={luns}']
        place_vssapi(self.prefix, self.state.bin)
        if settings.get('mounted') == 'yes':
            arguments += ['--setting', f'VolumePort={self._start_volumes(settings)}']
        else:
            arguments += ['--setting', 'VolumePort=0']
        for key, name in COORDINATOR_SETTINGS.items():
            if settings.get(key):
                arguments += ['--setting', f'{name}={settings[key]}']
        child = self.keeper.start(arguments, log, wine_environment(self.prefix))
        came = wait_until(lambda: os.path.exists(ready) or child.poll() is not None or self._refused(), PATIENCE_S)
        said = tail(ready, 1)
        if said != 'ok':
            why = said or ('the target refuses its secret' if self._refused() else
                           f'it ended ({child.poll()}) {tail(log)}' if came else f'it gave no answer in {PATIENCE_S} s')
            raise LabError(f'host {self.name} did not come up: {why}. Bridge: {tail(self.bridge.log, 2)}')

    def _start_volumes(self, settings):
        """The volume manager; the drives are there before Wine starts, which looks for them then only. Its port."""
        self._stop_volumes()
        why = volumes.missing()
        if why:
            raise LabError(f'the volumes of host {self.name} cannot be mounted: {why}')
        folder = self._file('volumes')
        os.makedirs(folder, exist_ok=True)
        told = {key: settings.get(key) for key in ('portal', 'target', 'chap_user', 'chap_secret_file', 'initiator')}
        told.update(prefix=self.prefix, hold_port=int(settings.get('hold_port') or 0),
                    volumes=[(letter, int(luns)) for letter, luns in volumes_of(settings) if ',' not in luns])
        with open(self._file('volumes.json'), 'w') as out:
            json.dump(told, out)
        with open(self._file('volumes.json')) as source:
            child = self.manager.start([sys.executable, volumes.__file__, folder], self._file('volumes.log'), stdin=source)
        port = os.path.join(folder, 'port')
        if not wait_until(lambda: os.path.exists(port) or child.poll() is not None, PATIENCE_S) or not os.path.exists(port):
            raise LabError(f'the volumes of host {self.name} cannot be mounted: {tail(self._file("volumes.log"))}')
        return int(tail(port, 1))

    def _stop_volumes(self):
        self.manager.stop(PATIENCE_S)
        port = os.path.join(self._file('volumes'), 'port')
        if os.path.exists(port):
            os.unlink(port)

    def down(self):
        """Ends everything; True when nothing is left."""
        clean = True
        if os.path.isdir(self.prefix):
            clean = end_prefix(self.prefix)
        self.keeper.stop()
        self._stop_volumes()
        for bridge in self.bridges:
            bridge.stop()
        if os.path.exists(self._file('ready')):
            os.unlink(self._file('ready'))
        return clean

    def kill(self):
        """Everything of the host at once, its first session too, and nothing in order; down() clears away the rest."""
        os.kill(self.bridge.pid(), signal.SIGKILL)
        kill_processes(prefix_processes(self.prefix))

    def processes(self, program):
        """Linux process ids of a Windows program in the host."""
        return [pid for pid in prefix_processes(self.prefix) if program in ''.join(command_line(pid)[:1])]

    def kill_program(self, program):
        """kill -9; the number of processes that were there."""
        pids = self.processes(program)
        kill_processes(pids)
        wait_until(lambda: not any(start_time(pid) for pid in pids), PATIENCE_S)
        return len(pids)

    def command(self, program, *arguments):
        """The command line and environment of a Windows program in this host."""
        if not self.is_up():
            raise LabError(f'host {self.name} is not up: lab/lab --state {self.state.path} up --host {self.name}')
        return [wine_program(), os.path.abspath(program), *arguments], wine_environment(self.prefix)

    def run(self, program, *arguments, capture=False, timeout=None, stdin=subprocess.DEVNULL):
        """Runs a Windows program to its end: a CompletedProcess, with the output as text when it is captured.

        The output goes through pipes that are read until the program ends, not until they close: what it leaves
        running (COM starts the coordinator as its child) holds them open.

        One that fails without a word is told of, with what its host was doing.
        """
        if not os.path.isfile(program):
            raise LabError(f'there is no program {program}')
        command, env = self.command(program, *arguments)
        child = subprocess.Popen(command, env=env, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        sinks = {child.stdout: io.BytesIO() if capture else sys.stdout.buffer,
                 child.stderr: io.BytesIO() if capture else sys.stderr.buffer}
        try:
            relay(child, sinks, timeout)
        except BaseException as error:
            stuck = Stuck(error, self.prefix) if isinstance(error, subprocess.TimeoutExpired) else None
            child.kill()
            child.wait()
            raise stuck or error
        if child.returncode < 0:  # what it had not written yet is lost
            sinks[child.stderr].write(f'{os.path.basename(program)} was ended by signal {-child.returncode}\n'.encode())
        if capture and child.returncode > 0 and not any(sink.getvalue() for sink in sinks.values()):
            sinks[child.stderr].write(f'{os.path.basename(program)} ended with {child.returncode} and said nothing; the host:\n'
                                      f'{picture(self.prefix)}\n'.encode())
        texts = [sinks[s].getvalue().decode(errors='replace') if capture else None for s in (child.stdout, child.stderr)]
        child.stdout.close()
        child.stderr.close()
        return subprocess.CompletedProcess(command, child.returncode, *texts)

    def status(self):
        """What lab status tells."""
        status = {'host': self.name, 'up': self.is_up(), 'adapters': []}
        for bridge in self.bridges:
            row = {'adapter': bridge.adapter, 'bridge': bridge.pid() is not None, 'connected': False, 'luns': 0,
                   'initiator': self.state.settings(self.name, bridge.adapter).get('initiator')}
            try:
                row['connected'] = row['bridge'] and bridge.counters()['connected'] == 1
                row['luns'] = len(bridge.control('list').splitlines()) if row['connected'] else 0
            except LabError:
                row['bridge'] = False
            status['adapters'].append(row)
        return status


# --- the requester ----------------------------------------------------------------------------------------------

PATH_OPTIONS = ('--transportable', '--document')
PATH_SWITCHES = ('-t', '-script', '-exec', '-bc', '-i', '-resync')  # vshadow's: -t=FILE
PATH_VERBS = ('import', 'resync')
VALUE_OPTIONS = ('--seed', '--stagger-ms', '--provider', '--snapshot', '--cancel-after-ms', '--abandon-after', '--abort-after')


def requester_arguments(words):
    """The requester's own words, with paths of this machine turned into Windows ones."""
    out = []
    for i, word in enumerate(words):
        option, equals, value = word.partition('=')
        is_path = i > 0 and (words[i - 1] in PATH_OPTIONS or (words[0] in PATH_VERBS and not word.startswith('-') and
                                                             words[i - 1] not in VALUE_OPTIONS))
        if option in PATH_OPTIONS and equals:
            out += [option, windows_path(value)]
        elif option in PATH_SWITCHES and equals:
            out.append(f'{option}={windows_path(value)}')
        else:
            out.append(windows_path(word) if is_path else word)
    return out


def json_in(text):
    """The first JSON value of a program's output, or None. What it started, and Wine, may say more after it."""
    starts = [at for at in (text.find('{'), text.find('[')) if at >= 0]
    try:
        return json.JSONDecoder().raw_decode(text, min(starts))[0] if starts else None
    except ValueError:
        return None


def start_requester(host, *words):
    """A request that is not waited for: a Popen whose output goes to files, to be given to finish_requester."""
    program = need_program('umbra-lab-requester.exe', host.state.bin)
    command, env = host.command(program, *requester_arguments([str(w) for w in words]), '--json')
    files = tempfile.TemporaryFile(), tempfile.TemporaryFile()
    child = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=files[0], stderr=files[1])
    child.output_files = files
    return child


def finish_requester(child, timeout):
    """Waits for it. Its exit code, its JSON (None: it gave none) and all that it wrote."""
    child.wait(timeout)
    texts = []
    for file in child.output_files:
        file.seek(0)
        texts.append(file.read().decode(errors='replace'))
        file.close()
    return child.returncode, json_in(texts[0]), ''.join(texts)


def provider_of_class(host, clsid):
    """The provider id under which a CLSID is registered."""
    requester = need_program('umbra-lab-requester.exe', host.state.bin)
    done = host.run(requester, 'providers', '--json', capture=True)
    providers = json_in(done.stdout)
    if providers is None:
        raise LabError(f'the coordinator gave no list of providers: {(done.stderr or done.stdout).strip()}')
    bare = clsid.strip('{}').lower()
    for provider in providers:
        if str(provider.get('clsid', '')).strip('{}').lower() == bare:
            return provider['id']
    raise LabError(f'no provider is registered with the class {clsid}: run its installer by lab/lab run')
