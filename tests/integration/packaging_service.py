#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The service's user: umbrad runs as somebody who is not root, without any capability, and under the system calls that the unit
allows (whatever else it called would kill it here), on a pool that root has made or had, on a device of the group disk; what root
does with the pool's tools meanwhile leaves files that it can open. What umbrad prints for systemd is what systemd reads.

usage: packaging_service.py BUILD. Only root can become somebody else: for others these parts are left out, and named.
"""
import ctypes
import grp
import os
import pwd
import re
import shutil
import stat
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from umbra_initiator import Session  # noqa: E402
from umbra_lab import Array, run_ctl, umbrad_path  # noqa: E402

USER = pwd.getpwnam('daemon')  # an account that every Debian has, and nothing runs as
NO_NEW_PRIVILEGES = 38
ALLOW, KILL = 0x7fff0000, 0x80000000
SECONDS = 600 * float(os.environ.get('UMBRA_TEST_PATIENCE', '1'))


def output_of(*command, code=0):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=SECONDS)
    assert done.returncode == code, f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}"
    return done.stdout


def read(path):
    with open(path) as file:
        return file.read()


# ---- what the unit says


def allowed_calls(unit):
    """The names of the system calls that SystemCallFilter= leaves, by the lists of systemd that is here."""
    def members(name):
        if not name.startswith('@'):
            return {name}
        lines = output_of('systemd-analyze', 'syscall-filter', name).splitlines()[1:]
        return set().union(*(members(line.strip()) for line in lines if line.strip() and not line.strip().startswith('#')))

    calls = set()
    for text in re.findall(r'^SystemCallFilter=(.*)$', unit, re.M):
        named = set().union(*(members(name) for name in text.lstrip('~').split()))
        calls = calls - named if text.startswith('~') else calls | named
    return sorted(calls)


class Confinement:
    """For preexec_fn: another user, no capability, no way to one, and the unit's system calls only."""

    def __init__(self, unit, groups=()):
        self.calls, self.groups = allowed_calls(unit), list(groups)
        assert 'io_uring_setup' in self.calls and 'mount' not in self.calls and 'setuid' not in self.calls
        self.lib = ctypes.CDLL('libseccomp.so.2', use_errno=True)
        self.lib.seccomp_init.restype = ctypes.c_void_p
        self.lib.seccomp_init.argtypes = [ctypes.c_uint32]
        self.lib.seccomp_rule_add_array.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p]
        self.lib.seccomp_load.argtypes = [ctypes.c_void_p]
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.filter = self.lib.seccomp_init(KILL)
        for name in self.calls:
            number = self.lib.seccomp_syscall_resolve_name(name.encode())
            if number >= 0:  # else this machine has no such call
                assert self.lib.seccomp_rule_add_array(self.filter, ALLOW, number, 0, None) == 0, name

    def __call__(self):
        os.umask(0o077)
        os.setgroups(self.groups)
        os.setgid(USER.pw_gid)
        os.setuid(USER.pw_uid)
        if self.libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) or self.lib.seccomp_load(self.filter):
            os._exit(99)


def confined(unit, groups=()):
    """popen options. The leak sanitizer traces its own process at the end, which the unit's filter forbids."""
    return {'preexec_fn': Confinement(unit, groups),
            'env': dict(os.environ, ASAN_OPTIONS=os.environ.get('ASAN_OPTIONS', '') + ':detect_leaks=0')}


def printed_unit(folder, **sections):
    path = os.path.join(folder, 'unit.conf')
    with open(path, 'w') as file:
        for section, keys in sections.items():
            file.write(f'[{section}]\n' + ''.join(f'{key} = {value}\n' for key, value in keys.items()))
    return output_of(umbrad_path(), '--config', path, '--unit')


