#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""umbra-vss.exe as Windows will load it: header flags, imports, sections, version resource, message table.

test_program.py PROGRAM VERSION EVENTS.MC EVENTS.DLL
"""
import glob
import os
import re
import struct
import subprocess
import sys
import unittest

PROGRAM, VERSION, EVENTS, EVENTS_DLL = '', '', '', ''
TOOLS = 'x86_64-w64-mingw32-'
# All are KnownDLLs: Windows maps them from System32 whatever lies beside the program.
SYSTEM_DLLS = {'advapi32.dll', 'kernel32.dll', 'msvcrt.dll', 'ole32.dll', 'oleaut32.dll', 'setupapi.dll'}
RT_MESSAGETABLE, RT_VERSION = 11, 16
ENGLISH, GERMAN = 0x409, 0x407
UNICODE_ENTRY = 1


def read_lines(path):
    with open(path, encoding='utf-8') as source:
        return source.readlines()


def tool(name, *arguments):
    return subprocess.run([TOOLS + name, *arguments, PROGRAM], capture_output=True, text=True, check=True).stdout


def sections(data):
    """(name, virtual address, size, file offset, flags) of each."""
    header = struct.unpack_from('<I', data, 0x3C)[0]
    count, optional = struct.unpack_from('<H', data, header + 6)[0], struct.unpack_from('<H', data, header + 20)[0]
    for i in range(count):
        name, size, address, raw, offset, flags = struct.unpack_from('<8sIIII12xI', data, header + 24 + optional + 40 * i)
        yield name.rstrip(b'\0').decode(), address, max(size, raw), offset, flags


def resources(data):
    """{(type, name, language): bytes}, by the numbers of each."""
    _, address, _, start, _ = next(s for s in sections(data) if s[0] == '.rsrc')
    found = {}

    def walk(offset, path):
        named, numbered = struct.unpack_from('<HH', data, start + offset + 12)
        for i in range(named + numbered):
            name, to = struct.unpack_from('<II', data, start + offset + 16 + 8 * i)
            if to & 0x80000000:
                walk(to & 0x7FFFFFFF, path + (name,))
            else:
                at, size = struct.unpack_from('<II', data, start + to)
                found[path + (name,)] = data[start + at - address:start + at - address + size]
    walk(0, ())
    return found


def messages(table):
    """{id: text} of a message table."""
    found = {}
    for block in range(struct.unpack_from('<I', table)[0]):
        low, high, offset = struct.unpack_from('<III', table, 4 + 12 * block)
        for number in range(low, high + 1):
            size, flags = struct.unpack_from('<HH', table, offset)
            text = table[offset + 4:offset + size]
            found[number] = text.decode('utf-16-le' if flags & UNICODE_ENTRY else 'cp1252').rstrip('\0')
            offset += size
    return found


def inserts(text):
    return sorted(re.findall(r'%(\d+)', text))


class Program(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with open(PROGRAM, 'rb') as source:
            cls.data = source.read()
        cls.header, cls.resources = tool('objdump', '-p'), resources(cls.data)

    def test_memory_flags(self):
        for flag in ('HIGH_ENTROPY_VA', 'DYNAMIC_BASE', 'NX_COMPAT'):
            self.assertRegex(self.header, rf'\n\s+{flag}\n')
        self.assertNotIn('relocations stripped', self.header)
        self.assertRegex(self.header, r'Entry 5 (?!0{16})[0-9a-f]{16} .* Base Relocation Directory')
        self.assertRegex(self.header, r'Subsystem\s+0+3\s')

    def test_no_section_is_writable_and_executable(self):
        for name, _, _, _, flags in sections(self.data):
            self.assertFalse(flags & 0x80000000 and flags & 0x20000000, name)

    def test_nothing_but_known_dlls_of_windows(self):
        """vssapi.dll is not among them: the service works without it."""
        self.assertEqual({n.lower() for n in re.findall(r'DLL Name: (\S+)', self.header)}, SYSTEM_DLLS)
        self.assertRegex(self.header, r'Entry d 0{16} 0{8} Delay Import Directory')
        self.assertRegex(self.header, r'Entry 0 0{16} 0{8} Export Directory')
        for call in ('SetDefaultDllDirectories', 'SetConsoleOutputCP'):
            self.assertIn(call, self.header)
        self.assertNotRegex(self.header, r'\bLoadLibrary(A|W|ExA)\b')

    def test_vssapi_alone_is_loaded_later_and_from_system32(self):
        loads = [line for path in glob.glob(os.path.join(os.path.dirname(EVENTS), '*.c')) for line in read_lines(path)
                 if 'LoadLibrary' in line]
        self.assertEqual(len(loads), 1, loads)
        self.assertIn('LoadLibraryExW(L"vssapi.dll", NULL, LOAD_LIBRARY_SEARCH_SYSTEM32)', loads[0])

    def test_stack_protector_is_in_the_code(self):
        code = tool('objdump', '-d', '--no-show-raw-insn')
        callers, function = set(), ''
        for line in code.splitlines():
            head = re.match(r'[0-9a-f]+ <(.+)>:', line)
            if head:
                function = head.group(1)
            elif '<__stack_chk_fail>' in line and 'call' in line:
                callers.add(function)
        # Ours and the codec's: functions with buffers on the stack that foreign bytes get into.
        self.assertLessEqual({'write_trace', 'up_id_parse', 'read_disk'} & set(re.findall(r'<(\w+)>:', code)), callers)
        self.assertGreater(len(callers), 40)

    def test_version_resource(self):
        blocks = {k: v for k, v in self.resources.items() if k[0] == RT_VERSION}
        self.assertEqual(len(blocks), 1)
        block = next(iter(blocks.values()))
        numbers = [int(n) for n in VERSION.split('.')] + [0]
        fixed = block.index(struct.pack('<I', 0xFEEF04BD))
        _, _, file_high, file_low, high, low = struct.unpack_from('<6I', block, fixed)
        self.assertEqual([file_high >> 16, file_high & 0xFFFF, file_low >> 16, file_low & 0xFFFF], numbers)
        self.assertEqual([high >> 16, high & 0xFFFF, low >> 16, low & 0xFFFF], numbers)
        text = block.decode('utf-16-le', 'replace')
        for language in ('040904B0', '040704B0'):
            self.assertIn(language, text)
        for name, value in (('FileVersion', VERSION), ('ProductVersion', VERSION), ('OriginalFilename', 'umbra-vss.exe'),
                            ('CompanyName', 'The Umbra project'), ('FileDescription', 'Umbra VSS Hardware Provider')):
            self.assertRegex(text, rf'{name}\0+{re.escape(value)}\0')
        translation = struct.pack('<4H', ENGLISH, 0x4B0, GERMAN, 0x4B0)
        self.assertIn(translation, block)

    def test_messages_in_both_languages(self):
        tables = {language: messages(table) for (kind, _, language), table in self.resources.items()
                  if kind == RT_MESSAGETABLE}
        self.assertEqual({language & 0x3FF for language in tables}, {ENGLISH & 0x3FF, GERMAN & 0x3FF})
        english = next(t for language, t in tables.items() if language & 0x3FF == ENGLISH & 0x3FF)
        german = next(t for language, t in tables.items() if language & 0x3FF == GERMAN & 0x3FF)
        self.assertEqual(set(english), set(german))
        with open(EVENTS, encoding='utf-8') as source:
            declared = re.findall(r'^MessageId=(\d+)', source.read(), re.M)
        self.assertEqual(sorted(int(n) for n in declared), sorted(n & 0xFFFF for n in english))
        self.assertEqual(len(declared), len(set(declared)))
        for number in english:
            with self.subTest(message=number & 0xFFFF):
                self.assertEqual(inserts(english[number]), inserts(german[number]))
                self.assertLessEqual(set(inserts(english[number])), {'1', '2', '3', '4'})
                self.assertNotEqual(english[number], german[number])
                self.assertEqual(german[number].count('%n'), english[number].count('%n'))
                for text in (english[number], german[number]):
                    self.assertGreater(len(text.strip()), 40)
                    self.assertNotRegex(text, '[\ufffd\u00c3]')  # the encoding survived

    def test_the_texts_lie_in_a_file_of_their_own(self):
        with open(EVENTS_DLL, 'rb') as source:
            found = resources(source.read())
        texts = {k: v for k, v in self.resources.items() if k[0] == RT_MESSAGETABLE}
        self.assertEqual({k: v for k, v in found.items() if k[0] == RT_MESSAGETABLE}, texts)
        header = subprocess.run([TOOLS + 'objdump', '-p', EVENTS_DLL], capture_output=True, text=True, check=True).stdout
        self.assertNotIn('DLL Name', header)  # nothing runs when it is loaded
        self.assertRegex(header, r'AddressOfEntryPoint\s+0+\s')


if __name__ == '__main__':
    PROGRAM, VERSION, EVENTS, EVENTS_DLL = sys.argv[1:5]
    unittest.main(argv=sys.argv[:1], verbosity=1)
