# SPDX-License-Identifier: Apache-2.0
"""An array for tests: a pool in a temporary directory, umbrad on 127.0.0.1 and a free port, umbractl.

    with Array() as array:                      # made, started, ready
        array.ctl('lun', 'create', 'a', '--size', '64M')
        array.add_host('h1', 'iqn.2026-01.test:h1', secret='0123456789ab')
        array.ctl('map', 'a', 'h1')
        url = array.url('h1', 1)                # iscsi://user%secret@127.0.0.1:PORT/TARGET/1
        array.kill9(); array.restart()

Run by umbra_ceph.py, a test has its arrays in that cluster in place of a pool, as with Array(ceph=cluster).

The programs: $UMBRAD and $UMBRACTL, else build/bin/, else build/linux/. Everything is stopped by its pid and the
directory removed at the end; when the test failed, umbrad's log is printed first.
"""
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
READY_TIMEOUT_S = 600 * float(os.environ.get('UMBRA_TEST_PATIENCE', '1'))


def program(name, variable):
    """The path of a program of ours."""
    given = os.environ.get(variable)
    if given:
        return os.path.abspath(given)
    for folder in ('build/bin', 'build/linux/array', 'build/linux/ctl'):
        path = os.path.join(ROOT, folder, name)
        if os.path.exists(path):
            return path
    raise FileNotFoundError(f'{name}: build first (make linux), or set ${variable}')


def umbrad_path():
    return program('umbrad', 'UMBRAD')


def umbractl_path():
    return program('umbractl', 'UMBRACTL')


class CtlError(Exception):
    """umbractl ended with another exit code than wanted."""

    def __init__(self, arguments, done):
        super().__init__(f"umbractl {' '.join(arguments)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        self.code = done.returncode
        self.stdout, self.stderr = done.stdout, done.stderr


class Refused(Exception):
    """A method's refusal: the errno's name, and what it says."""

    def __init__(self, call, error):
        super().__init__(f"{call}: {error['message']}")
        self.name, self.message = error['data']['name'], error['message']


class Management:
    """umbrad's management socket without umbractl: for what a test asks again and again. With `with`, or close()."""

    def __init__(self, path, timeout=READY_TIMEOUT_S):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.lines = self.socket.makefile('rwb')
        try:
            self.socket.connect(path)
        except OSError:
            self.close()
            raise

    def ask(self, method, **params):
        return self.ask_all([(method, params)])[0]

    def ask_all(self, requests, at_once=64):
        """(method, parameters) of each, so many under way; their results in order."""
        results, sent = [], 0
        while len(results) < len(requests):
            while sent < len(requests) and sent - len(results) < at_once:
                method, params = requests[sent]
                call = {'jsonrpc': '2.0', 'id': sent, 'method': method, 'params': params}
                self.lines.write(json.dumps(call).encode() + b'\n')
                sent += 1
            self.lines.flush()
            line = self.lines.readline()
            if not line:
                raise ConnectionResetError('umbrad hung up')
            answer = json.loads(line)
            assert answer['id'] == len(results), (answer, len(results))
            if 'error' in answer:
                assert answer['error']['code'] == -32000, (requests[len(results)], answer)  # else a mistake of the test
                raise Refused(requests[len(results)], answer['error'])
            results.append(answer['result'])
        return results

    def close(self):
        self.lines.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *what):
        self.close()


