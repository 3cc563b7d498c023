#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A remedy that names a command is one that can be typed: every command of umbractl, umbrad and umbra-vss that a message, a page
of docs/, the README, the page in Cockpit, an alert or the package names is there, with the options that stand behind it."""
import glob
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cockpit_sources import commands  # noqa: E402
from umbra_lab import ROOT, umbrad_path  # noqa: E402

PAGES = ('README.md', 'docs/*.md', 'docs/*.[158]', 'lab/README.md', 'cockpit/**/*.js', 'packaging/**/*', 'provider/events.mc', 'ctl/*.c',
         'array/**/*.c', 'provider/*.c', 'CHANGELOG.md')
EVERYWHERE = {'socket', 'json', 'help', 'version', 'manual'}
# What follows a program's name up to the end of the code, the string or the sentence.
NAMED = re.compile(r'(?<![\w/.-])(umbractl|umbrad|umbra-vss)(?:\.exe"?)? ((?:--)?[a-z][^`\n|;&<>()"\'’]*)')


def page_text(path):
    with open(path, encoding='utf-8', errors='replace') as file:
        text = file.read()
    if path.endswith('.c'):  # a literal of several lines is one
        text = re.sub(r'"\s*\n\s*"', '', re.sub(r'/\*.*?\*/', '', text, flags=re.S)).replace('\\n', '\n')
    return re.sub(r'\\f[BIR]', '', text).replace('\\-', '-')


def provider():
    """Its commands, and all options together: it only runs on Windows, so its sources tell."""
    with open(os.path.join(ROOT, 'provider/main.c'), encoding='utf-8') as file:
        verbs = re.findall(r'\{L"([a-z]+)", \w+\}', file.read())
    options = set()
    for path in glob.glob(os.path.join(ROOT, 'provider/*.c')):
        options |= set(re.findall(r'L"--([a-z-]+)"', page_text(path)))
    assert len(verbs) > 12 and len(options) > 12, (verbs, options)
    return {verb: options for verb in verbs}


def array():
    usage = subprocess.run([umbrad_path(), '--help'], capture_output=True, text=True, check=True).stdout
    return {'': re.findall(r'--([a-z-]+)', usage)}


def wrong_in(words, has, code):
    """What is not there, of the words behind a program's name; None: all of it is, or it is no command but a sentence."""
    first, second = (re.findall(r'[a-z-]+', words) + [''])[:2] if not words.startswith('--') else ('', '')
    command = f'{first} {second}' if f'{first} {second}' in has else first
    if command not in has:
        if any(known.startswith(command + ' ') for known in has):
            return f'{first} {second}' if second and re.match(r'[a-z-]+ [a-z]', words) else None
        return command if code else None
    known = EVERYWHERE | set(has[command])
    return next((f'{command} --{option}' for option in re.findall(r'(?<![\w-])--([a-z][a-z-]*)', words) if option not in known), None)


def main():
    bad, seen = [], 0
    have = {'umbractl': commands(), 'umbrad': array(), 'umbra-vss': provider()}
    for pattern in PAGES:
        for path in sorted(glob.glob(os.path.join(ROOT, pattern), recursive=True)):
            if not os.path.isfile(path):
                continue
            text = page_text(path)
            for match in NAMED.finditer(text):
                program, words = match.groups()
                before = text[max(0, match.start() - 2):match.start()]
                code = program != 'umbrad' and (before.endswith('`') or before.endswith('"') and (before[0] == '\\' or not path.endswith('.c')))
                wrong = wrong_in(words, have[program], code)
                seen += 1
                if wrong:
                    bad.append(f'{os.path.relpath(path, ROOT)}: {program} has no {wrong}: {match.group()[:100]}')
    print('\n'.join(bad))
    print(seen, 'commands are named')
    assert seen > 300, seen
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
