#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""umbra-vss.msi by its tables: what Wine's msiexec does not carry out (rollback of an upgrade), and what it would not show.

test_package.py PACKAGE VERSION
"""
import subprocess
import sys
import unittest

PACKAGE, VERSION = '', ''
EXE_OF_FILE, DEFERRED, ROLLBACK, NO_IMPERSONATE = 18, 1024, 256, 2048


def table(name):
    """The rows as dictionaries."""
    text = subprocess.run(['msiinfo', 'export', PACKAGE, name], capture_output=True, text=True, check=True).stdout
    lines = [line.split('\t') for line in text.replace('\r', '').split('\n') if line]
    return [dict(zip(lines[0], row)) for row in lines[3:]]


class Tables(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sequence = {row['Action']: (int(row['Sequence']), row['Condition']) for row in table('InstallExecuteSequence')}
        cls.actions = {row['Action']: row for row in table('CustomAction')}

    def order(self, *names):
        numbers = [self.sequence[name][0] for name in names]
        self.assertEqual(numbers, sorted(set(numbers)), names)

    def test_everything_happens_in_one_transaction(self):
        self.order('FindRelatedProducts', 'LaunchConditions', 'InstallInitialize', 'RemoveExistingProducts',
                   'ProcessComponents', 'UndoUnregister', 'Unregister', 'UnregisterForUpgrade', 'UnregisterByForce', 'StopServices', 'RemoveFiles', 'InstallFiles',
                   'UndoRegister', 'UndoUpgrade', 'Register', 'InstallFinalize')

    def test_each_action_and_what_undoes_it(self):
        keep = 'uninstall --keep-service'
        for action, undo, words in (('Register', 'UndoRegister', ('install', 'uninstall')),
                                    ('Register', 'UndoUpgrade', ('install', keep)),
                                    ('Unregister', 'UndoUnregister', ('uninstall', 'install')),
                                    ('UnregisterForUpgrade', 'UndoUnregister', (keep, 'install')),
                                    ('UnregisterByForce', 'UndoUnregister', ('uninstall --force', 'install'))):
            types = [int(self.actions[name]['Type']) for name in (action, undo)]
            self.assertEqual(types[0], EXE_OF_FILE | DEFERRED | NO_IMPERSONATE)  # LocalSystem, and its result counts
            self.assertEqual(types[1], types[0] | ROLLBACK)
            self.assertEqual(tuple(self.actions[name]['Target'] for name in (action, undo)), words)
            self.assertTrue(all(self.actions[name]['Source'] == 'umbra_vss.exe' for name in (action, undo)))
        self.assertEqual(len(self.actions), 7)

    def test_conditions(self):
        removed = 'REMOVE="ALL" AND '  # by hand; by hand and by force; by an upgrade, which keeps the service
        self.assertEqual(self.sequence['Unregister'][1], removed + 'NOT UPGRADINGPRODUCTCODE AND NOT FORCE')
        self.assertEqual(self.sequence['UnregisterByForce'][1], removed + 'NOT UPGRADINGPRODUCTCODE AND FORCE')
        self.assertEqual(self.sequence['UnregisterForUpgrade'][1], removed + 'UPGRADINGPRODUCTCODE')
        self.assertEqual(self.sequence['UndoUnregister'][1], 'REMOVE="ALL"')
        self.assertEqual(self.sequence['Register'][1], 'NOT REMOVE="ALL"')  # also in a repair
        new = 'NOT Installed AND '  # a failed repair takes nothing away
        self.assertEqual(self.sequence['UndoRegister'][1], new + 'NOT WIX_UPGRADE_DETECTED')
        self.assertEqual(self.sequence['UndoUpgrade'][1], new + 'WIX_UPGRADE_DETECTED')
        refusals = {row['Condition'] for row in table('LaunchCondition')}
        self.assertEqual(refusals, {'NOT WIX_DOWNGRADE_DETECTED', 'Installed OR MsiNTProductType > 1'})

    def test_product(self):
        product = {row['Property']: row['Value'] for row in table('Property')}
        self.assertEqual((product['ProductVersion'], product['ALLUSERS']), (VERSION, '1'))
        self.assertIn('FORCE', product['SecureCustomProperties'].split(';'))
        self.assertEqual(product['UpgradeCode'], '{EF74A0C5-7063-4B4B-96B4-FCB1ED79EAB9}')  # never changes
        upgrade = {row['ActionProperty']: row for row in table('Upgrade')}
        self.assertEqual({row['UpgradeCode'] for row in upgrade.values()}, {product['UpgradeCode']})
        self.assertEqual(upgrade['WIX_UPGRADE_DETECTED']['Attributes'], '513')  # older ones, and this version
        files = {row['FileName'].split('|')[-1]: row['Version'] for row in table('File')}
        self.assertEqual(files.pop('first-run.ps1'), '')
        self.assertEqual(files, {name: VERSION + '.0' for name in ('umbra-vss.exe', 'umbra-vss-events.dll')})
        control, = table('ServiceControl')
        self.assertEqual((control['Name'], control['Wait']), ('umbra-vss', '1'))
        self.assertEqual(int(control['Event']), 0x22)  # stops it at install and uninstall, starts it never: COM does
        for name in ('Registry', 'ServiceInstall'):  # the program does that, so that it can be undone and repeated
            self.assertEqual(table(name), [])


if __name__ == '__main__':
    PACKAGE, VERSION = sys.argv[1:3]
    unittest.main(argv=sys.argv[:1], verbosity=1)
