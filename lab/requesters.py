# SPDX-License-Identifier: Apache-2.0
"""Backup programs' orders of calls, for umbra-lab-replay.exe: what each of them asks of VSS to back volumes up.

From their sources as of 2026, but NetBackup's and vshadow's, which are from documents. docs/requesters.md has what follows
from them.
"""
FULL, COPY = 1, 5  # VSS_BACKUP_TYPE
CTX_ALL = '0xffffffff'
APP_ROLLBACK = '0x9'   # persistent, with writers
NAS_ROLLBACK = '0x19'  # persistent, without


def adds(volumes, provider=''):
    return [f'AddToSnapshotSet {volume} {provider}'.strip() for volume in volumes]


def restic(volumes, provider=''):
    """restic 0.14: one set a volume; every operation waits for 120 s at most."""
    volume = volumes[0]
    return ['apartment mta', 'create', 'release', 'create', 'QueryInterface 0', 'InitializeForBackup', 'SetContext 0',
            f'SetBackupState 0 0 {COPY}', 'GatherWriterMetadata 120000', f'IsVolumeSupported {volume} {provider}'.strip(),
            'StartSnapshotSet', *adds(volumes[:1], provider), 'PrepareForBackup 120000', 'DoSnapshotSet 120000',
            'GetSnapshotProperties 0'], ['BackupComplete 120000', 'DeleteSnapshots 0', 'release']


def bareos(volumes, provider=''):
    """Bareos 24: SetContext only where it is not VSS_CTX_BACKUP; unique volume names; waits for ten minutes."""
    del provider  # it cannot name one
    return ['apartment mta', 'create', 'InitializeForBackup', f'SetBackupState 1 1 {FULL}', 'GatherWriterMetadata 600000',
            'GetWriterMetadataCount', 'StartSnapshotSet', *adds(volumes), 'PrepareForBackup 600000',
            'GatherWriterStatus 600000', 'GetWriterStatusCount', 'DoSnapshotSet 600000', 'FreeWriterStatus',
            'GatherWriterStatus 600000', 'GetWriterStatusCount', 'Query'], \
        ['BackupComplete 600000', 'FreeWriterStatus', 'GatherWriterStatus 600000', 'SaveAsXML', 'DeleteSnapshots set',
         'FreeWriterStatus', 'release']


def urbackup(volumes, provider=''):
    """UrBackup 2.5: a persistent context, set after the writers were asked; several volumes in a set."""
    del provider
    return ['apartment mta', 'create', 'InitializeForBackup', f'SetBackupState 0 1 {FULL}', 'GatherWriterMetadata',
            f'SetContext {APP_ROLLBACK}', 'GatherWriterStatus', 'GetWriterStatusCount', 'FreeWriterStatus',
            'StartSnapshotSet', *adds(volumes), 'PrepareForBackup', 'GatherWriterStatus', 'GetWriterStatusCount',
            'FreeWriterStatus', 'DoSnapshotSet', 'GatherWriterStatus', 'GetWriterStatusCount', 'FreeWriterStatus',
            *(f'GetSnapshotProperties {n}' for n in range(len(volumes)))], \
        ['BackupComplete', *(f'DeleteSnapshots {n}' for n in range(len(volumes))), 'release']


def duplicati(volumes, provider=''):
    """Duplicati 2.1 through AlphaVSS: the metadata are freed before the set begins, and once more at the end."""
    del provider
    supported = [step for volume in volumes for step in (f'IsVolumeSupported {volume}', f'AddToSnapshotSet {volume}')]
    return ['apartment mta', 'create', 'InitializeForBackup', 'SetContext 0', f'SetBackupState 0 1 {FULL}',
            'GatherWriterMetadata', 'FreeWriterMetadata', 'StartSnapshotSet', *supported, 'PrepareForBackup', 'DoSnapshotSet',
            *(f'GetSnapshotProperties {n}' for n in range(len(volumes)))], \
        ['FreeWriterMetadata', 'BackupComplete', *(f'DeleteSnapshots {n}' for n in range(len(volumes))), 'release']


def netbackup(volumes, provider=''):
    """NetBackup's VSS method with "Provider Type: hardware": persistent, differential; components are chosen."""
    return ['apartment mta', 'create', 'InitializeForBackup', 'SetContext 0x20009', f'SetBackupState 1 0 {FULL}',
            'GatherWriterMetadata', 'GetWriterMetadataCount', *(f'IsVolumeSupported {v} {provider}'.strip() for v in volumes),
            'StartSnapshotSet', *adds(volumes, provider), 'PrepareForBackup', 'GatherWriterStatus', 'DoSnapshotSet',
            'GatherWriterStatus', *(f'GetSnapshotProperties {n}' for n in range(len(volumes))), 'SaveAsXML'], \
        ['BackupComplete', 'GatherWriterStatus', 'FreeWriterStatus', 'DeleteSnapshots set', 'release']


def vshadow(volumes, provider=''):
    """vshadow -p -nw: single-threaded apartment, no writers, persistent."""
    del provider
    return ['apartment sta', 'create', 'InitializeForBackup', f'SetContext {NAS_ROLLBACK}', f'SetBackupState 1 1 {FULL}',
            'StartSnapshotSet', *adds(volumes), 'DoSnapshotSet', 'Query'], ['DeleteSnapshots set', 'release']


REQUESTERS = {'restic': restic, 'bareos': bareos, 'urbackup': urbackup, 'duplicati': duplicati, 'netbackup': netbackup,
              'vshadow': vshadow}
ONE_VOLUME = ('restic',)
