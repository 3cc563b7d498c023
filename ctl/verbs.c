/* SPDX-License-Identifier: Apache-2.0 */
/* Every command. See ctl.h. */
#include "array/store/module.h"
#include "array/util/places.h"
#include "ctl/ctl.h"

static const struct option_row pool_create_options[] = {
	{"data-device", "DEVICE",
		"put the data on this block device (or file) instead of files beside the metadata; PATH then needs room for the log and for metadata, up to 3 % of the data when small writes over copies fill it"},
	{"capacity", "SIZE", "use at most this much for data (default: what the file system has)"},
	{"log", "SIZE", "size of the intent log (default: 64M)"},
	{"checksums", "on|off", "keep a checksum of each 4 KiB block of the data (default: off)"},
	{NULL, NULL, NULL},
};
static const struct option_row pool_upgrade_options[] = {
	{"data-device", "DEVICE", "the pool's data device, if it has one"},
	{NULL, NULL, NULL},
};
static const struct option_row pool_reidentify_options[] = {
	{"dry-run", NULL, "only show what would get another id"},
	{"yes", NULL, "do not ask for the pool's directory to be typed"},
	{"data-device", "DEVICE", "the pool's data device, if it has one"},
	{NULL, NULL, NULL},
};
static const struct option_row pool_check_options[] = {
	{"repair", NULL, "mend what can be mended"},
	{"data", NULL, "also read all data and compare it with its checksums, where the pool keeps them"},
	{"data-device", "DEVICE", "the pool's data device, if it has one"},
	{NULL, NULL, NULL},
};
static const struct option_row pool_scrub_options[] = {
	{"rate", "SIZE", "with start: read at most this much a second (default: 64M; 0: as fast as it goes)"},
	{NULL, NULL, NULL},
};
static const struct option_row pool_dump_options[] = {
	{"map", NULL, "every entry of the map, not only how many each branch has"},
	{NULL, NULL, NULL},
};
static const struct option_row move_options[] = {
	{"force", NULL,
		"do not wait for copy sets that are being made, which are undone, nor for I/O that hangs"},
	{NULL, NULL, NULL},
};
static const struct option_row size_options[] = {
	{"size", "SIZE", "as in 500G (powers of 1024)"},
	{NULL, NULL, NULL},
};
static const struct option_row import_options[] = {
	{"name", "NAME", "of the LUN (default: the file's, without its ending)"},
	{"format", "FORMAT", "raw, qcow2, vhdx, vmdk or vhd (default: by the file's ending; a device: raw)"},
	{"force", NULL,
		"also what may be larger than the room in the pool, and devices that are in use or have sectors of 4096 bytes"},
	{NULL, NULL, NULL},
};
static const struct option_row export_options[] = {
	{"format", "FORMAT", "raw, qcow2, vhdx, vmdk or vhd (default: by the file's ending)"},
	{"force", NULL, "overwrite a file that is there"},
	{NULL, NULL, NULL},
};
static const struct option_row number_options[] = {
	{"number", "N", "this LUN number, 1 to 16383 (default: the lowest that is free)"},
	{"force", NULL,
		"even if the number rests after an unmap, and the host may still show the disk that it was"},
	{NULL, NULL, NULL},
};
static const struct option_row host_add_options[] = {
	{"iqn", "NAME", "iSCSI initiator name; may be given up to 16 times"},
	{"chap-file", "FILE",
		"file with the CHAP secret, 12 to 16 characters for Windows; - is standard input"},
	{"chap-user", "NAME", "CHAP name (default: the initiator name)"},
	{"mutual-chap-file", "FILE",
		"file with the array's own CHAP secret, by which it proves itself to the host"},
	{"control-lu", NULL, "show the control LU as LUN 0, for a host that has no LUN yet"},
	{"control-without-chap", NULL,
		"let the host take shadow copies without CHAP: whoever claims its name can"},
	{"import", "WHOSE", "which shadow LUNs it may import: own (default), any, or named:HOST[,HOST…]"},
	{"windows", NULL, "also print what to type on the server, in PowerShell: initiator, CHAP, MPIO"},
	{NULL, NULL, NULL},
};
static const struct option_row host_set_options[] = {
	{"iqn", "NAME", "initiator names, instead of those it has; may be given up to 16 times"},
	{"chap-file", "FILE", "file with a new CHAP secret; - is standard input"},
	{"no-chap", NULL, "ask no CHAP of this host any more"},
	{"chap-user", "NAME", "CHAP name"},
	{"mutual-chap-file", "FILE", "file with a new secret by which the array proves itself to the host"},
	{"no-mutual-chap", NULL, "the array does not prove itself to the host any more"},
	{"control-lu", NULL, "show the control LU as LUN 0 (from the next login on)"},
	{"no-control-lu", NULL, "do not show it"},
	{"control-without-chap", NULL, "let the host take shadow copies without CHAP"},
	{"no-control-without-chap", NULL, "do not"},
	{"import", "WHOSE", "own, any, or named:HOST[,HOST…]"},
	{NULL, NULL, NULL},
};
static const struct option_row host_show_options[] = {
	{"windows", NULL, "print what to type on the server, in PowerShell: initiator, CHAP, MPIO"},
	{NULL, NULL, NULL},
};
static const struct option_row setup_options[] = {
	{"pool", "PATH", "where: the pool's directory"},
	{"data-device", "DEVICE", "put the data on this block device; the pool's directory has the rest"},
	{"portal", "ADDRESS[:PORT]", "at which address of the storage network; several with commas"},
	{"name", "NAME", "of the array"},
	{"yes", NULL,
		"ask nothing: what is not given is as proposed (/srv/umbra, all addresses, this machine's name)"},
	{"config", "FILE", "the configuration (default: " PLACE_CONFIG ")"},
	{NULL, NULL, NULL},
};
static const struct option_row support_options[] = {
	{"config", "FILE", "the configuration (default: " PLACE_CONFIG ")"},
	{NULL, NULL, NULL},
};
static const struct option_row set_create_options[] = {
	{"no-keep", NULL, "leave the set unkept: the array undoes it when its lease ends"},
	{"plex", NULL, "full copies: made independent of the originals in the background"},
	{"differential", NULL, "copies that share what the originals do not change"},
	{"label", "TEXT", "a label, by which policies and people find the set"},
	{"lock", "TIME", "lock it for so long at once: 12h, 14d (see set lock)"},
	{NULL, NULL, NULL},
};
static const struct option_row set_list_options[] = {
	{"all", NULL, "show aborted sets too, as long as the array remembers them"},
	{NULL, NULL, NULL},
};
static const struct option_row set_lock_options[] = {
	{"until", "DATE",
		"until then: 2027-01-31, \"2027-01-31 18:00\" (local time) or 2027-01-31T18:00:00Z"},
	{"for", "TIME", "from now on: 90min, 12h, 14d, 8w, 7y"},
	{NULL, NULL, NULL},
};
static const struct option_row apply_options[] = {
	{"check", NULL, "change nothing, and print what would be done"},
	{"diff", NULL, "print for each change what is there and what it becomes"},
	{"prune", NULL, "also take away what the file does not name, of the kinds that it speaks of"},
	{"yes", NULL, "with --prune: do so, the data of LUNs included"},
	{NULL, NULL, NULL},
};
static const struct option_row policy_options[] = {
	{"luns", "LUN,LUN…", "what to take copies of, at one instant"},
	{"every", "TIME", "how often: 15min, 1h, 1d; none: it takes no copies, and only deletes"},
	{"at", "HH:MM",
		"with whole days: the time of the day, local time; none: at multiples of --every, in UTC"},
	{"keep", "RULES",
		"hourly=24,daily=7,weekly=4,monthly=12,yearly=3: of each of the last so many hours, days … the newest "
		"copy is kept; none: everything"},
	{"label", "TEXT", "of the copies that it takes, and of those that it deletes (default: its name)"},
	{"vss", NULL, "delete copies that hosts took under the label, too, VSS's own included"},
	{"no-vss", NULL, "delete no copies that hosts took (the default)"},
	{"lock", "TIME", "lock what it takes for so long: 14d (see set lock); none: not"},
	{NULL, NULL, NULL},
};
static const struct option_row break_options[] = {
	{"keep-marks", NULL,
		"leave what VSS wrote into the partition table: attributes (hidden, read-only, no drive letter, shadow copy)"},
	{NULL, NULL, NULL},
};
static const struct option_row resync_start_options[] = {
	{"keep-marks", NULL,
		"leave what VSS wrote into the copy's partition table: attributes (hidden, read-only, no drive letter, "
		"shadow copy), and the disk identity that an import gave to it"},
	{"no-wait", NULL, "do not wait for its end; resync list shows how it stands"},
	{NULL, NULL, NULL},
};
static const struct option_row events_options[] = {
	{"follow", NULL, "go on printing events as they come"},
	{"after", "SERIAL", "only events after this one"},
	{NULL, NULL, NULL},
};
static const struct option_row top_options[] = {
	{"interval", "TIME", "between two pictures, as in 2s (default 1s)"},
	{"count", "N", "end after N pictures"},
	{NULL, NULL, NULL},
};

