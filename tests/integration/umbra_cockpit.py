# SPDX-License-Identifier: Apache-2.0
"""The page in Cockpit for tests: cockpit-ws on 127.0.0.1 with a session of its own, and the page's sources as its plug-in.

    with Array() as array, Cockpit(array) as cockpit:
        cockpit.browse('page.mjs')                # a script of tests/browser, in a real browser

No login, no PAM, no systemd: cockpit-ws runs the bridge itself, as who runs the test. The browser is Debian's chromium,
driven by playwright-core, which scripts/bootstrap puts below build/browser. What is missing is told by missing().
"""
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

from umbra_lab import READY_TIMEOUT_S, ROOT, umbractl_path

WS = '/usr/lib/cockpit/cockpit-ws'
BRIDGE = '/usr/bin/cockpit-bridge'
CHROMIUM = '/usr/bin/chromium'
MODULES = os.path.join(ROOT, 'build/browser/node_modules')
PICTURES = os.path.join(ROOT, 'build/browser/pictures')
TRIES = 5


def missing():
    """What a browser test needs and is not here, as a sentence; '' when all is."""
    lacks = [path for path in (WS, BRIDGE, CHROMIUM, os.path.join(MODULES, 'playwright-core'), os.path.join(MODULES, 'axe-core'))
             if not os.path.exists(path)]
    if not shutil.which('node'):
        lacks.append('node')
    return f"not here: {', '.join(lacks)} (scripts/bootstrap installs it where Debian and npm have it)" if lacks else ''


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


class Cockpit:
    def __init__(self, array):
        self.array = array
        self.dir = tempfile.mkdtemp(prefix='umbra-cockpit-')
        self.process = None
        self.place_page()
        for _ in range(TRIES):  # another program may take the port first
            if self.start():
                return
        self.remove()
        raise RuntimeError(f'cockpit-ws does not answer:\n{self.log()}')

    def place_page(self):
        page = os.path.join(self.dir, 'share/cockpit/umbra')
        shutil.copytree(os.path.join(ROOT, 'cockpit'), page)
        with open(os.path.join(page, 'settings.js'), 'w') as file:
            file.write(f"export const settings = {json.dumps({'configuration': self.array.config_path, 'umbractl': umbractl_path(), 'socket': '/nowhere'})};\n")

    def start(self):
        self.port = free_port()
        environment = dict(os.environ, HOME=self.dir, XDG_DATA_HOME=os.path.join(self.dir, 'share'), LC_ALL='C.UTF-8',
                           XDG_CONFIG_HOME=os.path.join(self.dir, 'config'))
        with open(os.path.join(self.dir, 'log'), 'a') as log:
            self.process = subprocess.Popen(
                [WS, f'--local-session={BRIDGE}', '--port', str(self.port), '--address', '127.0.0.1', '--no-tls'],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True)
        end = time.monotonic() + READY_TIMEOUT_S
        while self.process.poll() is None and time.monotonic() < end:
            try:
                urllib.request.urlopen(f'http://127.0.0.1:{self.port}/ping', timeout=READY_TIMEOUT_S).close()
                return True
            except OSError:
                time.sleep(0.05)
        self.stop()
        return False

    def log(self):
        with open(os.path.join(self.dir, 'log'), errors='replace') as file:
            return file.read()

    def browse(self, script, *arguments):
        """Runs a script of tests/browser; its output is this test's. Raises when it fails."""
        os.makedirs(PICTURES, exist_ok=True)
        world = {'url': f'http://127.0.0.1:{self.port}', 'socket': self.array.socket, 'umbractl': umbractl_path(), 'modules': MODULES,
                 'pictures': PICTURES, 'chromium': CHROMIUM, 'scratch': self.dir, 'patience': float(os.environ.get('UMBRA_TEST_PATIENCE', '1'))}
        done = subprocess.run(['node', os.path.join(ROOT, 'tests/browser', script), *arguments], stdin=subprocess.DEVNULL,
                              env=dict(os.environ, UMBRA_WORLD=json.dumps(world), HOME=self.dir))
        if done.returncode != 0:
            raise AssertionError(f'{script}: exit code {done.returncode}\n--- cockpit-ws\n{self.log()[-4000:]}')

    def stop(self):
        """The server and the bridge that it started: a process group of its own."""
        process, self.process = self.process, None
        if process:
            try:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(READY_TIMEOUT_S)
            except ProcessLookupError:
                process.wait()

    def remove(self):
        self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.remove()
