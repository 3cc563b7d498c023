#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The Debian package: it is what meson installs; in a scratch root it is installed, its umbrad serves a pool with the
configuration that came with it, an upgrade keeps the administrator's, and a purge takes all but the pool.

usage: packaging_deb.py BUILD. dpkg installs as root only; for others the package is unpacked, and dpkg's part left out.
"""
import gzip
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from umbra_lab import ROOT, Array  # noqa: E402

CONFIGURATION = 'etc/umbra/umbrad.conf'
MODULE = 'umbra-store-rbd.so'
EXPOSURE_MAX = 20  # tenths, as systemd-analyze security counts


def run(*command, **options):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          **options)
    assert done.returncode == 0, f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}"
    return done.stdout


def read(*path):
    with open(os.path.join(*path)) as file:
        return file.read()


def files_below(root):
    return {os.path.relpath(os.path.join(folder, name), root) for folder, _, names in os.walk(root) for name in names}


def installed_by_meson(build, scratch):
    """The files, with the build's prefix as /usr; a second install keeps the configuration."""
    to = os.path.join(scratch, 'meson')
    install = ('meson', 'install', '-C', build, '--no-rebuild', '--destdir', to)
    run(*install)
    with open(os.path.join(to, CONFIGURATION), 'a') as file:
        file.write('# mine\n')
    run(*install)
    assert read(to, CONFIGURATION).endswith('# mine\n'), 'meson install replaced the configuration'
    files = files_below(to)
    sbin = next(os.path.dirname(path) for path in files if path.endswith('sbin/umbrad'))
    prefix = os.path.dirname(sbin) + '/'
    assert f'ExecStart=/{sbin}/umbrad ' in read(to, prefix, 'lib/systemd/system/umbrad.service')
    return {'usr/' + path.removeprefix(prefix) if path.startswith(prefix) else path for path in files}


def look_inside(package, scratch, by_meson):
    root = os.path.join(scratch, 'look')
    run('dpkg-deb', '-R', package, root)
    control = read(root, 'DEBIAN/control')
    assert '\nDepends: ' in control and 'liburing2' in control and 'liblmdb0' in control, control
    assert read(root, 'DEBIAN/conffiles') == f'/{CONFIGURATION}\n'
    assert 'ExecStart=/usr/sbin/umbrad ' in read(root, 'usr/lib/systemd/system/umbrad.service')
    generator = 'usr/lib/systemd/system-generators/umbra-generator'
    assert '\n/usr/sbin/umbrad ' in read(root, generator) and os.access(os.path.join(root, generator), os.X_OK)
    assert 'ExecStart=-/usr/bin/umbractl ' in read(root, 'usr/lib/systemd/system/umbra-metrics@.service')
    owners = {line.split()[1] for line in run('dpkg-deb', '-c', package).splitlines()}
    assert owners == {'root/root'}, owners
    shutil.rmtree(os.path.join(root, 'DEBIAN'))
    by_meson = {path for path in by_meson if os.path.basename(path) != MODULE}
    documents = 'usr/share/doc/umbra/'
    packed = {path[:-3] if '/man/' in path and path.endswith('.gz') else path for path in files_below(root)}
    assert packed - by_meson == {documents + name for name in ('copyright', 'changelog.gz', 'CHANGELOG.md.gz')}, packed ^ by_meson
    assert not by_meson - packed, by_meson - packed
    with gzip.open(os.path.join(root, 'usr/share/man/man8/umbrad.8.gz'), 'rt') as page:
        assert page.read() == read(ROOT, 'docs/umbrad.8')
    look_at_unit(root)


def look_by_lintian(*packages):
    """Debian's own checker: nothing that it calls an error or a warning."""
    if shutil.which('lintian'):
        run('lintian', '--allow-root', '--no-cfg', '--fail-on', 'error,warning', *packages)
    else:
        print('lintian is not here: the packages were not looked at by it')


