#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The scenarios of lab/scenarios hold, and files that cannot be understood are refused before anything runs.

    lab_stories.py          all of it
    lab_stories.py NAME…    the scenarios named
    lab_stories.py GROUP    one of the parts that run side by side: many, faults, life (the scenarios that are in no other),
                            scripts (all that is no scenario of lab/scenarios)
"""
import glob
import os
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, 'lab'))
import ground as grounds  # noqa: E402
import labhost  # noqa: E402
import scenario  # noqa: E402

# One scenario with many LUNs, after which every look at the disks takes long; what breaks, and mostly waits for leases.
GROUPS = {'many': ['sixteen-and-sixty-four'],
          'faults': ['array-away', 'callers', 'deaths', 'foreign', 'full', 'giving-up', 'import-fails']}


def path_of(name):
    return os.path.join(ROOT, 'lab', 'scenarios', name + '.scenario')


def scenario_names():
    return sorted(os.path.splitext(os.path.basename(path))[0] for path in glob.glob(path_of('*')))


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


class Scripts:
    """diskshadow's scripts through lab/lab, as a user runs them. Mixed into Playing, which has the ground."""

    def script(self, text, host='A', want=0, options=(), cwd=None):
        path = os.path.join(self.ground.directory, 'script.dsh')
        with open(path, 'wb') as out:
            out.write(text if isinstance(text, bytes) else text.encode())
        with open(path + '.out', 'w+') as out, open(path + '.err', 'w+') as err:
            code = subprocess.run([sys.executable, os.path.join(ROOT, 'lab', 'lab'), '--state', self.ground.state.path,
                                   'diskshadow', '--host', host, '/s', path, *options],
                                  stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=cwd).returncode
            out.seek(0)
            err.seek(0)
            said, trouble = out.read(), err.read()
        self.assertEqual(code, want, said + trouble)
        return said if code == 0 else trouble

    def test_diskshadow(self):
        ground = self.ground
        ground.need([8, 8])
        one, two = ground.number(1), ground.number(2)
        document = os.path.join(ground.directory, 'diskshadow.json')
        ran = os.path.join(ground.directory, 'ran')
        with open(ran + '.cmd', 'w') as out:
            out.write(f'echo done> "{labhost.windows_path(ran)}"\r\n')
        said = labhost.json_in(self.script(f"""# two volumes for another host
set context persistent nowriters
SET OPTION differential transportable
set metadata "{document}"
begin backup
add volume {one} alias first
add volume {two} alias second
create
end backup
exec {ran}.cmd
list shadows all
""", options=['--json']))
        self.assertEqual([row['command'] for row in said], ['create', 'list shadows'])
        # VSS_VOLSNAP_ATTR_: differential, transportable, no writers, no auto release, persistent
        self.assertEqual(int(said[0]['result']['context'], 16), 0x20000 | 0x20 | 0x10 | 0x8 | 0x1)
        self.assertTrue(os.path.exists(ran), 'exec')
        # On the other host, with the aliases that came with the document.
        self.script(f"""load metadata {document}
import
list shadows set %VSS_SHADOW_SET%
expose %first% X:
expose %second% X:
exit
""", host='B', want=1)
        said = self.script('delete shadows exposed X:\nlist shadows all\n', host='B')
        self.assertEqual(len(re.findall('shadow copy of volume', said)), 1, said)
        self.script(f'load metadata {document}\nunexpose %second%\n', host='B', want=1)
        self.script(f'load metadata {document}\nmask %VSS_SHADOW_SET%\n', host='B')
        self.script(f'add volume {one} alias a\ncreate\nbreak readwrite norevertid %VSS_SHADOW_SET%\n')
        self.script(f'add volume {one}\ncreate\nadd volume {one}\ncreate\ndelete shadows oldest {one}\n'
                    f'delete shadows volume {one}\ndelete shadows all\n')
        ground.clean_up()

    def test_diskshadow_as_administrators_write_it(self):
        """Byte order marks, UTF-16, an alias of an alias, names with - and ., a log, words alone, no SET METADATA."""
        ground = self.ground
        ground.need([8])
        one = ground.number(1)
        plain = f'set context persistent\r\nadd volume {one} alias 2026-08.01_a\r\nset\r\nadd\r\nhelp\r\nsimulate restore\r\n' \
                'create\r\nadd alias Again %2026-08.01_a%\r\nlist shadows id %Again%\r\ndelete shadows id %VSS_SHADOW_1%\r\n'
        for form in (plain.encode(), b'\xef\xbb\xbf' + plain.encode(), b'\xff\xfe' + plain.encode('utf-16-le')):
            log = os.path.join(ground.directory, 'said.log')
            said = self.script(form, options=['/l', log])
            self.assertIn('alias 2026-08.01_a = (the shadow copy to come)', said)
            self.assertIn('context and options 0x', said)
            self.assertIn('simulate restore', said)
            with open(log) as kept:
                self.assertEqual(kept.read(), said)
        before = set(os.listdir(ground.directory))
        self.script(f'set option transportable\nadd volume {one}\ncreate\n', cwd=ground.directory)
        made = [name for name in set(os.listdir(ground.directory)) - before if name.endswith('.cab')]
        self.assertEqual(len(made), 1, made)
        self.script(f'load metadata {os.path.join(ground.directory, made[0])}\nimport\ndelete shadows all\n', host='B')
        log = os.path.join(ground.directory, 'failed.log')
        trouble = self.script('create\n', want=1, options=['/l', log])
        with open(log) as kept:
            self.assertIn(kept.read(), trouble)
        ground.clean_up()

    def test_vshadow_after_a_set(self):
        """-script, -exec, -wait, -wi, -wx, -tracing."""
        ground = self.ground
        ground.need([8])
        one, variables, ran = ground.number(1), *(os.path.join(ground.directory, name) for name in ('ids.cmd', 'told'))
        with open(ran + '.cmd', 'w') as out:
            out.write(f'call "{labhost.windows_path(variables)}"\r\necho %SHADOW_SET_ID% %SHADOW_ID_1%> "{labhost.windows_path(ran)}"\r\n')
        code, answer = ground.vss('A', '-p', '-wi=A writer', '-wx=Another', '-tracing', '-wait', f'-script={variables}',
                                  f'-exec={ran}.cmd', one)
        self.assertEqual(code, 0, answer['message'])
        with open(ran) as told:
            self.assertEqual(told.read().split(), [answer['set'], answer['snapshots'][0]['snapshot']])
        with open(ran + '.cmd', 'w') as out:
            out.write('exit 3\r\n')
        self.assertEqual(ground.vss('A', '-p', '-nw', f'-exec={ran}.cmd', one)[0], 1, 'the program failed')
        self.assertEqual(ground.run('A', 'umbra-lab-requester.exe', '-p', '-nw', '-wx=A writer', str(one)).returncode, 2)
        ground.clean_up()

    def test_a_set_whose_luns_are_gone_is_forgotten_with_all(self):
        ground = self.ground
        ground.need([8])
        code, answer = ground.vss('A', 'create', '--lun', ground.number(1))
        self.assertEqual(code, 0, answer['message'])
        shadow = answer['luns'][-1]['serial']
        ground.array.ctl('unmap', shadow, 'A')
        ground.array.ctl('shadow', 'delete', shadow)
        ground.world.rescan('A')
        code, again = ground.vss('A', 'delete', answer['set'])
        self.assertEqual((code, again['hresult_name']), (1, 'VSS_E_MISSING_DISK'))
        self.assertIn(answer['set'], ground.run('A', 'umbra-lab-requester.exe', 'list').stdout)
        self.assertEqual(ground.run('A', 'umbra-lab-requester.exe', 'delete-all').returncode, 0)
        self.assertNotIn(answer['set'], ground.run('A', 'umbra-lab-requester.exe', 'list').stdout)
        ground.clean_up()

    def test_diskshadow_errors(self):
        for text, line, code in (('list shadows all\njump\n', 2, 2), ('create\n', 1, 1), ('\n\nimport\n', 3, 1),
                                 ('set option plex\nset option differential\n', 2, 1), ('add volume x\n', 1, 1),
                                 ('load metadata /no/such\n', 1, 1), ('break sideways {1}\n', 1, 1),
                                 ('delete shadows id %nobody%\n', 1, 1), ('resync\n', 1, 1), ('exec /no/such\n', 1, 1),
                                 ('revert {1}\n', 1, 1), ('add alias a/b 1\n', 1, 1)):
            self.assertIn(f'line {line}: ', self.script(text, want=code), text)
        self.assertIn('cannot be read', self.script('list shadows all\n\0\n', want=1))