static const struct option_row metrics_options[] = {
	{"http", NULL,
		"read an HTTP request from standard input, and print the answer to it: for umbra-metrics.socket"},
	{NULL, NULL, NULL},
};
static const struct option_row pool_restore_options[] = {
	{"from", "DIRECTORY", "the mirror (meta_mirror) or a backup (pool backup)"},
	{"data-device", "DEVICE", "the pool's data device, if it has one"},
	{"salvage", NULL,
		"restore what is damaged or older than the data, too; the pool is then for reading only, and data may be another LUN's"},
	{NULL, NULL, NULL},
};
static const struct option_row pool_grow_options[] = {
	{"capacity", "SIZE", "the new capacity (default: all that the file system or the device has)"},
	{"data-device", "DEVICE", "with PATH: where the pool's data is, if not in the directory"},
	{NULL, NULL, NULL},
};

static const struct option_row rbd_create_options[] = {
	{"namespace", "NAME", "a namespace in the pool (default: none)"},
	{"client", "NAME", "the Ceph user, without \"client.\" (default: admin)"},
	{"conf", "FILE", "the cluster's configuration (default: /etc/ceph/ceph.conf)"},
	{"array", "NAME", "of the array, for a pool may have several (default: " STORE_MODULE_ARRAY ")"},
	{NULL, NULL, NULL},
};