def look_at_unit(root):
    """What systemd says of the unit and of the two lists, where its tools are."""
    if shutil.which('systemd-analyze'):
        with open(os.path.join(root, 'umbrad.service'), 'w') as file:
            file.write(read(root, 'usr/lib/systemd/system/umbrad.service').replace('/usr/sbin/', f'{root}/usr/sbin/'))
        said = run('systemd-analyze', '--man=no', 'verify', file.name)
        assert 'umbrad' not in said, said
        run('systemd-analyze', 'security', '--offline=yes', f'--threshold={EXPOSURE_MAX}', file.name)
        for unit in ('umbra-metrics.socket', 'umbra-metrics@.service'):
            with open(os.path.join(root, unit), 'w') as file:
                file.write(read(root, 'usr/lib/systemd/system/' + unit).replace('-/usr/bin/', f'-{root}/usr/bin/'))
        said = run('systemd-analyze', '--man=no', 'verify', os.path.join(root, 'umbra-metrics.socket'), file.name)
        assert 'umbra' not in said, said
        run('systemd-analyze', 'security', '--offline=yes', f'--threshold={EXPOSURE_MAX}', file.name)
    if shutil.which('systemd-sysusers') and os.geteuid() == 0:
        with open(os.path.join(root, 'etc/group'), 'w') as file:  # of a version that had no user
            file.write('umbra:x:990:anna\n')
        run('systemd-sysusers', '--root=' + root, 'umbra.conf')
        user = re.search(r'^umbra:[^:]*:(\d+):(\d+):[^:]*:[^:]*:(.*)$', read(root, 'etc/passwd'), re.M)
        assert user and user[1] != '0' and user[2] == '990' and user[3].endswith('nologin'), read(root, 'etc/passwd')
        assert read(root, 'etc/group') == 'umbra:x:990:anna\n'
    if shutil.which('systemd-tmpfiles'):
        run('systemd-tmpfiles', '--root=' + root, '--cat-config', 'umbra.conf')


def same_again(build, scratch, *packages):
    """Made a second time, elsewhere and under another umask: the same bytes."""
    again = os.path.join(scratch, 'again')
    made = run(os.path.join(ROOT, 'packaging/deb/make-package'), build, again, umask=0o077).split()
    for first, second in zip(packages, made, strict=True):
        with open(first, 'rb') as one, open(second, 'rb') as other:
            assert one.read() == other.read(), f'{second} differs from {first}'


def of_one_time(build, scratch):
    """Also what is older than the sources' last change, as files are that were checked out before it."""
    made = run(os.path.join(ROOT, 'packaging/deb/make-package'), build, os.path.join(scratch, 'later'),
               env=dict(os.environ, SOURCE_DATE_EPOCH='4102444800', TZ='UTC')).split()
    for package in made:
        for line in run('dpkg-deb', '-c', package, env=dict(os.environ, TZ='UTC')).splitlines():
            assert ' 2100-01-01 00:00 ' in line, f'{package}: {line}'


class Root:
    """A scratch root with dpkg's database: one that has none of what the package depends on, which is outside."""

    def __init__(self, path):
        self.path = path
        for folder in ('updates', 'info', 'triggers'):
            os.makedirs(os.path.join(path, 'var/lib/dpkg', folder))
        open(os.path.join(path, 'var/lib/dpkg/status'), 'w').close()

    def dpkg(self, *arguments):
        return run('dpkg', '--root=' + self.path, '--log=' + os.path.join(self.path, 'dpkg.log'), '--force-depends',
                   '--force-script-chrootless', '--force-unsafe-io', '--force-confdef', '--force-confold', *arguments,
                   env=dict(os.environ, PATH='/usr/sbin:/usr/bin:/sbin:/bin', DEBIAN_FRONTEND='noninteractive'))

    def has(self, path):
        return os.path.exists(os.path.join(self.path, path))


def serve(root):
    """The installed umbrad with the installed configuration, but for the places: a pool below this root, a free port."""
    os.environ['UMBRACTL'] = os.path.join(root, 'usr/bin/umbractl')
    pool, configuration = os.path.join(root, 'srv/umbra'), os.path.join(root, CONFIGURATION)
    umbrad = os.path.join(root, 'usr/sbin/umbrad')
    assert run(umbrad, '--check-config', '--config', configuration).endswith(': ok\n')
    os.makedirs(os.path.dirname(pool), exist_ok=True)
    if not os.path.exists(pool):
        run(os.environ['UMBRACTL'], 'pool', 'create', pool)
    array = Array(pool=pool, umbrad=umbrad, start=False)
    try:
        text = read(configuration)
        for shipped, here in (('path = /srv/umbra', 'path = ' + pool), ('0.0.0.0:3260', '127.0.0.1:0'),
                              ('[management]\n', f'[management]\nsocket = {array.socket}\n')):
            assert shipped in text, shipped
            text = text.replace(shipped, here)
        with open(array.config_path, 'w') as file:
            file.write(text)
        array.start()
        if not array.ctl('lun', 'list')['luns']:
            array.ctl('lun', 'create', 'kept', '--size', '16M')
        assert [lun['name'] for lun in array.ctl('lun', 'list')['luns']] == ['kept']
        assert array.stop() == 0
    finally:
        array.remove()


def newer(package, scratch):
    """The same package as a later version, whose configuration to begin with is another."""
    tree = os.path.join(scratch, 'newer')
    run('dpkg-deb', '-R', package, tree)
    control = read(tree, 'DEBIAN/control')
    with open(os.path.join(tree, 'DEBIAN/control'), 'w') as file:
        file.write('\n'.join(line + '+newer' if line.startswith('Version: ') else line for line in control.split('\n')))
    with open(os.path.join(tree, CONFIGURATION), 'a') as file:
        file.write('# new\n')
    return run('dpkg-deb', '--root-owner-group', '-b', tree, package + '.newer') and package + '.newer'


