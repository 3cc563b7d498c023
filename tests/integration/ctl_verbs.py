#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What an administrator does, by umbractl: every verb, its JSON and its table, over restarts and kill -9."""
import json
import os
import select
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from umbra_initiator import Channel, Session  # noqa: E402
from umbra_lab import Array, run_ctl, umbractl_path  # noqa: E402


def members(value, **types):
    for name, kind in types.items():
        assert name in value, f'{name} is missing in {value}'
        assert isinstance(value[name], kind), f'{name} is {value[name]!r}'
    return value


def luns(array):
    made = members(array.ctl('lun', 'create', 'sql-data', '--size', '64M'), name=str, id=str, size_bytes=int,
                   naa=str, serial=str, vendor=str, product=str, kind=str)
    assert made['size_bytes'] == 64 << 20 and len(made['id']) == 32 and made['naa'].startswith('naa.3')
    array.ctl('lun', 'create', 'sql-log', '--size', '1.5M')
    array.ctl('lun', 'create', 'scratch', '--size', '1048576')
    listed = array.ctl('lun', 'list')['luns']
    assert [lun['name'] for lun in listed] == ['sql-data', 'sql-log', 'scratch']
    assert listed[1]['size_bytes'] == 1536 << 10
    assert array.ctl('lun', 'resize', 'scratch', '--size', '2M')['size_bytes'] == 2 << 20
    array.ctl('lun', 'rename', 'scratch', 'scrap')
    assert array.ctl('lun', 'show', made['id'])['name'] == 'sql-data'
    table = array.text('lun', 'list').splitlines()
    assert table[0].split() == ['NAME', 'SIZE', 'USED', 'HOSTS', 'CREATED', 'ID'] and len(table) == 4
    assert '64 MiB' in table[1] and made['id'] in table[1]
    assert 'sql-data' in array.text('lun', 'show', 'sql-data')
    array.ctl('lun', 'delete', 'scrap')
    return made['id']


def hosts(array):
    made = array.add_host('db1', 'iqn.1991-05.com.microsoft:DB1', '--iqn', 'iqn.second:db1', secret='secret-of-db1')
    members(made, name=str, iqns=list, chap=bool, control_lu=bool, control_without_chap=bool, sessions=int)
    array.hosts['db1'] = ('iqn.1991-05.com.microsoft:db1', 'secret-of-db1')
    assert made['iqns'] == ['iqn.1991-05.com.microsoft:db1', 'iqn.second:db1'] and made['chap'] is True
    array.add_host('backup', 'iqn.x:backup', '--control-lu', '--import', 'named:db1')
    shown = array.ctl('host', 'show', 'backup')
    assert shown['import'] == 'named' and shown['import_hosts'] == ['db1'] and shown['control_lu'] is True
    array.ctl('host', 'set', 'backup', '--import', 'any', '--no-control-lu', '--control-without-chap')
    shown = array.ctl('host', 'show', 'backup')
    assert (shown['import'], shown['control_lu'], shown['control_without_chap']) == ('any', False, True)
    done = run_ctl('host', 'set', 'backup', '--chap-file', '-', socket=array.socket, check=False,
                   stdin=open(os.path.join(array.dir, 'secret-db1')))
    assert done.returncode == 0 and array.ctl('host', 'show', 'backup')['chap'] is True
    everything = array.text('host', 'list') + json.dumps(array.ctl('host', 'list')) + array.text('host', 'show', 'db1')
    assert 'secret-of-db1' not in everything + array.text('events') + array.log()
    array.ctl('host', 'add', 'short-lived', '--iqn', 'iqn.x:short')
    array.ctl('host', 'delete', 'short-lived')
    assert [host['name'] for host in array.ctl('host', 'list')['hosts']] == ['db1', 'backup']


def mappings(array):
    assert array.ctl('map', 'sql-data', 'db1')['number'] == 1
    assert array.ctl('map', 'sql-data', 'db1')['number'] == 1
    assert array.ctl('map', 'sql-log', 'db1', '--number', '7')['number'] == 7
    assert array.ctl('map', 'sql-log', 'backup')['number'] == 1
    found = [(m['host'], m['number'], m['lun']) for m in array.ctl('mappings')['mappings']]
    assert sorted(found) == [('backup', 1, 'sql-log'), ('db1', 1, 'sql-data'), ('db1', 7, 'sql-log')]
    array.ctl('unmap', 'sql-log', 'backup')
    array.ctl('unmap', 'sql-log', 'backup')
    assert len(array.text('mappings').splitlines()) == 3


