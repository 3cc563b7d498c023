// SPDX-License-Identifier: Apache-2.0
// What to do about an event, where its own text does not say: docs/operations.md in short. A test compares this with the
// warnings and errors of umbrad's sources.
const REMEDIES = [
    [/took no copies/, 'Mend what it names; the next turn comes in its time. “Take copies” makes one by hand.'],
    [/could not delete a copy set/, 'It tries again by itself. Where it goes on: is a copy mapped to a host, or locked?'],
    [/resync .* (has )?failed/, 'The LUN holds what it held before. Mend what the event names, and start the resync again.'],
    [/went read-only|read-only/, 'Look at the pool’s disk, then restart umbrad. Nothing that was acknowledged as durable is lost.'],
    [/cannot write its (log|metadata)/, 'Make room on the pool’s file system, or memory: it goes on by itself.'],
    [/pool is full|no room|no space|is out of space/, 'Delete copies, purge the recycle bin, or enlarge the pool (Maintenance, Make the pool larger).'],
    [/mirror/, 'Mend the mirror’s place, and restart umbrad: it makes the mirror anew.'],
    [/cannot be made independent/, 'It is tried again every minute. Make room in the pool, or delete the plex copy.'],
    [/was not mapped/, 'Follow the reason it gives; Windows sees LUN numbers 1 to 254 only.'],
    [/was refused/, 'Follow the reason it gives: another limit, more room in the pool, or a later time.'],
    [/held its host/, 'Flush: copy fewer volumes at a time. CommitSnapshots: look at the pool’s disk and the paths. Release: the host is busy.'],
    [/aborted copy set could not be removed/, 'It is tried again. Look at the pool’s disk if it stays.'],
    [/commit of copy set .* failed|commit was not durable/, 'Nothing was kept; the backup fails and can be repeated. Look at the pool’s disk: a flush must end in time.'],
    [/own the copy sets of an earlier version/, 'Look at the pool’s room and disk, then restart umbrad: it tries again.'],
    [/copy set .* aborted/, 'The backup on the host did not go on to its end: look at its log, and at the Application log (Umbra VSS Provider).'],
    [/configuration was read again and is wrong/, 'Mend what it names in umbrad.conf (umbrad --check-config), and reload again.'],
    [/change only when umbrad is restarted/, 'Restart umbrad when hosts can do without their disks for a moment.'],
    [/out of memory/, 'The machine has too little memory: lower [iscsi] buffer_memory or [pool] map_memory, or add some.'],
    [/cannot accept connections/, 'Too few file descriptors, or memory: raise LimitNOFILE in the service, restart umbrad.'],
    [/connection from .* refused/, 'If these are your hosts: raise connections_max or connections_per_source in [iscsi]. Else see who asks.'],
    [/may not log in/, 'Compare the initiator’s name and CHAP secret with the host’s record here; limits are in [iscsi].'],
    [/asked to log out/, 'Nothing to do: it logs in again with the record as it is now.'],
    [/broke the protocol/, 'Is it an iSCSI initiator? If it is one that used to work, keep a trace (tcpdump) and report it.'],
    [/hung up in the middle of its login/, 'Compare the secrets at both ends: the array’s own one (mutual CHAP), too.'],
    [/connection of .* closed/, 'The host connects again by itself. If it returns often: cables, switches, the host’s load.'],
    [/the scrub of the pool/, 'Look at the disk of each damaged block that the events name; write these blocks again from a backup.'],
    [/there is no policy|policy/, 'Look at the policy’s preview.'],
];

/** The remedy for an event; '': nothing to do, or its text says it. */
export function remedyOf(event) {
    if (event.remedy)
        return event.remedy;
    if (event.level === 'info')
        return '';
    const found = REMEDIES.find(([pattern]) => pattern.test(event.text));
    return found ? found[1] : '';
}