def life(package, scratch):
    """Install, upgrade, remove, purge."""
    root = Root(os.path.join(scratch, 'root'))
    assert 'umbractl setup' in root.dpkg('-i', package)
    assert not root.has('srv') and not root.has('etc/systemd'), 'a pool or an enabled service out of nothing'
    serve(root.path)
    with open(os.path.join(root.path, CONFIGURATION), 'a') as file:
        file.write('# mine\n')
    root.dpkg('-i', newer(package, scratch))
    assert read(root.path, CONFIGURATION).endswith('# mine\n') and root.has(CONFIGURATION + '.dpkg-dist')
    serve(root.path)
    wants = 'etc/systemd/system/multi-user.target.wants'
    os.makedirs(os.path.join(root.path, wants))
    os.symlink('/usr/lib/systemd/system/umbrad.service', os.path.join(root.path, wants, 'umbrad.service'))
    root.dpkg('-r', 'umbra')
    assert root.has(CONFIGURATION) and not root.has('usr/sbin/umbrad')
    pool = {path: os.path.getsize(os.path.join(root.path, 'srv', path)) for path in files_below(root.path + '/srv')}
    root.dpkg('-P', 'umbra')
    assert not root.has('etc/umbra') and not os.listdir(os.path.join(root.path, wants))
    assert pool and all(os.path.getsize(os.path.join(root.path, 'srv', path)) == size for path, size in pool.items())


def page_life(package, page, scratch):
    """The page's package has the folder cockpit/ where Cockpit looks for it; it goes without a trace."""
    root = Root(os.path.join(scratch, 'page-root'))
    root.dpkg('-i', package, page)
    source = os.path.join(ROOT, 'cockpit')
    there = files_below(os.path.join(root.path, 'usr/share/cockpit/umbra'))
    assert there == files_below(source) and 'manifest.json' in there, there ^ files_below(source)
    for path in there:
        assert read(root.path, 'usr/share/cockpit/umbra', path) == read(source, path), path
    root.dpkg('-P', 'cockpit-umbra')
    assert not root.has('usr/share/cockpit') and root.has('usr/bin/umbractl')


def store_life(package, store, scratch):
    """The store's package has the module and nothing else; with it the installed umbrad finds the store, without it says so."""
    root = Root(os.path.join(scratch, 'store-root'))
    umbrad = os.path.join(root.path, 'usr/sbin/umbrad')
    root.dpkg('-i', package)
    assert 'rbd (not installed: package umbra-rbd)' in run(umbrad, '--version')
    before = files_below(root.path + '/usr')
    root.dpkg('-i', store)
    added = {path for path in files_below(root.path + '/usr') - before if not path.startswith('share/doc/umbra-rbd/')}
    assert len(added) == 1 and added.pop().endswith('/umbra/' + MODULE), added
    assert 'stores: pool, rbd (librbd 1.' in run(umbrad, '--version')
    control = run('dpkg-deb', '-f', store)
    version = run('dpkg-deb', '-f', package, 'Version').strip()
    for word in ('librbd1', 'librados2', f'umbra (= {version})'):
        assert word in control, control
    assert 'librbd1' not in run('dpkg-deb', '-f', package, 'Depends'), 'everybody needs Ceph'
    root.dpkg('-P', 'umbra-rbd')
    assert files_below(root.path + '/usr') == before


def main():
    build = sys.argv[1]
    os.environ.pop('UMBRA_MODULES', None)
    scratch = tempfile.mkdtemp(prefix='umbra-deb-')
    try:
        by_meson = installed_by_meson(build, scratch)
        packages = run(os.path.join(ROOT, 'packaging/deb/make-package'), build, scratch).split()
        package, page = packages[0], packages[-1]
        has_store = any(path.endswith('/' + MODULE) for path in by_meson)
        assert len(packages) == (3 if has_store else 2), packages
        assert os.path.dirname(package) == scratch and package.endswith('.deb'), package
        look_inside(package, scratch, by_meson)
        look_by_lintian(*packages)
        same_again(build, scratch, *packages)
        of_one_time(build, scratch)
        if os.geteuid() == 0:
            life(package, scratch)
            page_life(package, page, scratch)
            if has_store:
                store_life(package, packages[1], scratch)
        else:
            run('dpkg-deb', '-x', package, os.path.join(scratch, 'root'))
            serve(os.path.join(scratch, 'root'))
            print('not root: dpkg itself was not tried')
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == '__main__':
    main()