def sets_and_shadows(array):
    with Session(array, 'db1') as session:
        assert session.report_luns() == [1, 7]
        session.write(1, 100, b'before' + bytes(506))
        made = members(array.ctl('set', 'create', 'nightly', 'sql-data', 'sql-log'), id=str, state=str, members=list,
                       window_ns=int, durable_ns=int, cut_unix_ms=int)
        assert made['state'] == 'kept' and len(made['members']) == 2 and made['window_ns'] > 0
        assert abs(made['cut_unix_ms'] / 1000 - time.time()) < 60
        session.write(1, 100, b'after' + bytes(507))
        shadow = made['members'][0]['shadow']
        number = array.ctl('shadow', 'map', shadow, 'db1')['number']
        assert session.read(number, 100, 1)[:6] == b'before' and session.read(1, 100, 1)[:5] == b'after'
        members(array.ctl('status')['sessions'][0], host=str, initiator=str, peer=str, commands=int)
        assert 'db1' in array.text('sessions') and array.ctl('host', 'show', 'db1')['sessions'] == 1
        array.ctl('shadow', 'unmap', shadow)
    listed = array.ctl('shadow', 'list')['shadows']
    assert {s['origin'] for s in listed} == {'sql-data', 'sql-log'}
    assert array.ctl('set', 'show', made['id'])['name'] == 'nightly'
    assert 'nightly' in array.text('set', 'list') and shadow in array.text('set', 'show', 'nightly')
    assert shadow in array.text('shadow', 'list')
    unkept = array.ctl('set', 'create', 'unkept', 'sql-log', '--no-keep')
    assert unkept['state'] == 'committed'
    array.ctl('set', 'abort', 'unkept')
    assert [s['name'] for s in array.ctl('set', 'list')['sets']] == ['nightly']
    assert 'unkept' in [s['name'] for s in array.ctl('set', 'list', '--all')['sets']]
    array.ctl('shadow', 'delete', shadow)
    return made['members'][1]['shadow']


def status(array):
    shown = array.ctl('status')
    members(shown['array'], id=str, name=str, version=str, target_name=str, portals=list, pid=int)
    assert shown['array']['portals'] == [{'address': '127.0.0.1', 'port': array.port, 'group': 1}]
    assert shown['array']['pid'] == array.pid
    members(shown['pool'], path=str, capacity_bytes=int, used_bytes=int, read_only=bool)
    members(shown['limits'], luns_max=int, set_luns_max=int, commit_budget_ms=int)
    for word in (array.target, '127.0.0.1', array.pool):
        assert word in array.text('status')
    members(array.ctl('pool', 'status'), capacity_bytes=int, used_bytes=int)
    assert 'capacity' in array.text('pool', 'status')
    assert 'pool' in array.text('top', '--count', '1', '--interval', '100ms')
    array.ctl('top', '--count', '1', '--interval', '100ms')


def events(array):
    listed = array.ctl('events')
    serials = [event['serial'] for event in listed['events']]
    assert serials == sorted(serials) and serials[-1] == listed['last']
    assert array.ctl('events', '--after', str(listed['last']))['events'] == []
    command = [umbractl_path(), 'events', '--follow', '--json', '--after', str(serials[-2]), '--socket', array.socket]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as follower:
        try:
            assert json.loads(follower.stdout.readline())['serial'] == serials[-1]
            array.ctl('lun', 'create', 'seen', '--size', '1M')
            readable, _, _ = select.select([follower.stdout], [], [], 20)
            assert readable, 'no event came'
            event = json.loads(follower.stdout.readline())
            assert 'seen' in event['text'] and event['area'] == 'lun'
            array.ctl('lun', 'delete', 'seen')
            array.stop()
            assert follower.wait(600) == 1 and 'ended the connection' in follower.stderr.read()
        finally:
            follower.kill()
    array.start()


def picture(array):
    """What must last."""
    shown = [array.ctl('lun', 'list')['luns'], array.ctl('shadow', 'list')['shadows'], array.ctl('host', 'list'),
             array.ctl('mappings'), array.ctl('set', 'show', 'nightly'), array.ctl('status')['array']['id']]
    for lun in shown[0] + shown[1]:
        del lun['used_bytes']
    return shown


def everything_lasts(array, lun_id, shadow):
    before = picture(array)
    for how in (array.stop, array.kill9):
        how()
        done = run_ctl('pool', 'check', array.pool, '--json')
        assert json.loads(done.stdout)['findings'] == 0, done.stdout
        array.start()
        after = picture(array)
        assert before == after, f'{before}\n{after}'
        with Session(array, 'db1') as session:
            assert session.serial(1) == lun_id and session.read(1, 100, 1)[:5] == b'after'
            assert Channel(session).ask('identify', 'ok').array_id.hex() == before[-1]
    array.ctl('shadow', 'map', shadow, 'db1')
    array.ctl('shadow', 'unmap', shadow, 'db1')
    array.ctl('set', 'delete', 'nightly')
    assert array.ctl('shadow', 'list')['shadows'] == [] and array.ctl('set', 'list')['sets'] == []


def main():
    with Array({'copysets': {'number_rest': '1ms'}}) as array:
        lun_id = luns(array)
        hosts(array)
        mappings(array)
        shadow = sets_and_shadows(array)
        status(array)
        events(array)
        everything_lasts(array, lun_id, shadow)
    print('ok')


if __name__ == '__main__':
    main()