def the_units_are_right(build, folder):
    text = printed_unit(folder, pool={'path': '/srv/umbra'})
    assert [line for line in text.splitlines() if '=' in line] == ['RequiresMountsFor="/srv/umbra"', 'ReadWritePaths="-/srv/umbra"'], text
    text = printed_unit(folder, pool={'path': '/data/a b%h"c', 'data_device': '/dev/disk/by-id/nvme-X_1.2', 'meta_mirror': '/mnt/m'},
                        iscsi={'portals': '0.0.0.0:860'}, management={'group': 'daemon'})
    for line in ('RequiresMountsFor="/data/a b%%h\\"c"', 'RequiresMountsFor="/mnt/m"', 'ReadWritePaths="-/mnt/m"',
                 'DeviceAllow="/dev/disk/by-id/nvme-X_1.2" rw', 'SupplementaryGroups=disk', 'SupplementaryGroups=daemon',
                 'AmbientCapabilities=CAP_NET_BIND_SERVICE'):
        assert line in text.splitlines(), (line, text)
    rbd = {'store': {'type': 'rbd'}, 'rbd': {'pool': 'p'}}
    families = 'RestrictAddressFamilies=AF_NETLINK'  # beside those of the unit: for the addresses that a controller has
    assert families in printed_unit(folder, controller={'number': 1}, **rbd).splitlines()
    assert families not in printed_unit(folder, **rbd).splitlines()
    assert 'SupplementaryGroups=nosuch' not in printed_unit(folder, pool={'path': '/p'}, management={'group': 'nosuch'})
    unit = read(os.path.join(build, 'packaging/umbrad.service'))
    assert re.search(r'^User=umbra$', unit, re.M) and re.search(r'^ExecStartPre=\+\S+/umbrad .*--give-pool umbra$', unit, re.M)
    assert not re.search(r'^CapabilityBoundingSet=.', unit, re.M)
    assert not re.search(r'^ProcSubset=pid$', unit, re.M) or re.search(r'^Environment=UMBRA_BOOT_ID=%b$', unit, re.M)
    if shutil.which('systemd-escape'):
        name = output_of('systemd-escape', '--path', '--suffix=device', '/dev/disk/by-id/nvme-X_1.2').strip()
        assert 'After=' + name in text and 'Wants=' + name in text, (name, text)
    generated(build, folder, text)
    return unit


def generated(build, folder, text):
    """The generator puts the same where systemd looks, and systemd takes the unit together with it."""
    root = os.path.join(folder, 'root')
    units = os.path.join(root, 'usr/lib/systemd/system')
    here = os.path.join(root, 'run/systemd/generator')
    os.makedirs(units)
    os.makedirs(here)
    environment = dict(os.environ, UMBRA_CONFIG=os.path.join(folder, 'unit.conf'))
    printed_unit(folder, pool={'path': '/data/a b%h"c', 'data_device': '/dev/disk/by-id/nvme-X_1.2', 'meta_mirror': '/mnt/m'},
                 iscsi={'portals': '0.0.0.0:860'}, management={'group': 'daemon'})
    script = os.path.join(folder, 'generator')
    with open(script, 'w') as file:
        installed = read(os.path.join(build, 'packaging/umbra-generator'))
        file.write(re.sub(r'\S+/umbrad ', umbrad_path() + ' ', installed))
    subprocess.run(['sh', script, here], env=environment, check=True)
    assert read(os.path.join(here, 'umbrad.service.d/umbrad.conf')) == text
    if shutil.which('systemd-analyze'):
        with open(os.path.join(build, 'packaging/umbrad.service')) as file, \
                open(os.path.join(units, 'umbrad.service'), 'w') as out:
            out.write(re.sub(r'=(\+?)\S+/(umbrad|kill) ', r'=\1/usr/bin/\2 ', file.read()))
        shutil.copytree(os.path.join(here, 'umbrad.service.d'), os.path.join(root, 'etc/systemd/system/umbrad.service.d'))
        said = output_of('systemd-analyze', '--man=no', f'--root={root}', 'security', '--offline=yes', 'umbrad.service')
        assert 'nvme-X_1.2:rw' in said and 'running under different user' not in said, said
        said = subprocess.run(['systemd-analyze', '--man=no', f'--root={root}', 'verify', 'umbrad.service'], capture_output=True,
                              text=True)
        wrong = [line for line in said.stderr.splitlines() if 'umbrad.conf' in line or 'Unknown' in line or 'gnoring' in line]
        assert not wrong, wrong
    os.unlink(os.path.join(here, 'umbrad.service.d/umbrad.conf'))
    with open(environment['UMBRA_CONFIG'], 'a') as file:  # a wrong configuration is umbrad's to complain of
        file.write('[pool]\nnosuch = 1\n')
    subprocess.run(['sh', script, here], env=environment, check=True)
    assert not os.path.exists(os.path.join(here, 'umbrad.service.d/umbrad.conf'))


