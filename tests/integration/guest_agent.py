# SPDX-License-Identifier: Apache-2.0
"""Inside a guest (umbra_guest.py): runs what the host asks for. A line of JSON asks, a line of JSON answers.

    {"run": "a shell command", "limit_s": 60}     -> {"code": 0, "said": "its output"}
    {"begin": "a shell command"}                  -> {"pid": 17}; what it prints goes to the second serial line
    {"wait": 17, "limit_s": 60}                   -> {"code": 0}, or code null when it has not ended
    {"halt": true}                                the guest is gone
"""
import json
import os
import subprocess
import sys

running = {}


def run(command, limit_s):
    process = subprocess.Popen(['/bin/sh', '-c', command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, start_new_session=True)
    try:
        said, _ = process.communicate(timeout=limit_s)
        return {'code': process.returncode, 'said': said.decode(errors='replace')}
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        return {'code': None, 'said': 'it did not end in time'}


def begin(command):
    with open('/dev/ttyS1', 'wb', buffering=0) as line:
        process = subprocess.Popen(['/bin/sh', '-c', 'exec ' + command], stdin=subprocess.DEVNULL, stdout=line,
                                   stderr=line, start_new_session=True)
    running[process.pid] = process
    return {'pid': process.pid}


def wait(pid, limit_s):
    try:
        return {'code': running[pid].wait(limit_s)}
    except subprocess.TimeoutExpired:
        return {'code': None}


def halt():
    with open('/proc/sysrq-trigger', 'w') as file:
        file.write('o')


def main():
    print(json.dumps({'ready': os.uname().release}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if 'run' in asked:
            answer = run(asked['run'], asked['limit_s'])
        elif 'begin' in asked:
            answer = begin(asked['begin'])
        elif 'wait' in asked:
            answer = wait(asked['wait'], asked['limit_s'])
        else:
            halt()
            return
        print(json.dumps(answer), flush=True)


main()
