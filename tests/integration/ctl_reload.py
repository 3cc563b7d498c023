#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""SIGHUP: umbrad reads its configuration again, takes what may change while it runs, names what needs a restart, and stays as it
was when the file is wrong. umbrad.conf(5) lists what may change."""
import os
import re
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from umbra_initiator import Session  # noqa: E402
from umbra_lab import ROOT, Array  # noqa: E402

PATIENCE_S = 300 * float(os.environ.get('UMBRA_TEST_PATIENCE', '1'))


def last_event(array):
    return max([e['serial'] for e in array.ctl('events')['events']], default=0)


def reload(array, count):
    """Sends SIGHUP: the next events of the configuration, as many as are told."""
    before = last_event(array)
    os.kill(array.pid, signal.SIGHUP)
    end = time.monotonic() + PATIENCE_S
    while True:
        found = [e for e in array.ctl('events', '--after', str(before))['events'] if e['area'] == 'config']
        if len(found) >= count:
            assert len(found) == count, found
            return [(e['level'], e['text']) for e in found]
        assert time.monotonic() < end and array.alive(), array.log()
        time.sleep(0.02)


def change(lab, **sections):
    for section, keys in sections.items():
        for key, value in keys.items():
            if value is None:
                del lab.config[section][key]
            else:
                lab.config[section][key] = value
    lab.write_config()


def main():
    with Array() as array:
        array.ctl('lun', 'create', 'a', '--size', '8M')
        array.add_host('h', 'iqn.x:h')
        array.ctl('map', 'a', 'h')
        with Session(array, 'h') as session:
            assert reload(array, 1) == [('info', 'the configuration was read again; nothing has changed')]
            limit = array.ctl('status')['limits']['commit_budget_ms']
            array.config.setdefault('scsi', {})
            change(array, array={'lun_size_max': '4M'}, copysets={'commit_budget': f'{limit // 2}ms', 'lease': '1h'},
                   iscsi={'sessions_per_host': '1'}, scsi={'threshold_percent': '50'})
            (level, text), = reload(array, 1)
            assert level == 'info' and all(key in text for key in (
                'lun_size_max', 'commit_budget', 'lease', 'sessions_per_host', 'threshold_percent')), text
            assert array.ctl('status')['limits']['commit_budget_ms'] == limit // 2
            assert 'lun_size_max' in array.ctl('lun', 'create', 'b', '--size', '5M', check=False).stderr
            try:
                with Session(array, 'h'):
                    raise AssertionError('a second session was let in')
            except Exception as error:  # the initiator's, whatever it is
                assert not isinstance(error, AssertionError), error
            session.write(1, 0, b'goes on' + bytes(505))
            # what needs a restart is named, each time; the rest is taken
            change(array, iscsi={'portals': '127.0.0.1:1', 'sessions_per_host': None}, array={'name': 'other'})
            for count in (2, 1):
                found = reload(array, count)
                assert found[0][0] == 'warning' and 'restarted: name, portals' in found[0][1], found
                assert count == 1 or found[1][1].endswith('these have changed: sessions_per_host'), found
            with Session(array, 'h') as second:
                assert second.read(1, 0, 1)[:7] == b'goes on'
            assert array.ctl('status')['array']['name'] == 'lab'
            # a wrong file changes nothing
            change(array, copysets={'lease': 'soon', 'commit_budget': '100ms'})
            (level, text), = reload(array, 1)
            assert level == 'error' and f'{array.config_path}:' in text and 'lease' in text, text
            assert array.ctl('status')['limits']['commit_budget_ms'] == limit // 2
            os.rename(array.config_path, array.config_path + '.away')
            assert reload(array, 1)[0][0] == 'error'
            for _ in range(200):
                os.kill(array.pid, signal.SIGHUP)
            assert session.read(1, 0, 1)[:7] == b'goes on'
        os.kill(array.pid, signal.SIGHUP)
    with open(os.path.join(ROOT, 'array/config.c')) as file:
        live = re.findall(r'\{"\w+",\s+"(\w+)", KEY_[^}]*true\}', file.read())
    with open(os.path.join(ROOT, 'docs/umbrad.conf.5')) as file:
        told = re.search(r'\.\\" live\n\.B (.*?)\n\.PP', file.read(), re.S).group(1)
    assert sorted(set(live)) == sorted(re.findall(r'\w+', told)), (live, told)


if __name__ == '__main__':
    main()