class Array:
    """config: {section: {key: value}} over the defaults. pool: an existing pool's path (not removed). popen: options of
    subprocess.Popen's for umbrad. ceph: a cluster (umbra_ceph.Cluster) that has the array; of: another Array, whose array
    in Ceph this one is to serve."""

    made = 0

    def __init__(self, config=None, pool=None, start=True, name='lab', umbrad=None, pool_options=(), popen=None, ceph=None, of=None):
        self.umbrad = umbrad or umbrad_path()
        self.popen = popen or {}
        self.dir = tempfile.mkdtemp(prefix='umbra-')
        self.pool = pool or os.path.join(self.dir, 'pool')
        self.socket = os.path.join(self.dir, 'umbrad.sock')
        self.config_path = os.path.join(self.dir, 'umbrad.conf')
        self.port_file = os.path.join(self.dir, 'port')
        self.log_path = os.path.join(self.dir, 'log')
        self.target = f'iqn.2026-01.dev.umbra:{name}'
        self.process = None
        self.ports = []
        self.hosts = {}  # name: (iqn, secret or None)
        self.config = {
            'array': {'name': name},
            'pool': {'path': self.pool},
            'iscsi': {'portals': '127.0.0.1:0', 'target_name': self.target},
            'copysets': {},
            'management': {'socket': self.socket},
        }
        self.ceph = self._place_in_ceph(ceph, of) if not pool and not pool_options else None
        if self.ceph:
            del self.config['pool']
            self.config.update(store={'type': 'rbd'}, rbd=self.ceph)
        for section, keys in (config or {}).items():
            self.config.setdefault(section, {}).update(keys)
        self.write_config()
        try:
            if self.ceph and not of:
                run_ctl('rbd', 'create', *self.ceph_words())
            elif not self.ceph and not pool:
                run_ctl('pool', 'create', self.pool, *pool_options)
            if start:
                self.start()
        except BaseException:
            self.remove()
            raise

    @staticmethod
    def _place_in_ceph(ceph, of):
        """The keys of [rbd]; None: a pool of this machine."""
        if of:
            return dict(of.ceph)
        pool, conf = (ceph.pool, ceph.conf) if ceph else (os.environ.get('UMBRA_TEST_CEPH_POOL'), os.environ.get('CEPH_CONF'))
        Array.made += 1
        return {'pool': pool, 'conf': conf, 'array': f'a{os.getpid()}-{Array.made}'} if pool else None

    def ceph_words(self):
        """Operand and options that name the array in Ceph to umbractl."""
        keys = self.config['rbd']
        return [keys['pool']] + [word for key in keys if key != 'pool' for word in ('--' + key, keys[key])]

    def write_config(self):
        with open(self.config_path, 'w') as file:
            for section, keys in self.config.items():
                file.write(f'[{section}]\n')
                for key, value in keys.items():
                    file.write(f'{key} = {value}\n')

    # ---- its clock of the wall (clock_ahead.c)

    def with_a_clock(self):
        """It can be set from the next start on; as it is set it stays over restarts."""
        self.popen = {'env': dict(os.environ, LD_PRELOAD=os.environ['UMBRA_CLOCK_AHEAD'], UMBRA_TEST_AHEAD=self._ahead(),
                                  ASAN_OPTIONS='verify_asan_link_order=0')}

    def set_clock(self, days):
        """So much ahead of the right time; negative: behind it."""
        with open(self._ahead(), 'r+b') as file:
            file.write(struct.pack('q', days * 24 * 3600))

    def _ahead(self):
        return os.path.join(self.dir, 'ahead')

    # ---- the daemon

    def start(self):
        """Starts umbrad and waits until it is ready."""
        assert self.process is None
        if os.path.exists(self.port_file):
            os.unlink(self.port_file)
        with open(self.log_path, 'a') as log:
            self.process = subprocess.Popen(
                [self.umbrad, '--config', self.config_path, '--port-file', self.port_file],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self.popen)
        end = time.monotonic() + READY_TIMEOUT_S
        while not os.path.exists(self.port_file):
            code = self.process.poll()
            if code is not None:
                self.process = None
                raise RuntimeError(f'umbrad ended with {code} at its start:\n{self.log()}')
            if time.monotonic() > end:
                self.kill9()
                raise RuntimeError(f'umbrad was not ready in {READY_TIMEOUT_S:.0f} s:\n{self.log()}')
            time.sleep(0.01)
        with open(self.port_file) as file:
            self.ports = [int(line) for line in file]

    @property
    def port(self):
        return self.ports[0]

    @property
    def pid(self):
        return self.process.pid if self.process else None

    def stop(self, timeout_s=600):
        """An orderly end; returns the exit code."""
        if not self.process:
            return None
        process, self.process = self.process, None
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise RuntimeError(f'umbrad did not end in {timeout_s} s:\n{self.log()}') from None

    def kill9(self):
        if self.process:
            process, self.process = self.process, None
            process.kill()
            process.wait()

    def restart(self):
        """Stops it if it runs, starts it again (the port may be another one)."""
        self.stop()
        self.start()

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def log(self):
        try:
            with open(self.log_path, errors='replace') as file:
                return file.read()
        except OSError:
            return ''

    # ---- umbractl

    def ctl(self, *arguments, check=True, want=0):
        """Runs umbractl with --json: the parsed answer. check=False: the CompletedProcess, whatever it is."""
        done = run_ctl(*arguments, '--json', socket=self.socket, check=False)
        if not check:
            return done
        if done.returncode != want:
            raise CtlError(arguments, done)
        return json.loads(done.stdout) if done.stdout.strip() else None

    def rows(self, kind, member):
        """All that the method KIND.list has, asked for without umbractl: for what a test looks at again and again."""
        rows, offset = [], 0
        try:
            with Management(self.socket) as management:
                while offset is not None:
                    page = management.ask(f'{kind}.list', offset=offset)
                    rows += page[member]
                    offset = page['next']
            return rows
        except (OSError, Refused):
            return self.ctl(kind, 'list')[f'{kind}s']  # which tells what is wrong

    def text(self, *arguments, want=0):
        """Runs umbractl without --json: what it prints."""
        done = run_ctl(*arguments, socket=self.socket, check=False)
        if done.returncode != want:
            raise CtlError(arguments, done)
        return done.stdout

    def add_host(self, name, iqn, *options, secret=None):
        arguments = ['host', 'add', name, '--iqn', iqn, *options]
        if secret:
            path = os.path.join(self.dir, f'secret-{name}')
            with open(path, 'w') as file:
                file.write(secret + '\n')
            arguments += ['--chap-file', path]
        self.hosts[name] = (iqn, secret)
        return self.ctl(*arguments)

    def portal(self):
        return f'127.0.0.1:{self.port}'

    def url(self, host, number):
        """libiscsi's and qemu's URL of a LUN. The initiator name is not in it, but an option of the tool."""
        iqn, secret = self.hosts[host]
        user = f'{iqn}%{secret}@' if secret else ''
        return f'iscsi://{user}127.0.0.1:{self.port}/{self.target}/{number}'

    # ---- the end

    def remove(self):
        if self.process:
            self.kill9()
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind:
            sys.stderr.write(f'--- umbrad\'s log\n{self.log()}---\n')
        try:
            if kind is None and self.process:
                code = self.process.poll()
                if code is not None:
                    raise RuntimeError(f'umbrad had ended with {code}:\n{self.log()}')
                code = self.stop()
                if code != 0:
                    raise RuntimeError(f'umbrad ended with {code}:\n{self.log()}')
        finally:
            self.remove()


def run_ctl(*arguments, socket=None, check=True, stdin=None):
    """umbractl as a CompletedProcess; check: raises CtlError unless it ends 0."""
    command = [umbractl_path(), *arguments]
    if socket:
        command += ['--socket', socket]
    done = subprocess.run(command, stdin=stdin or subprocess.DEVNULL, capture_output=True, text=True,
                          errors='replace', timeout=600)
    if check and done.returncode != 0:
        raise CtlError(arguments, done)
    return done
