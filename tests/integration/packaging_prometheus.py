#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The alert rules do what their tests say (promtool), and every rule has a test in which it fires; the rules and the dashboard
ask for metrics that `umbractl metrics` has, with labels that these have."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from umbra_initiator import Session  # noqa: E402
from umbra_lab import ROOT, Array  # noqa: E402

RULES = os.path.join(ROOT, 'packaging/prometheus/umbra.rules.yml')
TESTS = os.path.join(ROOT, 'packaging/prometheus/umbra.rules.test.yml')
DASHBOARD = os.path.join(ROOT, 'packaging/grafana/umbra.json')
ADDED = {'instance', 'job'}  # by Prometheus itself


def read(path):
    with open(path, encoding='utf-8') as file:
        return file.read()


def promtool(*arguments):
    done = subprocess.run(['promtool', *arguments], capture_output=True, text=True, cwd=os.path.dirname(RULES))
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)


def told():
    """Metric: labels, of an array that has all kinds of things."""
    with Array() as array:
        array.ctl('lun', 'create', 'a', '--size', '1M')
        array.add_host('h', 'iqn.x:h')
        array.ctl('map', 'a', 'h')
        with Session(array, 'h') as session:
            session.write(1, 0, bytes(512))
            session.read(1, 0, 1)
        array.ctl('policy', 'create', 'p', '--luns', 'a', '--every', '1h')
        array.ctl('set', 'create', 's', 'a')
        text = array.text('metrics')
    found = {name: set() for name in re.findall(r'^# TYPE (\w+)', text, re.M)}
    # what only a host's shadow copy through VSS brings
    found |= {name: set() for name in re.findall(r'\{"(umbra_set_\w+)"', read(os.path.join(ROOT, 'ctl/verbs_metrics.c')))}
    # what only an array with two controllers has (ceph_roles.py reads it there)
    found |= {name: {'role'} for name in re.findall(r'"(umbra_controller_\w+)"', read(os.path.join(ROOT, 'ctl/verbs_metrics.c')))}
    for name, labels in re.findall(r'^(\w+)(?:\{(.*)\})? \S+$', text, re.M):
        found.setdefault(name, set()).update(re.findall(r'(\w+)="', labels or ''))
    return found


def expressions():
    """Where it stands: expression."""
    rules = {}
    for name, rest in re.findall(r'- alert: (\w+)\n(.*?)(?=\n      - alert|\Z)', read(RULES), re.S):
        one = re.search(r'expr: (?!>-)(.*)', rest) or re.search(r'expr: >-\n((?:          .*\n)+)', rest)
        rules[name] = ' '.join(one.group(1).split())
    panels = {f"{panel['title']} {target['refId']}": target['expr'].replace('$__rate_interval', '5m').replace('$instance', 'x')
              .replace('$lun', 'x') for panel in json.loads(read(DASHBOARD))['panels'] for target in panel['targets']}
    return rules, panels


def check_names(where, expression, metrics):
    for name, labels in re.findall(r'\b(umbra_\w+)(?:\{([^}]*)\})?', expression):
        assert name in metrics, f'{where}: umbractl metrics has no {name}'
        for label in re.findall(r'(\w+)\s*=~?"', labels):
            assert label in metrics[name] | ADDED, f'{where}: {name} has no label {label}'


def main():
    assert shutil.which('promtool'), 'promtool is not here: scripts/bootstrap installs it (Debian: prometheus)'
    promtool('check', 'rules', RULES)
    promtool('test', 'rules', TESTS)
    rules, panels = expressions()
    assert len(rules) >= 10 and len(panels) >= 14, (rules, panels)
    fired = set(re.findall(r'alertname: (\w+)\n\s+exp_alerts:\n', read(TESTS)))
    assert set(rules) == fired, set(rules) ^ fired
    metrics = told()
    for where, expression in {**rules, **panels}.items():
        check_names(where, expression, metrics)
    with tempfile.NamedTemporaryFile('w', suffix='.yml') as file:  # are the dashboard's expressions PromQL?
        file.write('groups:\n- name: dashboard\n  rules:\n')
        for number, expression in enumerate(panels.values()):
            file.write(f'  - record: panel_{number}\n    expr: {json.dumps(expression)}\n')
        file.flush()
        promtool('check', 'rules', file.name)


if __name__ == '__main__':
    main()
