# SPDX-License-Identifier: Apache-2.0
"""Inside a guest: opens the databases of a copy, for guest_databases.py.

    guest_recover.py POSTGRESQL-PROGRAMS       in a mount namespace in which /mnt/data and /mnt/wal are the copy's

Prints {"pg": last transaction, "sqlite": last transaction}; ends 1, saying what was wrong, when a database did not
recover or what it holds is not of one instant."""
import json
import os
import re
import sqlite3
import subprocess
import sys

QUERIES = ['select sum(held) as wrong_sum from account where held is not null',
           'select count(*) as accounts from account',
           'select coalesce(max(n), 0) as last from done',
           # nothing is missing among the last ones, by the heap and by the index
           'select count(*) as heap from (select n from done offset 0) x where n > (select max(n) from done) - 400',
           'set enable_seqscan = off',
           'select count(*) as by_index from done where n > (select max(n) from done) - 400']


def postgresql(programs):
    if os.path.exists('/mnt/data/pg/postmaster.pid'):
        os.unlink('/mnt/data/pg/postmaster.pid')  # it names the server of the original, which runs
    as_user = ['setpriv', '--reuid=postgres', '--regid=postgres', '--clear-groups']
    done = subprocess.run(as_user + [f'{programs}/postgres', '--single', '-j', '-D', '/mnt/data/pg', 'postgres'],
                          input=''.join(query + ';\n\n' for query in QUERIES), capture_output=True, text=True)
    found = {name: int(value) for name, value in re.findall(r'\b(\w+) = "(-?\d+)"', done.stdout)}
    if done.returncode or len(found) < 5 or re.search('PANIC|FATAL|ERROR', done.stderr):
        sys.exit(f'PostgreSQL did not recover: {done.returncode}\n{done.stdout}{done.stderr}')
    last = found['last']
    if found['wrong_sum'] != 0 or found['accounts'] != 200 or not found['heap'] == found['by_index'] == min(last, 400):
        sys.exit(f'PostgreSQL holds what no instant had: {found}')
    check = subprocess.run(as_user + [f'{programs}/pg_checksums', '--check', '-D', '/mnt/data/pg'],
                           capture_output=True, text=True)
    if check.returncode:
        sys.exit(f'pg_checksums: {check.stdout}{check.stderr}')
    return last


def sqlite():
    try:
        base = sqlite3.connect('/mnt/data/one.db', isolation_level=None)
        base.execute("attach '/mnt/wal/two.db' as two")
        held, last = {}, {}
        for schema in ('main', 'two'):
            verdict = base.execute(f'pragma {schema}.integrity_check').fetchall()
            if verdict != [('ok',)]:
                sys.exit(f'SQLite, {schema}: {verdict}')
            held[schema], = base.execute(f'select held from {schema}.account').fetchone()
            last[schema] = base.execute(f'select coalesce(max(n), 0), count(*) from {schema}.done').fetchone()
    except sqlite3.Error as error:
        sys.exit(f'SQLite did not recover: {error}')
    if held['main'] + held['two'] != 0 or last['main'] != last['two'] or last['main'][0] != last['main'][1]:
        sys.exit(f'SQLite holds what no instant had: {held}, {last}')
    return last['main'][0]


print(json.dumps({'sqlite': sqlite(), 'pg': postgresql(sys.argv[1])}))