# ---- a pool that changes hands


def open_to_all(array):
    """The test's folder is another user's to pass, and to make sockets in."""
    os.chmod(array.dir, 0o755)
    os.chown(array.dir, USER.pw_uid, USER.pw_gid)


def owners(folder):
    found = {}
    for where, folders, files in os.walk(folder):
        for name in ('.', *folders, *files):
            found[os.path.relpath(os.path.join(where, name), folder)] = os.lstat(os.path.join(where, name)).st_uid
    return found


def give(array, code=0):
    return output_of(umbrad_path(), '--config', array.config_path, '--give-pool', USER.pw_name, code=code)


def refused(array, *words):
    try:
        array.start()
    except RuntimeError as error:
        for word in words:
            assert word in str(error), error
        return
    raise AssertionError('umbrad could open what is not its own')


def use(array, number):
    """Reads what the calls before have written, and writes more."""
    with Session(array, 'h') as session:
        for earlier in range(number):
            assert session.read(1, earlier * 4096, 1) == bytes([earlier + 1]) * 512, earlier
        session.write(1, number * 4096, bytes([number + 1]) * 512, fua=True)


def status_of(pid):
    return dict(line.split(':\t', 1) for line in read(f'/proc/{pid}/status').splitlines() if ':\t' in line)


def a_pool_of_roots(unit):
    """An umbrad that was root's made all of it; from now on another user's runs it."""
    with Array(start=False, pool_options=('--capacity', '256M', '--log', '4M', '--checksums', 'on')) as array:
        mirror = os.path.join(array.dir, 'mirror')
        array.config['pool'].update(meta_mirror=mirror, log_mirror='yes')
        array.write_config()
        array.start()
        array.ctl('lun', 'create', 'a', '--size', '64M')
        array.add_host('h', 'iqn.2026-01.test:h')
        array.ctl('map', 'a', 'h')
        use(array, 0)
        assert array.stop() == 0
        open_to_all(array)
        with open(os.path.join(array.pool, 'notes'), 'w') as file:
            file.write('of the administrator')
        os.link(os.path.join(array.pool, 'notes'), os.path.join(array.pool, 'data.7'))
        os.symlink('/etc/passwd', os.path.join(array.pool, 'data.8'))
        array.popen = confined(unit)
        refused(array, 'cannot be opened', 'owner and mode')
        give(array)
        found = owners(array.pool)
        assert {name for name, uid in found.items() if uid == 0} == {'notes', 'data.7', 'data.8'}, found
        assert os.stat('/etc/passwd').st_uid == 0
        assert set(owners(mirror).values()) == {USER.pw_uid}, owners(mirror)
        for name in ('data.7', 'data.8'):
            os.unlink(os.path.join(array.pool, name))
        everything(array, mirror)


def everything(array, mirror):
    """As the service's user, with what root's tools do in between."""
    array.start()
    status = status_of(array.pid)
    assert status['Uid'].split() == [str(USER.pw_uid)] * 4 and int(status['CapEff'], 16) == 0 and int(status['CapPrm'], 16) == 0
    assert status['Seccomp'].strip() == '2' and status['NoNewPrivs'].strip() == '1', status
    use(array, 1)
    seal = array.ctl('set', 'create', 's', 'a')['members'][0]['shadow']
    array.ctl('policy', 'create', 'p', '--luns', 'a', '--every', '1h', '--keep', 'hourly=2')
    array.ctl('lun', 'create', 'b', '--size', '64M')
    array.ctl('shadow', 'resync', seal, 'b')
    array.ctl('set', 'delete', 's')
    array.ctl('pool', 'grow', '--capacity', '288M')
    array.ctl('pool', 'scrub', 'start')
    backup = os.path.join(array.dir, 'backup')
    array.ctl('pool', 'backup', backup)
    assert set(owners(backup).values()) == {USER.pw_uid}
    array.process.send_signal(1)  # SIGHUP: reads the configuration again
    assert 'umbra_pool_' in array.text('metrics')
    use(array, 2)
    assert array.stop() == 0, array.log()
    for step, command in enumerate((('check', array.pool), ('dump', array.pool), ('upgrade', array.pool),
                                    ('checksums', array.pool, 'off'), ('grow', array.pool, '--capacity', '320M'),
                                    ('check', '--repair', array.pool))):
        run_ctl('pool', *command)
        give(array)
        array.start()
        use(array, 3 + step)
        assert array.stop() == 0, array.log()
    shutil.rmtree(os.path.join(array.pool, 'meta'))
    run_ctl('pool', 'restore', array.pool, '--from', mirror)
    give(array)
    left = {name for name, uid in owners(array.pool).items() if uid == 0}
    assert left <= {'notes'}, left
    array.start()
    use(array, 9)
    array.kill9()
    array.start()
    use(array, 10)


