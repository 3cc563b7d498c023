#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An array with thousands of copy sets: what a start takes, counted in processor time, grows no faster than they do, and their
list comes in pages. For scripts/soak. UMBRA_TEST_SETS: how many (default 65,536, the most that there may be).
"""
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from umbra_lab import Array, Management  # noqa: E402

SETS = int(os.environ.get('UMBRA_TEST_SETS', '65536'))
LIMIT_S = 2


def cpu_seconds(pid):
    """Of all threads that there are, by the scheduler's count."""
    tasks = f'/proc/{pid}/task'
    total = 0
    for task in os.listdir(tasks):
        with open(os.path.join(tasks, task, 'schedstat')) as source:
            total += int(source.read().split()[0])
    return total / 1e9


class ManySets(unittest.TestCase):
    def setUp(self):
        self.array = Array(config={'copysets': {'sets_max': '65536'}, 'array': {'luns_max': '131072'}},
                           pool_options=('--capacity', '4G'))
        self.addCleanup(self.array.remove)
        self.addCleanup(self.array.stop)
        self.array.ctl('lun', 'create', 'a', '--size', '64M')
        self.made = 0

    def make(self, sets):
        management = Management(self.array.socket)
        management.ask_all([('set.create', {'name': f's{number}', 'luns': ['a']}) for number in range(self.made, sets)])
        management.close()
        self.made = sets

    def start_seconds(self):
        """The least of three, for caches are not always the same."""
        took = []
        for _ in range(3):
            self.array.stop()
            self.array.start()
            took.append(cpu_seconds(self.array.pid))
        return min(took)

    def test_a_start_costs_what_there_is_and_lists_are_paged(self):
        empty = self.start_seconds()
        self.make(SETS // 8)
        few = self.start_seconds() - empty
        self.make(SETS)
        many = self.start_seconds() - empty
        print(f'start: {empty:.3f} s of processor time, with {SETS // 8} sets {few:.3f} s more, with {SETS} {many:.3f} s')
        self.assertLess(many, 24 * few, 'eight times as many cost eight times as much, not 64 times')
        self.assertLess(empty + many, LIMIT_S)
        management = Management(self.array.socket)
        names, params, pages = set(), {}, 0
        while True:
            page = management.ask_all([('set.list', params)])[0]
            self.assertLessEqual(len(page['sets']), 200)
            names.update(one['name'] for one in page['sets'])
            pages += 1
            if not page.get('next'):
                break
            params = {'offset': page['next']}
        management.close()
        self.assertEqual(names, {f's{number}' for number in range(SETS)})
        self.assertGreaterEqual(pages, SETS // 200)


if __name__ == '__main__':
    unittest.main(argv=sys.argv[:1], verbosity=1)
