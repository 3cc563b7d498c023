#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One file that describes an array: applied, applied again without a change, changed, pruned; what is wrong with a file, said
before anything changes; an exported array made anew elsewhere."""
import json
import os
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from umbra_lab import Array  # noqa: E402

WANTED = {
    'luns': [{'name': 'data', 'size': '4M'}, {'name': 'log', 'size': 2 << 20}],
    'hosts': [{'name': 'db1', 'iqns': ['iqn.x:db1'], 'chap_secret_file': 'db1.chap'},
              {'name': 'backup', 'iqns': ['iqn.x:b1', 'iqn.x:b2'], 'import': 'named', 'import_hosts': ['db1'],
               'control_without_chap': True}],
    'mappings': [{'lun': 'data', 'host': 'db1'}, {'lun': 'log', 'host': 'db1', 'number': 7}],
    'policies': [{'name': 'nightly', 'luns': ['data', 'log'], 'every': '1d', 'at': '02:00', 'keep': 'daily=7', 'lock': '1h'},
                 {'name': 'prune', 'label': 'sql', 'keep': 'hourly=3', 'vss': True}],
}


class Files:
    def __init__(self, directory):
        self.directory = directory
        self.path = os.path.join(directory, 'array.json')
        for name in ('db1.chap', 'db1.mutual-chap'):
            with open(os.path.join(directory, name), 'w') as out:
                out.write('secret-of-db1\n')

    def write(self, what):
        with open(self.path, 'w') as out:
            out.write(what if isinstance(what, str) else json.dumps(what))
        return self.path


def changed(**kinds):
    return {**json.loads(json.dumps(WANTED)), **kinds}


def apply(array, files, what, *options):
    return array.ctl('apply', files.write(what), *options)


def refused(array, files, what, *words):
    """Exit 1 before anything has changed; the reason has the words."""
    before = array.text('config', 'export')
    error = array.ctl('apply', files.write(what), want=1)['error']
    for word in words:
        assert word in error['message'], error
    assert array.text('config', 'export') == before


def makes(array, files):
    plan = apply(array, files, WANTED, '--check')
    assert plan['check'] and plan['changes'] == 8 and not array.ctl('lun', 'list')['luns'], plan
    done = apply(array, files, WANTED)
    assert done['changes'] == done['done'] == 8, done
    assert array.ctl('lun', 'show', 'data')['size_bytes'] == 4 << 20
    assert array.ctl('host', 'show', 'db1')['chap'] and array.ctl('host', 'show', 'backup')['import_hosts'] == ['db1']
    maps = sorted((m['lun'], m['host'], m['number']) for m in array.ctl('mappings')['mappings'])
    assert maps == [('data', 'db1', 1), ('log', 'db1', 7)], maps
    assert array.ctl('policy', 'show', 'nightly')['lock_ms'] == 3600000 and array.ctl('policy', 'show', 'prune')['hosts']
    os.unlink(os.path.join(files.directory, 'db1.chap'))  # read for a host without a secret only
    assert apply(array, files, WANTED)['changes'] == 0
    assert '0 change(s) made' in array.text('apply', files.write(WANTED))


def changes(array, files):
    wanted = changed(luns=[{'name': 'data', 'size': '8M'}, {'name': 'log', 'size': '2M'}, {'name': 'new', 'size': '1M'}])
    wanted['hosts'][1].update(control_lu=not array.ctl('host', 'show', 'backup')['control_lu'])
    wanted['policies'][0]['keep'] = 'daily=14'
    text = array.text('apply', files.write(wanted), '--check', '--diff')
    assert 'control_lu: ' in text and 'keep: "daily=7" -> "daily=14"' in text and '4 change(s) to make' in text, text
    assert [(s['change'], s['what'].split(',')[0]) for s in apply(array, files, wanted)['steps']] == [
        ('~', 'LUN data'), ('+', 'LUN new'), ('~', 'host backup'), ('~', 'policy nightly')]
    assert apply(array, files, wanted)['changes'] == 0
    apply(array, files, {'luns': [{'name': 'data', 'size': '8M'}]})  # what it does not name stays
    assert apply(array, files, wanted)['changes'] == 0
    return wanted


def prunes(array, files, wanted):
    less = {**wanted, 'luns': wanted['luns'][:1], 'mappings': wanted['mappings'][:1], 'hosts': wanted['hosts'][:1],
            'policies': wanted['policies'][1:]}
    less['luns'] = [{'name': 'data', 'size': '8M'}]
    plan = apply(array, files, less, '--check', '--prune')
    assert [(s['change'], s['what'].split(',')[0]) for s in plan['steps']] == [
        ('-', 'policy nightly'), ('-', 'LUN log from host db1'), ('-', 'host backup'), ('-', 'LUN log'), ('-', 'LUN new')], plan
    before = array.text('config', 'export')
    error = array.ctl('apply', files.path, '--prune', want=1)['error']
    assert '--yes' in error['message'] and array.text('config', 'export') == before, error
    apply(array, files, less, '--prune', '--yes')
    assert [lun['name'] for lun in array.ctl('lun', 'list')['luns'] if lun['kind'] == 'ordinary'] == ['data']
    assert apply(array, files, less, '--prune', '--yes')['changes'] == 0
    apply(array, files, {'policies': []}, '--prune', '--yes')  # of the kinds that it speaks of
    assert [lun['name'] for lun in array.ctl('lun', 'list')['luns'] if lun['kind'] == 'ordinary'] == ['data']
    assert not array.ctl('policy', 'list')['policies']


def refuses(array, files):
    refused(array, files, changed(disks=[]), 'disks')
    refused(array, files, '{"luns": [', 'line 1')
    refused(array, files, '{"luns": [], "luns": []}', 'duplicate')
    refused(array, files, '[]', 'object')
    refused(array, files, changed(luns={}), 'luns', 'list')
    refused(array, files, changed(luns=[{'name': 'x', 'size': '1M'}, {'name': 'x', 'size': '1M'}]), 'x twice')
    refused(array, files, changed(luns=[{'name': 'data', 'size': '1M'}]), 'only grows')
    refused(array, files, changed(luns=[{'name': 'x', 'size': 'big'}]), 'size')
    refused(array, files, changed(luns=[{'name': 'x', 'size': '1M', 'colour': 'red'}]), 'luns[0]')
    refused(array, files, changed(luns=[{'size': '1M'}]), 'luns[0]', 'name')
    refused(array, files, {'mappings': [{'lun': 'none', 'host': 'db1'}]}, 'no LUN none')
    refused(array, files, {'mappings': [{'lun': 'data', 'host': 'none'}]}, 'no host none')
    refused(array, files, {'mappings': [{'lun': 'data', 'host': 'db1', 'number': 99}]}, 'number')
    refused(array, files, {'hosts': [{'name': 'o', 'iqns': ['iqn.x:o'], 'import': 'any', 'import_hosts': ['db1']}]}, 'named')
    refused(array, files, {'policies': [{'name': 'p', 'every': 'often', 'luns': ['data']}]}, 'often')
    refused(array, files, {'policies': [{'name': 'p', 'luns': 'data'}]}, 'policies[0]')
    refused(array, files, {'hosts': [{'name': 'other', 'iqns': ['iqn.x:o'], 'chap_secret_file': 'no-such-file'}]}, 'no-such-file')
    array.ctl('apply', os.path.join(files.directory, 'none.json'), want=1)
    # as editors of Windows write it
    unchanged = array.text('config', 'export').encode()
    for written, want in ((b'\xef\xbb\xbf' + unchanged, 0), (unchanged.decode().encode('utf-16'), 1)):
        with open(files.path, 'wb') as out:
            out.write(written)
        done = array.ctl('apply', files.path, '--check', want=want)
        assert done['changes'] == 0 if want == 0 else 'UTF-16' in done['error']['message'], done
    array.ctl('apply', want=2)
    # what only umbrad can see: the steps before it stay, and the next run goes on
    half = {'luns': [{'name': 'made', 'size': '1M'}], 'mappings': [{'lun': 'made', 'host': 'db1', 'number': 1}]}
    array.ctl('apply', files.write(half), want=1)
    del half['mappings'][0]['number']
    assert apply(array, files, half)['changes'] == 1


def refuses_before_the_first_step(array, files):
    """Behind a LUN that could be made stands what cannot be: the LUN is not made."""
    good = {'luns': [{'name': 'first', 'size': '1M'}]}

    def bad(kind, *entries, says):
        refused(array, files, {**good, kind: good.get(kind, []) + list(entries)}, says)

    for lun, says in (({'name': 'a b'}, 'is no name'), ({'name': '-a'}, 'is no name'), ({'name': ''}, 'is no name'),
                      ({'name': 'x' * 65}, 'is no name'), ({'name': 'a\nb'}, 'is no name'), ({'name': 'shadow-1'}, "array's own"),
                      ({'name': 'x', 'size': 1000}, '1 MiB'), ({'name': 'x', 'size': '1P'}, '256 TiB'),
                      ({'name': 'x', 'size': -5}, 'size'), ({'name': 'x', 'size': None}, 'size')):
        bad('luns', {'size': '1M', **lun}, says=says)
    for host, says in (({'name': 'a b'}, 'is no name'), ({'iqns': ['nonsense']}, 'no iSCSI name'), ({'iqns': 'iqn.x:o'}, 'iqns'),
                       ({'iqns': ['iqn.x:o', 'IQN.X:O']}, 'twice'), ({'iqns': [7]}, 'iqns'), ({'control_lu': 'yes'}, 'control_lu'),
                       ({'chap_user': 5}, 'chap_user'), ({'import': 'all'}, 'import'), ({'chap_secret': 'x'}, 'chap_secret'),
                       ({'iqns': [f'iqn.x:{i}' for i in range(17)]}, 'at most 16')):
        bad('hosts', {'name': 'o', 'iqns': ['iqn.x:o'], **host}, says=says)
    bad('hosts', {'name': 'o', 'iqns': ['iqn.x:o']}, {'name': 'p', 'iqns': ['iqn.x:p', 'iqn.X:o']}, says='belongs to host o')
    bad('hosts', {'name': 'o', 'iqns': ['iqn.x:o']}, {'name': 'o', 'iqns': ['iqn.x:p']}, says='o twice')
    first = {'lun': 'first', 'host': 'db1'}
    bad('mappings', first, first, says='twice')
    bad('mappings', {**first, 'number': 40}, {'lun': 'new', 'host': 'db1', 'number': 40}, says='under number 40')
    for number in (0, -1, 16384, 1.5, '7', None):
        bad('mappings', {**first, 'number': number}, says='number')
    for policy, says in (({'keep': 'daily=0'}, 'keep'), ({'keep': 'daily=-1'}, 'keep'), ({'keep': 'daily=7,daily=8'}, 'keep'),
                         ({'keep': 'sometimes=3'}, 'keep'), ({'keep': 'daily=99999999999999999999'}, 'keep'), ({'every': '1s'}, 'every 1min'),
                         ({'every': '0h'}, 'no time'), ({'every': '4000d'}, '3660d'), ({'at': '24:00', 'every': '1d'}, 'at is no time'),
                         ({'at': '02:00'}, 'whole days'), ({'lock': '101y'}, '100 years'), ({'lock': '-1d'}, 'no time'),
                         ({'every': 'none', 'lock': '1d', 'keep': 'daily=1'}, 'how often'), ({'luns': ['first', 'first']}, 'twice'),
                         ({'luns': ['nobody']}, 'no LUN nobody'), ({'luns': [], 'keep': 'daily=1'}, '--luns'), ({'luns': [5]}, 'no name'),
                         ({'name': 'a b'}, 'is no name'), ({'name': 'x' * 41}, '40 bytes'), ({'label': 'a\nb'}, 'label'),
                         ({'label': 'x' * 300}, 'label'), ({'every': 3600}, 'policies[0]')):
        bad('policies', {'name': 'p', 'luns': ['first'], 'every': '1h', **policy}, says=says)
    bad('policies', {'name': 'p', 'keep': 'daily=1'}, {'name': 'q', 'label': 'p', 'keep': 'daily=1'}, says='label p already')


def elsewhere(array, files):
    exported = array.ctl('config', 'export')
    assert apply(array, files, exported)['changes'] == 0
    with Array() as other:
        assert other.ctl('apply', files.write({**exported, 'hosts': [
            {k: v for k, v in host.items() if not k.endswith('_file')} for host in exported['hosts']]}))['changes'] > 0
        for kind in ('luns', 'mappings', 'policies'):
            assert other.ctl('config', 'export')[kind] == exported[kind], kind
        assert other.stop() == 0


def many(array, files):
    started = time.monotonic()
    luns = [{'name': f'many-{i}', 'size': '1M'} for i in range(500)]
    assert apply(array, files, {'luns': luns})['done'] == 500
    made = time.monotonic() - started
    assert apply(array, files, {'luns': luns})['changes'] == 0
    print(f'500 LUNs made in {made:.2f} s, compared in {time.monotonic() - started - made:.2f} s', file=sys.stderr)


def main():
    with Array() as array, tempfile.TemporaryDirectory(prefix='umbra-apply-') as directory:
        files = Files(directory)
        makes(array, files)
        wanted = changes(array, files)
        refuses(array, files)
        refuses_before_the_first_step(array, files)
        apply(array, files, {**wanted, 'policies': wanted['policies']}, '--prune', '--yes')
        prunes(array, files, wanted)
        many(array, files)
        elsewhere(array, files)
        assert array.stop() == 0


if __name__ == '__main__':
    main()
