#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs/messages.md is what the sources say (scripts/messages --check), and the ids that umbrad and umbractl tell, in their JSON,
in text and in the log, stand there with the words that were told."""
import json
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from umbra_initiator import Session  # noqa: E402
from umbra_lab import ROOT, Array, run_ctl, umbractl_path, umbrad_path  # noqa: E402

ID = re.compile(r'UMB-[0-9A-F]{6}')


def catalogue():
    """id: what a message with it looks like."""
    found = {}
    with open(os.path.join(ROOT, 'docs/messages.md')) as page:
        for line in page:
            row = [cell.strip() for cell in re.split(r'(?<!\\)\|', line)]
            if len(row) > 4 and ID.fullmatch(row[1]):
                assert row[1] not in found or found[row[1]] == row[2], line
                assert row[2] and row[3], line
                text = re.sub(r'^(info|warning|error): ', '', row[2]).replace('\\|', '|').replace('&lt;', '<')
                found[row[1]] = re.compile('.*'.join(re.escape(part) for part in text.split('…')), re.S)
    return found


def known(rows, number, text):
    assert number in rows, f'{number} is not in docs/messages.md: {text}'
    assert rows[number].search(text), f'{number} says {rows[number].pattern} there, and was told as: {text}'


def refusals(array):
    """(arguments, id, text) of what is refused, as JSON tells it."""
    for arguments in (('lun', 'create', 'a b', '--size', '1M'), ('lun', 'create', 'x', '--size', '1000'),
                      ('lun', 'show', 'nobody'), ('lun', 'create', 'a', '--size', '1M'), ('map', 'a', 'nobody'),
                      ('host', 'add', 'h', '--iqn', 'nonsense'), ('set', 'create', 's', 'nobody'), ('set', 'lock', 's', '--for', '1h'),
                      ('policy', 'create', 'p', '--keep', 'daily=0'), ('lun', 'delete', 'a'), ('shadow', 'delete', 'a'),
                      ('apply', '/nonexistent'), ('pool', 'create', '/proc/nothing'), ('lun', 'import', '/nonexistent.raw'),
                      ('pool', 'check', array.pool), ('resync', 'cancel', '77'), ('session', 'logout', 'nobody')):
        done = array.ctl(*arguments, check=False)
        assert done.returncode == 1, (arguments, done)
        error = json.loads(done.stdout)['error']
        number = error['data']['id']
        assert f'[{number}]' in done.stderr, done
        yield arguments, number, error['message']
    for arguments in (('lun', 'create', 'x'), ('nonsense',), ('lun',), ('lun', 'nonsense', '--size', '1M'), ('set', 'create', 's')):
        done = run_ctl(*arguments, socket=array.socket, check=False)
        assert done.returncode == 2
        yield arguments, ID.search(done.stderr).group(), done.stderr
    with open('/dev/full', 'wb') as full:
        done = subprocess.run([umbractl_path(), 'lun', 'list', '--socket', array.socket], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    yield 'a full disk', ID.search(done.stderr).group(), done.stderr


def main():
    done = subprocess.run([sys.executable, os.path.join(ROOT, 'scripts/messages'), '--check'], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = catalogue()
    assert len(rows) > 400, len(rows)
    told = set()
    with Array() as array:
        array.ctl('lun', 'create', 'a', '--size', '1M')
        array.add_host('h', 'iqn.x:h')
        array.ctl('map', 'a', 'h')
        with Session(array, 'h') as session:
            session.write(1, 0, bytes(512))
        array.ctl('set', 'create', 's1', 'a', '--lock', '1s')
        for arguments, number, text in refusals(array):
            known(rows, number, text)
            told.add(number)
        for event in array.ctl('events')['events']:
            known(rows, event['id'], event['text'])
            told.add(event['id'])
            assert f'{event["text"]} [{event["id"]}]' in array.log(), event
            assert f'{event["text"]} [{event["id"]}]' in array.text('events'), event
    assert len(told) > 20, told
    for arguments in (('--config', '/nonexistent'), ('--nonsense',), ('--config',), ('stray',)):
        bad = subprocess.run([umbrad_path(), *arguments], capture_output=True, text=True)
        assert bad.returncode == 2, bad
        known(rows, ID.search(bad.stderr).group(), bad.stderr)


if __name__ == '__main__':
    main()
