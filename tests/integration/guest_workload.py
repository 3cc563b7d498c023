# SPDX-License-Identifier: Apache-2.0
"""Inside a guest: writes to databases without end, for guest_databases.py.

    guest_workload.py pg|sqlite

The number of each transaction stands in /run/issued-NAME before it begins, and is printed once its commit has been
acknowledged. Each transaction moves an amount between two accounts, so that the sum of all stays 0, and makes a row of
its own; with SQLite one account is in a file on the one LUN, the other in a file on the other LUN."""
import os
import random
import sqlite3
import subprocess
import sys

ACCOUNTS = 200


def issue(name, number):
    """Whoever reads the file meanwhile finds the number before or this one, never an empty file."""
    path = '/run/issued-' + name
    with open(path + '.new', 'w') as file:
        file.write(str(number))
    os.rename(path + '.new', path)


def postgresql():
    psql = subprocess.Popen(['psql', '-h', '/run/postgresql', '-U', 'postgres', '-qAtX', '-v', 'ON_ERROR_STOP=1'],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sys.stdout, text=True)
    rng, number = random.Random(1), 0
    while True:
        number += 1
        issue('pg', number)
        one, two = rng.sample(range(ACCOUNTS), 2)
        psql.stdin.write(f'begin; update account set held = held - 7 where id = {one}; '
                         f'update account set held = held + 7 where id = {two}; '
                         f"insert into done values ({number}, repeat('{number} ', {rng.randrange(1, 200)})); "
                         f'delete from done where n < {number - 500} and n % 10 <> 0; commit;\n\\echo {number}\n')
        psql.stdin.flush()
        if psql.stdout.readline().strip() != str(number):
            sys.exit('psql has ended')
        print('pg', number, flush=True)


def sqlite():
    base = sqlite3.connect('/mnt/data/one.db', isolation_level=None)
    base.execute("attach '/mnt/wal/two.db' as two")
    for schema in ('main', 'two'):
        base.execute(f'pragma {schema}.journal_mode = delete')
        base.execute(f'pragma {schema}.synchronous = full')
    number = 0
    while True:
        number += 1
        issue('sqlite', number)
        base.execute('begin immediate')
        base.execute('update main.account set held = held - 7')
        base.execute('update two.account set held = held + 7')
        for schema in ('main', 'two'):
            base.execute(f"insert into {schema}.done values (?, ?)", (number, str(number) * (number % 97)))
        base.execute('commit')
        print('sqlite', number, flush=True)


{'pg': postgresql, 'sqlite': sqlite}[sys.argv[1]]()