def a_data_device(unit):
    """A block device as Debian has it: root:disk, 0660."""
    image = tempfile.NamedTemporaryFile(prefix='umbra-disk-')
    image.truncate(256 << 20)
    device = subprocess.run(['losetup', '--find', '--show', image.name], capture_output=True, text=True)
    if device.returncode:
        print(f'LEFT OUT: a data device of the group disk: {device.stderr.strip()}')
        return
    device = device.stdout.strip()
    before = os.stat(device)
    try:
        os.chown(device, 0, grp.getgrnam('disk').gr_gid)
        os.chmod(device, 0o660)
        with Array({'pool': {'data_device': device}}, pool_options=('--data-device', device), start=False) as array:
            open_to_all(array)
            give(array)
            array.popen = confined(unit)
            refused(array, device, 'group disk')
            array.popen = confined(unit, [grp.getgrnam('disk').gr_gid])
            array.start()
            array.ctl('lun', 'create', 'a', '--size', '32M')
            array.add_host('h', 'iqn.2026-01.test:h')
            array.ctl('map', 'a', 'h')
            use(array, 0)
            array.ctl('lun', 'create', 'gone', '--size', '32M')
            array.ctl('lun', 'delete', 'gone')
            array.restart()
            use(array, 1)
            assert os.stat(device).st_gid == grp.getgrnam('disk').gr_gid and os.stat(device).st_uid == 0
    finally:
        subprocess.run(['losetup', '--detach', device], check=True)
        os.chown(device, before.st_uid, before.st_gid)
        os.chmod(device, stat.S_IMODE(before.st_mode))
        image.close()


def the_sockets_group(unit):
    """Without CAP_CHOWN the socket can be given to a group of the user's own, and to no other; umbrad says so."""
    other = grp.getgrnam('disk')
    with Array({'management': {'group': 'disk'}}, start=False) as array:
        open_to_all(array)
        give(array)
        array.popen = confined(unit)
        refused(array, 'management socket')
        array.popen = confined(unit, [other.gr_gid])
        array.start()
        assert os.stat(array.socket).st_gid == other.gr_gid and stat.S_IMODE(os.stat(array.socket).st_mode) == 0o660
        for groups, code in (([other.gr_gid], 0), ([], 1)):
            nobody = {'user': pwd.getpwnam('nobody').pw_uid, 'group': pwd.getpwnam('nobody').pw_gid, 'extra_groups': groups}
            ctl = os.environ.get('UMBRACTL') or shutil.which('umbractl')
            copy = shutil.copy(ctl, array.dir)  # where nobody may pass
            os.chmod(copy, 0o755)
            done = subprocess.run([copy, '--socket', array.socket, 'status'], capture_output=True, text=True, **nobody)
            assert done.returncode == code, (groups, done)


def what_is_refused():
    with Array(start=False) as array:
        text = output_of(umbrad_path(), '--config', array.config_path, '--give-pool', 'nosuch-user', code=1)
        assert 'no user nosuch-user' in text and '[UMB-' in text, text
        array.config['pool']['path'] = array.dir  # no pool, but other things: nothing becomes anybody's
        array.write_config()
        if os.geteuid() == 0:
            give(array)
            assert set(owners(array.dir).values()) == {0}
        else:
            assert 'as root' in give(array, code=1)


def main():
    build = sys.argv[1]
    with tempfile.TemporaryDirectory(prefix='umbra-service-') as folder:
        unit = the_units_are_right(build, folder)
    what_is_refused()
    if os.geteuid() != 0:
        print('LEFT OUT: not root: umbrad was not run as another user')
        return
    a_pool_of_roots(unit)
    a_data_device(unit)
    the_sockets_group(unit)


if __name__ == '__main__':
    main()
