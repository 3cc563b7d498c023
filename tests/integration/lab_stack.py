# SPDX-License-Identifier: Apache-2.0
"""The whole stack for lab tests: an array, hosts under Wine, the hold broker, writers.

    with Stack(luns={'a': '64M', 'b': '64M'}, hosts='AB') as s:   # LUNs 1, 2, … mapped to host A; B has none
        s.install_provider('A')
        code, res = s.ask('create', '--lun', '1')                 # the requester's exit code and JSON
"""
import json
import os
import subprocess
import sys
import tempfile

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__)),
                os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'lab')]
import labhost  # noqa: E402
from lab_tgt import free_port  # noqa: E402
from umbra_lab import Array  # noqa: E402

SECRET = '0123456789abcdef'
METHODS = ('EndPrepareSnapshots', 'PreCommitSnapshots', 'CommitSnapshots', 'PostCommitSnapshots', 'GetTargetLuns',
           'PreFinalCommitSnapshots', 'PostFinalCommitSnapshots')


def iqn(host):
    return f'iqn.1991-05.com.microsoft:lab-{host.lower()}'


class Stack:
    def __init__(self, luns, hosts='A', config=None, hold=False, host_options=None, volumes=None, mounted=False):
        self.directory = tempfile.mkdtemp(prefix='umbra-stack-')
        self.luns, self.host_names = dict(luns), list(hosts)
        self.config, self.want_hold, self.host_options = config, hold, host_options or {}
        self.volumes, self.mounted = volumes or {}, mounted  # host: 'D=1 E=2,3'
        self.array = self.state = self.broker = None
        self.writers = []
        self.checks = self.failed = 0

    def path(self, name):
        return os.path.join(self.directory, name)

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def _start(self):
        self.array = Array(config=self.config)
        with open(self.path('secret'), 'w') as out:
            out.write(SECRET + '\n')
        for name, size in self.luns.items():
            self.array.ctl('lun', 'create', name, '--size', size)
        for host in self.host_names:
            self.array.add_host(host, iqn(host), *self.host_options.get(host, ()), secret=SECRET)
        self.array.add_host('writer', iqn('writer'), secret=SECRET)
        for name in self.luns:
            self.array.ctl('map', name, self.host_names[0])
            self.array.ctl('map', name, 'writer')
        if self.want_hold:
            self.start_broker()
        self.state = labhost.State(self.path('state'))
        for host in self.host_names:
            self.state.configure(host, {
                'portal': self.array.portal(), 'target': self.array.target, 'chap_user': iqn(host),
                'chap_secret_file': self.path('secret'), 'hold_port': self.hold_port if self.broker else 0,
                'volumes': self.volumes.get(host)})
            if self.mounted:  # up comes the host when there is something on its LUNs
                self.state.configure(host, {'mounted': 'yes'})
                continue
            self.state.host(host).up()

    def __exit__(self, kind, value, trace):
        for process in self.writers + ([self.broker] if self.broker else []):
            if process.poll() is None:
                process.terminate()
                process.wait(labhost.PATIENCE_S)
        clean = True
        if self.state:
            clean = all([self.state.host(name).down() for name in self.host_names])
        if self.array:
            self.array.__exit__(kind, value, trace)
        labhost.shutil.rmtree(self.directory, ignore_errors=True)
        if not clean and kind is None:
            raise RuntimeError('processes of a lab host were left')

    # ---- checks

    def check(self, good, what, detail=None):
        self.checks += 1
        if not good:
            self.failed += 1
        print(('ok   ' if good else 'FAIL ') + what + ('' if good or detail is None else f': {detail}'), flush=True)
        return good

    def done(self):
        print(f'{self.checks} checks, {self.failed} failed')
        return 1 if self.failed or not self.checks else 0

    # ---- hosts

    def run(self, program, *words, host='A', timeout=labhost.PATIENCE_S):
        return self.state.host(host).run(labhost.need_program(program), *words, capture=True, timeout=timeout)

    def ask(self, *words, host='A', timeout=labhost.PATIENCE_S):
        """The requester: its exit code and what its JSON says."""
        done = self.run('umbra-lab-requester.exe', *words, '--json', host=host, timeout=timeout)
        nothing = {'hresult_name': None, 'message': done.stderr, 'calls': [], 'phases': [], 'luns': []}
        return done.returncode, labhost.json_in(done.stdout) or nothing

    def install_provider(self, host='A'):
        done = self.run('umbra-vss.exe', 'install', host=host)
        if done.returncode != 0:
            raise RuntimeError(f'umbra-vss install: exit code {done.returncode} {done.stdout}{done.stderr}')

    def install_selftest(self, host='A'):
        """The lab's own provider, whose answers tell() decides."""
        for verb in ('register', 'register-provider'):
            if self.run('umbra-lab-selftest.exe', verb, host=host).returncode != 0:
                raise RuntimeError(f'umbra-lab-selftest {verb} failed')

    def registry(self, *lines, host='A'):
        """Lines of a .reg file, below HKLM\\Software\\Umbra: one program for all of them, and it must succeed."""
        path = self.path('settings.reg')
        with open(path, 'w') as out:
            out.write('REGEDIT4\n' + '\n'.join(lines) + '\n')
        reg = os.path.join(self.state.host(host).prefix, 'drive_c/windows/system32/reg.exe')
        done = self.state.host(host).run(reg, 'import', labhost.windows_path(path), capture=True, timeout=labhost.PATIENCE_S)
        if done.returncode != 0:
            raise RuntimeError(f'reg import: {done.stdout}{done.stderr}')

    def setting(self, name, value, host='A'):
        self.registry(r'[HKEY_LOCAL_MACHINE\Software\Umbra\Lab]', f'"{name}"=dword:{value:08x}', host=host)

    def tell(self, host='A', **answers):
        """What the selftest provider is to do from now on, and nothing else: CommitSnapshots=0x80004005, …Ms=500.
        ShadowSerial='…': the disk that it has for its shadow LUN."""
        key = r'HKEY_LOCAL_MACHINE\Software\Umbra\Lab\Selftest'
        self.registry(f'[-{key}]', f'[{key}]', *(f'"{name}"="{value}"' if isinstance(value, str) else f'"{name}"=dword:{value:08x}'
                                                      for name, value in answers.items()),
                      host=host)

    # ---- the array

    def shadows(self):
        return self.array.ctl('shadow', 'list')['shadows']

    def sets(self):
        return self.array.ctl('set', 'list')['sets']

    def url(self, number, host='writer'):
        return f'iscsi://{iqn(host)}%{SECRET}@{self.array.portal()}/{self.array.target}/{number}'

    def qemu_img(self, number, host='A'):
        """qemu-img's words for a LUN."""
        return ['--object', f'secret,id=s,data={SECRET}', '--image-opts'], (
            f'driver=iscsi,transport=tcp,portal={self.array.portal()},target={self.array.target},lun={number},'
            f'user={iqn(host)},password-secret=s,initiator-name={iqn(host)}')

    def make_gpt(self, number, size_bytes):
        """A GPT with one data partition on a LUN."""
        image = self.path('gpt.img')
        with open(image, 'wb') as out:
            out.truncate(size_bytes)
        subprocess.run(['sgdisk', '-n', '1:2048:0', '-t', '1:0700', image], check=True, stdout=subprocess.DEVNULL)
        options, target = self.qemu_img(number)
        subprocess.run(['qemu-img', 'convert', '-n', '-f', 'raw', *options[:2], image, '--target-image-opts', target],
                       check=True, stdout=subprocess.DEVNULL)
        os.unlink(image)

    # ---- broker and writers

    def start_broker(self, port=None):
        if os.path.exists(self.path('hold.port')):
            os.unlink(self.path('hold.port'))
        self.broker = subprocess.Popen([labhost.need_program('umbra-lab-hold'), '--port', str(port or free_port()),
                                        '--port-file', self.path('hold.port')])
        if not labhost.wait_until(lambda: os.path.exists(self.path('hold.port')), labhost.PATIENCE_S):
            raise RuntimeError('the hold broker did not start')
        with open(self.path('hold.port')) as source:
            self.hold_port = int(source.read())

    def writer_words(self, a, b, host='writer'):
        return ['--a', self.url(a, host), '--b', self.url(b, host), '--initiator', iqn(host), '--offset',
                str(8 << 20), '--streams', '4', '--slots', '32']

    def start_writer(self, a, b, hold=True, name='writer'):
        ready = self.path(f'{name}.ready')
        words = [labhost.need_program('umbra-lab-writer'), 'run', *self.writer_words(a, b), '--ready', ready,
                 '--ledger', self.path(f'{name}.ledger'), '--pause-us', '2000', '--name', name]
        words += ['--hold', str(self.hold_port)] if hold else ['--no-hold']
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL)
        self.writers.append(process)
        if not labhost.wait_until(lambda: os.path.exists(ready) or process.poll() is not None, labhost.PATIENCE_S) or \
                process.poll() is not None:
            raise RuntimeError('the writer did not start')
        return process

    def stop_writer(self, process):
        process.terminate()
        code = process.wait(labhost.PATIENCE_S)
        self.writers.remove(process)
        return code

    def ledger(self, name='writer'):
        with open(self.path(f'{name}.ledger')) as source:
            return [json.loads(line) for line in source]

    def verify(self, a, b, expect=None, host='A'):
        """Do two LUNs show one instant? Through a host's own sessions. The exit code and the verdict."""
        words = [labhost.need_program('umbra-lab-writer'), 'verify', *self.writer_words(a, b, host), '--json']
        done = subprocess.run(words + (['--expect', expect] if expect else []), capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=labhost.PATIENCE_S)
        return done.returncode, done.stdout + done.stderr


def by_role(result, role):
    return [one for one in result['luns'] if one['role'] == role]


def called(result):
    return [one['method'] for one in result['calls']]