static const struct option_row rbd_destroy_options[] = {
	{"yes", NULL, "do not ask for the array's name to be typed"},
	{"namespace", "NAME", "a namespace in the pool (default: none)"},
	{"client", "NAME", "the Ceph user, without \"client.\" (default: admin)"},
	{"conf", "FILE", "the cluster's configuration (default: /etc/ceph/ceph.conf)"},
	{"array", "NAME", "of the array (default: " STORE_MODULE_ARRAY ")"},
	{NULL, NULL, NULL},
};

static const struct option_row rbd_reidentify_options[] = {
	{"dry-run", NULL, "only show what would get another id"},
	{"keep-ids", NULL, "no other ids: the array that this one is a copy of is gone for good"},
	{"yes", NULL, "do not ask for the array's name to be typed"},
	{"namespace", "NAME", "a namespace in the pool (default: none)"},
	{"client", "NAME", "the Ceph user, without \"client.\" (default: admin)"},
	{"conf", "FILE", "the cluster's configuration (default: /etc/ceph/ceph.conf)"},
	{"array", "NAME", "of the array (default: " STORE_MODULE_ARRAY ")"},
	{NULL, NULL, NULL},
};

const struct verb ctl_verbs[] = {
	{"setup", NULL, "", 0, 0, setup_options,
		"Makes a machine with the package an array that runs: asks where the pool may lie, at which address and under which "
		"name (or takes that from options), makes the pool, writes the configuration, and starts the service. What it has made "
		"goes again when a step before the service fails. Refused where there is an array or a pool already.",
		verb_setup},
	{"pool", "create", "PATH", 1, 1, pool_create_options,
		"Makes an empty pool in the directory PATH (made when it is not there). umbrad is not needed.",
		verb_pool_create},
	{"pool", "check", "PATH", 1, 1, pool_check_options,
		"Verifies the pool in PATH and prints what is wrong with it; umbrad must not have it open. Ends 1 when "
		"findings are left.",
		verb_pool_check},
	{"pool", "dump", "PATH", 1, 1, pool_dump_options,
		"Prints what the pool in PATH holds as the next start would find it: superblock, log, disks, branches, "
		"map; for diagnosis. Changes nothing; umbrad must not have it open. docs/pool-format.md explains the words.",
		verb_pool_dump},
	{"pool", "grow", "[PATH]", 0, 1, pool_grow_options,
		"Raises the pool's capacity, after its file system or data device was enlarged: umbrad's pool while it runs, or the one "
		"in PATH that no umbrad has open. A pool cannot become smaller.",
		verb_pool_grow},
	{"pool", "backup", "PATH", 1, 1, NULL,
		"Copies what finds the data again, the pool's metadata as it is now, to the new directory PATH, by umbrad while it runs. It "
		"is not a copy of the data, and restores the pool only together with its log: what was written later stands there. "
		"What should also survive the loss of the pool's directory needs meta_mirror and log_mirror in umbrad.conf.",
		verb_pool_backup},
	{"pool", "restore", "PATH", 1, 1, pool_restore_options,
		"Puts metadata from a mirror or a backup in the place of what is lost or damaged in the pool in PATH, which no umbrad has "
		"open. What is older than the data is refused: chunks that were given to other LUNs since would be shown, and written, as "
		"the old ones'. What was there is set aside, not deleted.",
		verb_pool_restore},
	{"pool", "scrub", "start|stop|status", 1, 1, pool_scrub_options,
		"Reads all data of umbrad's pool in the background and compares it with its checksums. Each damaged block is an event with "
		"LUN, LBA and place in the file; so is the end. A scrub that was stopped goes on where it was with the next start, one that "
		"umbrad's end stopped by itself. start, while it runs, changes its rate.",
		verb_pool_scrub},
	{"pool", "checksums", "PATH on|off", 2, 2, NULL,
		"Keeps checksums of the data of the pool in PATH from now on, or no more; umbrad must not have it open. Blocks that are "
		"there have none until they are written again. Versions of Umbra without checksums do not open a pool that has them.",
		verb_pool_checksums},
	{"pool", "upgrade", "PATH", 1, 1, pool_upgrade_options,
		"Gives the pool in PATH, made by an earlier version of Umbra, what pools have that are made now: clones share chunks, "
		"small writes over what a copy holds take what they write and not 64K, and cross-checks find metadata that is missing or old. umbrad must not have it open. The pool is checked before. Versions "
		"without these do not open it any more. Checksums of the data are a thing of their own (pool checksums).",
		verb_pool_upgrade},
	{"pool", "reidentify", "PATH", 1, 1, pool_reidentify_options,
		"Gives the array in PATH, whose machine or disks were copied from another's, ids of its own, so that both may be on one "
		"network: the array, its LUNs with their serial numbers and NAA names, copies and the recycle bin included, and its copy "
		"sets. Data, copies, hosts, mappings, policies and locks stay; persistent reservations go. Hosts find new disks under the "
		"old numbers, and VSS knows the copies no more. umbrad must not have it open. All of it changes, or nothing.",
		verb_pool_reidentify},
	{"pool", "status", "", 0, 0, NULL,
		"Shows the pool's capacity and use, and what is set aside: free space that only writes to the partition tables "
		"of LUNs around a shadow copy may take. New data and new sets do not get it.",
		verb_pool_status},
	{"rbd", "create", "POOL", 1, 1, rbd_create_options,
		"Makes an empty array in POOL, a pool of a Ceph cluster that `rbd pool init` has prepared. umbrad is not needed; the "
		"package umbra-rbd is. docs/ceph.md tells the rights that the Ceph user needs.",
		verb_rbd_create},
	{"rbd", "destroy", "POOL", 1, 1, rbd_destroy_options,
		"Deletes an array in Ceph with all its LUNs and copies: images and records. No umbrad may own the array, and no copy set may "
		"be locked. Stopped or killed meanwhile it leaves the array whole, or empty; the same command then goes on. The pool "
		"stays, with whatever else is in it.",
		verb_rbd_destroy},
	{"rbd", "reidentify", "POOL", 1, 1, rbd_reidentify_options,
		"Gives an array in Ceph whose pool was copied, to another cluster say, ids of its own, as pool reidentify does. No umbrad may "
		"own the array. Its images keep their names. Until then umbrad does not serve such a copy.",
		verb_rbd_reidentify},
	{"controller", "list", "", 0, 0, NULL,
		"Shows the two controllers of an array in Ceph: which one owns it, since when, and where each is reached.",
		verb_controller_list},
	{"controller", "move", "", 0, 0, move_options,
		"Gives the array to the controller that stands by, and waits until that one has it; at either of the two, the owner does it. Copy sets "
		"that are being made, and other calls, have 30 seconds to end, while hosts are served as ever; else it is refused. "
		"Hosts go on over the other path, within about a second.",
		verb_controller_move},
	{"lun", "create", "NAME", 1, 1, size_options,
		"Makes a LUN. It is thin: space is used as it is written.", verb_lun_create},
	{"lun", "list", "", 0, 0, NULL, "Lists the ordinary LUNs.", verb_lun_list},
	{"lun", "show", "LUN", 1, 1, NULL,
		"Shows a LUN, by name or id: identity, use, what it costs, who sees it.", verb_lun_show},
	{"lun", "resize", "LUN", 1, 1, size_options, "Makes a LUN larger; hosts are told.", verb_lun_resize},
	{"lun", "rename", "LUN NAME", 2, 2, NULL, "Gives a LUN another name; hosts see its id, which stays.",
		verb_lun_rename},
	{"lun", "delete", "LUN", 1, 1, NULL, "Deletes a LUN and its data. It must not be mapped.",
		verb_lun_delete},
	{"lun", "import", "FILE", 1, 1, import_options,
		"Makes a LUN of a disk image, or of a block device of this machine. Zeros take no space. All of FILE is looked at "
		"first: a damaged or cut image, one that leads to other files, or one larger than the room in the pool is refused. "
		"Ctrl+C ends it, and no LUN is left. Needs qemu-img.",
		verb_lun_import},
	{"lun", "export", "LUN FILE", 2, 2, export_options,
		"Writes a LUN to a file (- is standard output, raw), where zeros take no space. A copy is made first, so hosts may write "
		"on: FILE is as after a power failure at one instant. The copy goes again. FILE has its name only when it is "
		"whole; Ctrl+C ends it, and nothing is left. Needs qemu-img.",
		verb_lun_export},
	{"host", "add", "NAME", 1, 1, host_add_options, "Makes a host known by its iSCSI initiator names.",
		verb_host_add},
	{"host", "set", "HOST", 1, 1, host_set_options, "Changes a host's record; what is not given stays.",
		verb_host_set},
	{"host", "list", "", 0, 0, NULL, "Lists the hosts.", verb_host_list},
	{"host", "show", "HOST", 1, 1, host_show_options, "Shows a host, its rights and the LUNs it sees.",
		verb_host_show},
	{"host", "delete", "HOST", 1, 1, NULL,
		"Forgets a host; its sessions end. It must have no LUN mapped.", verb_host_delete},
	{"map", NULL, "LUN HOST", 2, 2, number_options, "Lets a host see a LUN.", verb_map},
	{"unmap", NULL, "LUN HOST", 2, 2, NULL, "Takes a LUN away from a host.", verb_unmap},
	{"mappings", NULL, "", 0, 0, NULL, "Lists which host sees which LUN under which number.",
		verb_map_list},
	{"set", "create", "NAME LUN…", 2, 65, set_create_options,
		"Takes copies of LUNs at one instant (crash-consistent, without VSS).", verb_set_create},
	{"set", "list", "", 0, 0, set_list_options, "Lists the copy sets.", verb_set_list},
	{"set", "show", "SET", 1, 1, NULL, "Shows a copy set, by name or id, and its shadow LUNs.",
		verb_set_show},
	{"set", "delete", "SET", 1, 1, NULL,
		"Deletes a kept set and its shadow LUNs. None of them may be mapped.", verb_set_delete},
	{"set", "abort", "SET", 1, 1, NULL, "Undoes a set that is not kept yet, whoever began it.",
		verb_set_abort},
	{"set", "lock", "SET", 1, 1, set_lock_options,
		"Locks a kept set: until then nobody, no host and no administrator, can delete its shadow LUNs, break them or "
		"write to them. A lock can be made longer, never shorter, and there is no way to end one: it ends when its "
		"date has come and umbrad has run for as long as it was until then, so that no clock ends it early.",
		verb_set_lock},
	{"apply", NULL, "FILE", 1, 1, apply_options,
		"Makes the array as a file says: LUNs, hosts, mappings and policies, in JSON (see docs/operations.md; - reads the "
		"standard input). What is there already stays, so that a second run changes nothing; LUNs only grow. Secrets are "
		"in files that it names, and are read for hosts that have none yet. Nothing is taken away without --prune --yes.",
		verb_apply},
	{"config", "export", "", 0, 0, NULL, "Prints the file by which apply makes an array like this one.",
		verb_config_export},
	{"policy", "create", "NAME", 1, 1, policy_options,
		"Makes a policy: the array takes crash-consistent copies of LUNs by itself, and deletes those under its label "
		"that no rule keeps. A copy that one rule keeps stays whatever the others say; what is locked or mapped to a host "
		"stays. The first copies are taken at once; what was missed while umbrad did not run is made up for once.",
		verb_policy_create},
	{"policy", "set", "NAME", 1, 1, policy_options, "Changes a policy; what is not given stays.",
		verb_policy_set},
	{"policy", "list", "", 0, 0, NULL, "Lists the policies.", verb_policy_list},
	{"policy", "show", "NAME", 1, 1, NULL, "Shows a policy, and when it last took copies and will again.",
		verb_policy_show},
	{"policy", "preview", "NAME", 1, 1, NULL,
		"Prints for each copy set under the policy's label whether it is kept, by which rules, or will be deleted.",
		verb_policy_preview},
	{"policy", "delete", "NAME", 1, 1, NULL, "Deletes a policy. Its copy sets stay.", verb_policy_delete},
	{"shadow", "list", "", 0, 0, NULL, "Lists the shadow LUNs.", verb_shadow_list},
	{"shadow", "map", "SHADOW HOST", 2, 2, number_options, "Lets a host see a shadow LUN.",
		verb_shadow_map},
	{"shadow", "unmap", "SHADOW [HOST]", 1, 2, NULL, "Takes a shadow LUN away from a host, or from all.",
		verb_shadow_unmap},
	{"shadow", "delete", "SHADOW", 1, 1, NULL, "Deletes a shadow LUN. It must not be mapped.",
		verb_shadow_delete},
	{"shadow", "break", "SHADOW", 1, 1, break_options,
		"Makes a shadow LUN an ordinary one, with the same id, data and hosts; its copy set forgets it. VSS's marks "
		"are taken off its partitions (GPT); hosts that see it rescan.",
		verb_shadow_break},
	{"shadow", "recycled", "", 0, 0, NULL,
		"Lists the recycle bin: deleted shadow LUNs whose space has not returned yet ([copysets] recycle_time).",
		verb_shadow_recycled},
	{"shadow", "undelete", "SHADOW", 1, 1, NULL,
		"Takes a shadow LUN out of the recycle bin, by name or id. No host sees it until it is mapped.",
		verb_shadow_undelete},
	{"shadow", "purge", "SHADOW", 1, 1, NULL,
		"Deletes a shadow LUN in the recycle bin for good; its space returns now.",
		verb_shadow_purge},
	{"shadow", "export", "SHADOW FILE", 2, 2, export_options,
		"Writes a shadow LUN to a file (- is standard output, raw), as lun export does. It is only read, and cannot be deleted "
		"meanwhile. docs/off-host.md tells how to back up from there.",
		verb_shadow_export},
	{"shadow", "resync", "SHADOW LUN", 2, 2, resync_start_options,
		"Makes LUN hold the data of SHADOW again; what it holds now is lost. The shadow LUN and all other "
		"copies stay. Take the disk offline on its host first. LUN takes the shadow LUN's size; a smaller "
		"one is refused. VSS's marks are taken off its partitions (GPT), and it keeps its disk identity.",
		verb_shadow_resync},
	{"resync", "list", "", 0, 0, NULL, "Lists the resyncs that run, and the latest that ended.",
		verb_resync_list},
	{"resync", "cancel", "JOB", 1, 1, NULL,
		"Cancels a resync that has not come to the change yet; a LUN is never left between two states.",
		verb_resync_cancel},
	{"status", NULL, "", 0, 0, NULL, "Shows the array: portals, pool, counts, limits, sessions.",
		verb_status},
	{"sessions", NULL, "", 0, 0, NULL, "Lists the iSCSI sessions.", verb_session_list},
	{"session", "logout", "HOST|all", 1, 1, NULL,
		"Asks the initiators of a host, or all, to log out; sessions that stay are ended after logout_timeout. "
		"Initiators log in again as they are configured, and then meet changed portals and redirections.",
		verb_session_logout},
	{"events", NULL, "", 0, 0, events_options, "Prints the array's latest events, oldest first.",
		verb_events},
	{"top", NULL, "", 0, 0, top_options,
		"Shows commands and bytes a second, by session, until interrupted.", verb_top},
	{"metrics", NULL, "", 0, 0, metrics_options,
		"Prints counters and states as Prometheus reads them: array, pool, LUNs, hosts, copy sets, policies, events. "
		"A LUN or host has histograms once it was read or written since umbrad started.",
		verb_metrics},
	{"support", NULL, "FILE.tar", 1, 1, support_options,
		"Writes what somebody else needs to see into one tar file: versions, what umbrad answers, its events and counters, the "
		"configuration, the service and its log, disks and addresses of the machine. No secret is in it; names and addresses are.",
		verb_support},
	{NULL, NULL, NULL, 0, 0, NULL, NULL, NULL},
};
