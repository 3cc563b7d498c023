#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The scenarios of lab/scenarios hold, and files that cannot be understood are refused before anything runs.

    lab_stories.py [NAME…]      the scenarios named, or all
"""
import glob
import os
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, 'lab'))
import ground as grounds  # noqa: E402
import scenario  # noqa: E402

NAMES = []


class Reading(unittest.TestCase):
    def read(self, text):
        with tempfile.NamedTemporaryFile('w', suffix='.scenario') as file:
            file.write(text)
            file.flush()
            return scenario.Scenario(file.name)

    def test_bad_files(self):
        for text, line in (('create a set S of LUN 1\njump', 2), ('needs a lot', 1), ('needs 300 LUNs', 1),
                           ('create a set S of LUN 1, sideways', 1), ('break S, hard', 1), ('resync S, fast', 1),
                           ('for each X in 1, 2:\nnothing is left', 1), ('fails with E_FAIL', 1),
                           ('# story\n\nfor each X in 1:\n  delete $Y', 4)):
            with self.assertRaisesRegex(scenario.BadScenario, f':{line}: ', msg=text):
                self.read(text)
        with self.assertRaises(scenario.BadScenario):
            scenario.Scenario('/no/such.scenario')

    def test_what_is_read(self):
        story = self.read('# One\n# two.\nneeds 2 LUNs and 1 LUN of 1G\nfor each M in A, B:\n'
                          '    abort a set of LUN 1+2 and LUN 3, plex after $M\n'
                          'import S on B fails with VSS_E_X or E_Y\n# not of the story\n')
        self.assertEqual((story.story, story.sizes, story.hosts), (['One', 'two.'], [8, 8, 1024], {'A', 'B'}))
        self.assertEqual([(line.number, line.codes) for line in story.lines],
                         [(5, None), (5, None), (6, ['VSS_E_X', 'E_Y'])])
        self.assertEqual(story.lines[1].groups, ('abort', 'LUN 1+2 and LUN 3', ', plex', 'B'))


class Playing(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.ground = grounds.OwnGround()

    @classmethod
    def tearDownClass(cls):
        assert cls.ground.close(), 'processes were left'

    def say(self, text):
        print(text, file=sys.stderr, flush=True)

    def test_every_scenario(self):
        for path in sorted(glob.glob(os.path.join(ROOT, 'lab', 'scenarios', '*.scenario'))):
            story = scenario.Scenario(path)
            if not NAMES or story.name in NAMES:
                with self.subTest(story.name):
                    self.assertTrue(scenario.play(story, self.ground, self.say))

    def test_one_that_does_not_hold(self):
        said = []
        with tempfile.NamedTemporaryFile('w', suffix='.scenario') as file:
            file.write('write "x" to LUN 1\ncreate a set S of LUN 1\nLUN 1 holds "y"\n')
            file.flush()
            self.assertFalse(scenario.play(scenario.Scenario(file.name), self.ground, said.append))
        self.assertTrue(any(f'{file.name}:3: LUN 1 holds "y"' in line for line in said), said)
        self.assertTrue(self.ground.nothing_left(), 'the ground is cleaned after a failure, too')


if __name__ == '__main__':
    NAMES = sys.argv[1:]
    unittest.main(argv=sys.argv[:1], verbosity=2)
