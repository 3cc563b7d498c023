#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""umbractl metrics: its text is read strictly, by the rules of Prometheus' text format, and what it says is compared with
what was done: LUNs, hosts, reads and writes, a copy set, a policy. The same over HTTP. Odd names come from a
false umbrad. promtool looks at it too where it is there. Without umbrad there is an error, and nothing on standard output."""
import json
import os
import re
import shutil
import socketserver
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from umbra_initiator import Session  # noqa: E402
from umbra_lab import Array, run_ctl, umbractl_path  # noqa: E402

NAMES = ('plain', '0.5', '_', 'e-9..x', 'L' * 64)
ODD = 'größe "q" \\ \\n{a="b"} 5\n# x'  # umbrad allows no such name, but who reads it should not depend on that
PATIENCE_S = 300
NAME = r'[a-zA-Z_:][a-zA-Z0-9_:]*'
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"')
NUMBER = re.compile(r'-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?')
ESCAPES = {'\\\\': '\\', '\\"': '"', '\\n': '\n'}


def labels_of(text):
    found, at = {}, 0
    while at < len(text):
        match = LABEL.match(text, at)
        assert match, text[at:]
        name, value = match.groups()
        assert name not in found, text
        found[name] = re.sub(r'\\.', lambda m: ESCAPES[m.group()], value)
        at = match.end()
        assert at == len(text) or text[at] == ',', text[at:]
        at += 1
    return found


def family_of(name, kind):
    for ending in ('_bucket', '_sum', '_count'):
        if kind == 'histogram' and name.endswith(ending):
            return name.removesuffix(ending)
    return name


def parse(text):
    """{name: [(labels, value)]}. Fails on what Prometheus would refuse, and on what its rules for names forbid."""
    assert text.endswith('\n')
    samples, types, seen, family, kind = {}, {}, set(), None, None
    lines = iter(text.split('\n')[:-1])
    for line in lines:
        if line.startswith('#'):
            match = re.fullmatch(rf'# HELP ({NAME}) (\S.*)', line)
            assert match and match.group(1) not in types, line
            family = match.group(1)
            match = re.fullmatch(rf'# TYPE ({NAME}) (gauge|counter|histogram)', next(lines))
            assert match and match.group(1) == family, line
            kind = types[family] = match.group(2)
            assert (kind == 'counter') == family.endswith('_total'), line
            continue
        match = re.fullmatch(rf'({NAME})(?:\{{(.*)\}})? (\S+)', line)
        assert match and NUMBER.fullmatch(match.group(3)), line
        name, labels = match.group(1), labels_of(match.group(2) or '')
        assert family_of(name, kind) == family, line
        key = (name, tuple(sorted(labels.items())))
        assert key not in seen, line
        seen.add(key)
        samples.setdefault(name, []).append((labels, float(match.group(3))))
    check_histograms(samples, [name for name in types if types[name] == 'histogram'])
    return samples


def check_histograms(samples, names):
    for name in names:
        rows = {}
        for labels, value in samples.get(name + '_bucket', ()):
            le = float(labels['le'])
            rows.setdefault(tuple(sorted((k, v) for k, v in labels.items() if k != 'le')), []).append((le, value))
        for key, buckets in rows.items():
            assert buckets == sorted(buckets) and [v for _, v in buckets] == sorted(v for _, v in buckets), buckets
            assert buckets[-1][0] == float('inf') and len({le for le, _ in buckets}) == len(buckets), buckets
            assert get(samples, name + '_count', **dict(key)) == buckets[-1][1]
            assert get(samples, name + '_sum', **dict(key)) >= 0


def get(samples, name, /, **labels):
    found = [value for has, value in samples[name] if labels.items() <= has.items()]
    assert len(found) == 1, (name, labels, found)
    return found[0]


def scrape(array):
    return parse(array.text('metrics'))


def until(array, condition):
    end = time.monotonic() + PATIENCE_S
    while not condition(scrape(array)):
        assert time.monotonic() < end
        time.sleep(0.1)


def empty(array):
    samples = scrape(array)
    assert get(samples, 'umbra_luns', kind='ordinary') == 0 and get(samples, 'umbra_hosts') == 0
    assert get(samples, 'umbra_build_info', version=array.ctl('status')['array']['version']) == 1
    assert get(samples, 'umbra_array_info', name='lab', target=array.target) == 1
    assert get(samples, 'umbra_pool_capacity_bytes') == array.ctl('status')['pool']['capacity_bytes']
    assert get(samples, 'umbra_pool_log_size_bytes') > 0 and get(samples, 'umbra_pool_map_cache_limit_bytes') > 0
    assert 'umbra_set_window_seconds' not in samples and 'umbra_lun_size_bytes' not in samples


def luns_and_hosts(array):
    array.add_host('srv', 'iqn.2026-01.test:srv')
    array.add_host('idle', 'iqn.2026-01.test:idle')
    for name in NAMES:
        array.ctl('lun', 'create', name, '--size', '2M')
        array.ctl('map', name, 'srv')
    samples = scrape(array)
    assert {labels['lun'] for labels, _ in samples['umbra_lun_size_bytes']} == set(NAMES), samples
    assert all(value == 2 << 20 for _, value in samples['umbra_lun_size_bytes'])
    assert 'umbra_lun_operation_duration_seconds_bucket' not in samples
    with Session(array, 'srv') as session:
        lun = next(m['number'] for m in array.ctl('host', 'show', 'srv')['mappings'] if m['lun'] == NAMES[1])
        for _ in range(3):
            session.write(lun, 0, b'x' * 65536)
        for _ in range(5):
            session.read(lun, 0, 8)
        session.flush(lun)
        status, _, _ = session.command(lun, bytes((0x88, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0)), length_in=512)
        assert status == 2  # beyond the end: it fails when it is parsed, and is no operation
        compare_and_write = bytes((0x89, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0))
        status, sense, _ = session.command(lun, compare_and_write, out=b'y' * 1024)
        assert status == 2 and sense[0] == 0xE, sense  # MISCOMPARE
        samples = scrape(array)
        assert get(samples, 'umbra_host_sessions', host='srv') == 1
        assert get(samples, 'umbra_host_sessions', host='idle') == 0
    for subject in ({'lun': NAMES[1]}, {'host': 'srv'}):
        what = f'umbra_{next(iter(subject))}_'
        for operation, count, size in (('write', 3, 3 * 65536), ('read', 5, 5 * 4096)):
            assert get(samples, what + 'operations_total', operation=operation, **subject) == count
            assert get(samples, what + 'transferred_bytes_total', operation=operation, **subject) == size
            assert get(samples, what + 'operation_duration_seconds_count', operation=operation, **subject) == count
        assert get(samples, what + 'operations_total', operation='other', **subject) >= 1
        assert get(samples, what + 'failed_operations_total', **subject) == 1
        assert get(samples, what + 'queue_length', **subject) == 0
    assert get(samples, 'umbra_host_mappings', host='srv') == len(NAMES)
    assert get(samples, 'umbra_lun_operations_total', operation='read', lun='plain') == 0
    assert get(samples, 'umbra_lun_used_bytes', lun=NAMES[1]) == 65536
    assert get(samples, 'umbra_pool_space_bytes', owner='originals') == 65536
    until(array, lambda now: get(now, 'umbra_host_sessions', host='srv') == 0)
    assert get(scrape(array), 'umbra_host_operations_total', operation='write', host='srv') == 3  # outlives the session


def sets_and_policies(array):
    info = get(scrape(array), 'umbra_events_total', severity='info')
    array.ctl('set', 'create', 'one', *NAMES, '--lock', '1d')
    shown = array.ctl('set', 'show', 'one')
    samples = scrape(array)
    assert get(samples, 'umbra_sets', state='kept') == 1 and get(samples, 'umbra_sets_locked') == 1
    assert get(samples, 'umbra_luns', kind='shadow') == len(NAMES)
    assert abs(get(samples, 'umbra_set_window_seconds') - shown['window_ns'] / 1e9) < 1e-9
    assert abs(get(samples, 'umbra_set_durable_seconds') - shown['durable_ns'] / 1e9) < 1e-9
    assert abs(get(samples, 'umbra_set_cut_timestamp_seconds') - shown['cut_unix_ms'] / 1e3) < 1e-3
    assert 'umbra_set_held_seconds' not in samples  # no host told
    assert get(samples, 'umbra_events_total', severity='info') > info
    array.ctl('policy', 'create', 'weekly.x', '--luns', 'plain', '--every', '7d')
    until(array, lambda now: 'umbra_policy_last_run_timestamp_seconds' in now)
    samples, policy = scrape(array), array.ctl('policy', 'show', 'weekly.x')
    for word in ('last', 'next'):
        assert abs(get(samples, f'umbra_policy_{word}_run_timestamp_seconds', policy='weekly.x') -
                   policy[f'{word}_unix_ms'] / 1e3) < 1e-3


def http(array):
    def ask(request):
        done = subprocess.run([umbractl_path(), '--socket', array.socket, 'metrics', '--http'], input=request.encode(),
                              capture_output=True)
        head, body = done.stdout.decode().split('\r\n\r\n', 1)
        assert f'\r\nContent-Length: {len(body.encode())}\r\n' in head + '\r\n', head
        return done.returncode, head.split('\r\n')[0], body

    code, status, body = ask('GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n')
    assert (code, status) == (0, 'HTTP/1.0 200 OK') and 'umbra_build_info' in parse(body)
    for request, want in (('GET / HTTP/1.0\r\n\r\n', 404), ('POST /metrics HTTP/1.0\r\n\r\n', 405), ('', 400),
                          ('GET /metrics HTTP/1.0\r\n', 400), ('\r\n\r\n', 400), ('GET /' + 'x' * 100000, 400),
                          ('GET \0/metrics HTTP/1.0\r\n\r\n', 400)):
        code, status, _ = ask(request)
        assert code == 1 and status.startswith(f'HTTP/1.0 {want} '), (request[:40], status)
    return ask


def escapes():
    """A false umbrad with odd names, and one LUN on each of two pages with the same name."""
    lun = {'name': ODD, 'kind': 'ordinary', 'size_bytes': 5, 'used_bytes': 0, 'queue': 2, 'failed': 0, 'other': 0, 'mappings': 0,
           'read': {'operations': 2, 'bytes': 7, 'ns': 1500000001, 'buckets': [1, 0, 1]},
           'write': {'operations': 0, 'bytes': 0, 'ns': 0}}
    answers = {'status': {'array': {'name': ODD, 'version': ODD, 'started_unix_ms': 1005}}, 'load.hosts': {'hosts': []},
               'set.list': {'sets': []}, 'policy.list': {'policies': [{'name': ODD, 'last_unix_ms': 90, 'next_unix_ms': None}]}}

    def result_of(request):
        if request['method'] == 'load.luns':
            return {'luns': [lun], 'bounds_ns': [100000, 2500000], 'next': None if request['params']['offset'] else 1}
        return answers[request['method']]

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            for line in self.rfile:
                request = json.loads(line)
                answer = {'jsonrpc': '2.0', 'id': request['id'], 'result': result_of(request)}
                self.wfile.write(json.dumps(answer).encode() + b'\n')

    with tempfile.TemporaryDirectory(prefix='umbra-') as folder:
        path = os.path.join(folder, 'socket')
        with socketserver.ThreadingUnixStreamServer(path, Handler) as server:
            threading.Thread(target=server.serve_forever).start()
            text = run_ctl('metrics', socket=path).stdout
            server.shutdown()
    samples = parse(text)
    assert get(samples, 'umbra_array_info', name=ODD) == get(samples, 'umbra_build_info', version=ODD) == 1
    assert get(samples, 'umbra_start_time_seconds') == 1.005
    assert get(samples, 'umbra_lun_queue_length', lun=ODD, kind='ordinary') == 2
    assert get(samples, 'umbra_lun_operation_duration_seconds_sum', operation='read') == 1.500000001
    rows = [(labels['le'], value) for labels, value in samples['umbra_lun_operation_duration_seconds_bucket']]
    assert rows == [('0.0001', 1), ('0.0025', 1), ('+Inf', 2)], rows
    assert get(samples, 'umbra_policy_last_run_timestamp_seconds', policy=ODD) == 0.09
    assert 'umbra_policy_next_run_timestamp_seconds' not in samples


def main():
    escapes()
    with Array() as array:
        empty(array)
        luns_and_hosts(array)
        sets_and_policies(array)
        ask = http(array)
        if shutil.which('promtool'):
            done = subprocess.run(['promtool', 'check', 'metrics'], input=array.text('metrics'), text=True,
                                  capture_output=True)
            assert done.returncode == 0, done.stdout + done.stderr
        array.ctl('metrics', want=2)
        assert array.stop() == 0
        gone = run_ctl('metrics', socket=array.socket, check=False)
        assert gone.returncode == 1 and gone.stdout == '' and 'is umbrad running?' in gone.stderr, gone
        assert ask('GET /metrics HTTP/1.0\r\n\r\n')[1].startswith('HTTP/1.0 503 ')


if __name__ == '__main__':
    main()
