#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""packaging_sign.py BUILD: the provider's package signed with a certificate made here, and what is in it; and how
signing fails. BUILD is build/windows."""
import os
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = ''
PASSWORD = 'only for this test'
SIGNED = ('umbra-vss.exe', 'umbra-vss-events.dll')


def run(*words, want=0, **more):
    done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, **more)
    if want is not None and done.returncode != want:
        raise AssertionError(f'{words}: exit code {done.returncode}\n{done.stdout}{done.stderr}')
    return done


class Sign(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix='umbra-sign-')
        self.addCleanup(folder.cleanup)
        self.dir = folder.name
        key, self.certificate, self.pkcs12 = (os.path.join(self.dir, n) for n in ('key.pem', 'cert.pem', 'sign.p12'))
        run('openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=Umbra test',
            '-addext', 'extendedKeyUsage=codeSigning', '-keyout', key, '-out', self.certificate)
        run('openssl', 'pkcs12', '-export', '-inkey', key, '-in', self.certificate, '-passout', 'pass:' + PASSWORD,
            '-out', self.pkcs12)

    def make(self, *words, password=PASSWORD, want=0):
        out = os.path.join(self.dir, 'out')
        environment = dict(os.environ, UMBRA_SIGN_PASSWORD=password)
        environment.pop('UMBRA_SIGN_TIMESTAMP', None)
        done = run(os.path.join(ROOT, 'packaging/msi/make-msi'), BUILD, out, *words, want=want, env=environment)
        return os.path.join(out, 'umbra-vss.msi'), done.stdout + done.stderr

    def is_signed(self, path):
        done = run('osslsigncode', 'verify', '-CAfile', self.certificate, '-in', path, want=None)
        return done.returncode == 0

    def files_in(self, package):
        place = os.path.join(self.dir, 'in')
        run('msiextract', '-C', place, package)
        found = {name: os.path.join(where, name) for where, _, names in os.walk(place) for name in names}
        self.assertEqual(set(found), {*SIGNED, 'first-run.ps1'})
        return found

    def test_the_package_and_what_is_in_it_are_signed(self):
        package, said = self.make(self.pkcs12)
        self.assertIn(': signed', said)
        self.assertTrue(self.is_signed(package))
        found = self.files_in(package)
        for name in SIGNED:
            with self.subTest(file=name):
                self.assertTrue(self.is_signed(found[name]))
                self.assertFalse(self.is_signed(os.path.join(BUILD, 'provider', name)))  # the build stays as it is
        with open(package, 'r+b') as file:  # the verdict is about this very file
            file.seek(-4096, os.SEEK_END)
            file.write(b'changed')
        self.assertFalse(self.is_signed(package))

    def test_without_a_certificate_it_is_not_signed(self):
        package, said = self.make()
        self.assertIn('not signed', said)
        self.assertFalse(self.is_signed(package))
        self.files_in(package)

    def test_what_cannot_be_signed_is_not_made(self):
        package, said = self.make(self.pkcs12, password='wrong', want=1)
        self.assertIn('UMBRA_SIGN_PASSWORD', said)
        self.assertFalse(os.path.exists(package))
        _, said = self.make(os.path.join(self.dir, 'none.p12'), want=1)
        self.assertIn('no certificate', said)
        self.assertFalse(os.path.exists(package))


if __name__ == '__main__':
    BUILD = os.path.abspath(sys.argv[1])
    unittest.main(argv=sys.argv[:1], verbosity=1)