class OnOwnGround(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.ground = grounds.OwnGround()

    @classmethod
    def tearDownClass(cls):
        assert cls.ground.close(), 'processes were left'

    def say(self, text):
        print(text, file=sys.stderr, flush=True)

class Stories(OnOwnGround):
    names = None  # all

    def test_every_scenario(self):
        there = scenario_names()
        self.assertEqual([name for name in self.names or [] if name not in there], [], 'no such scenario')
        for name in self.names or there:
            with self.subTest(name):
                self.assertTrue(scenario.play(scenario.Scenario(path_of(name)), self.ground, self.say))


class Playing(Scripts, OnOwnGround):
    def test_on_hosts_that_are_up(self):
        """As with --clsid: another ground on the same hosts, I/O through their own disks."""
        self.ground.need([8, 8])
        numbers = [self.ground.number(1), self.ground.number(2)]
        clsid = re.search(r'class (\{[-0-9A-F]+\})', self.ground.run('A', 'umbra-lab-requester.exe', 'providers').stdout)[1]
        theirs = grounds.UsersGround(self.ground.state, clsid, numbers)
        self.addCleanup(theirs.close)
        for name in ('one-volume', 'transportable', 'order'):
            story = scenario.Scenario(path_of(name))
            self.assertTrue(scenario.play(story, theirs, self.say), name)
        with self.assertRaises(labhost.LabError):
            grounds.UsersGround(self.ground.state, clsid, [99])
        with self.assertRaises(labhost.LabError):
            grounds.UsersGround(self.ground.state, '{00000000-0000-0000-0000-000000000001}', numbers)

    def test_one_that_does_not_hold(self):
        said = []
        with tempfile.NamedTemporaryFile('w', suffix='.scenario') as file:
            file.write('write "x" to LUN 1\ncreate a set S of LUN 1\nLUN 1 holds "y"\n')
            file.flush()
            self.assertFalse(scenario.play(scenario.Scenario(file.name), self.ground, said.append))
        self.assertTrue(any(f'{file.name}:3: LUN 1 holds "y"' in line for line in said), said)
        self.assertTrue(self.ground.nothing_left(), 'the ground is cleaned after a failure, too')


def everything(words):
    """What the words name, as a suite."""
    load = unittest.defaultTestLoader.loadTestsFromTestCase
    named = words
    if words == ['life']:
        grouped = [name for names in GROUPS.values() for name in names]
        named = [name for name in scenario_names() if name not in grouped]
    elif len(words) == 1:
        named = GROUPS.get(words[0], words)
    Stories.names = named or None
    cases = [Reading, Playing] if words == ['scripts'] else [Stories] if words else [Reading, Playing, Stories]
    return unittest.TestSuite(load(case) for case in cases)


if __name__ == '__main__':
    sys.exit(not unittest.TextTestRunner(verbosity=2).run(everything(sys.argv[1:])).wasSuccessful())
