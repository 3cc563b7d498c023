/* SPDX-License-Identifier: Apache-2.0 */
/* What to type on a Windows server to connect it: PowerShell, from what the array says of itself and of the host. */
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include "ctl/ctl.h"
#include "ctl/windows.h"
#include "proto/identity.h"

#define ADDRESSES_MAX 16

struct portals {
	char address[ADDRESSES_MAX][INET6_ADDRSTRLEN];
	json_int_t port[ADDRESSES_MAX];
	size_t count;
};

static void add(struct portals *p, const char *address, json_int_t port)
{
	if (p->count == ADDRESSES_MAX)
		return;
	snprintf(p->address[p->count], sizeof(p->address[0]), "%s", address);
	p->port[p->count++] = port;
}

/* "All addresses" is none to connect to: those of this machine. */
static void add_own(struct portals *p, int family, json_int_t port)
{
	struct ifaddrs *all, *i;
	char text[INET6_ADDRSTRLEN];

	if (getifaddrs(&all))
		return;
	for (i = all; i; i = i->ifa_next) {
		if (!i->ifa_addr || i->ifa_addr->sa_family != family || (i->ifa_flags & IFF_LOOPBACK))
			continue;
		const void *at =
			family == AF_INET
				? (const void *)&((const struct sockaddr_in *)(const void *)i->ifa_addr)
					  ->sin_addr
				: (const void *)&((const struct sockaddr_in6 *)(const void *)i->ifa_addr)
					  ->sin6_addr;
		if (family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL((const struct in6_addr *)at))
			continue;
		if (inet_ntop(family, at, text, sizeof(text)))
			add(p, text, port);
	}
	freeifaddrs(all);
}

static void find_portals(struct portals *p, const json_t *array)
{
	json_t *portal;
	size_t i;

	json_array_foreach(json_object_get(array, "portals"), i, portal)
	{
		const char *address = text_of(portal, "address");
		json_int_t port = json_integer_value(json_object_get(portal, "port"));
		if (json_object_get(portal, "redirect"))
			continue;
		if (!strcmp(address, "0.0.0.0"))
			add_own(p, AF_INET, port);
		else if (!strcmp(address, "::"))
			add_own(p, AF_INET6, port);
		else
			add(p, address, port);
	}
}

/* In PowerShell's single quotes. */
static void quoted(const char *text)
{
	putchar('\'');
	for (; *text; text++) {
		if (*text == '\'')
			putchar('\'');
		putchar(*text);
	}
	putchar('\'');
}

static void print_connect(
	const struct portals *p, size_t i, const char *target, const json_t *host, bool paths)
{
	bool chap = json_is_true(json_object_get(host, "chap"));
	bool mutual = json_is_true(json_object_get(host, "mutual_chap"));
	json_t *user = json_object_get(host, "chap_user");
	const char *iqn = json_string_value(json_array_get(json_object_get(host, "iqns"), 0));

	printf("Connect-IscsiTarget -NodeAddress %s -TargetPortalAddress %s -TargetPortalPortNumber %lld",
		target, p->address[i], (long long)p->port[i]);
	if (chap) {
		printf(" -AuthenticationType %s -ChapUsername ", mutual ? "MUTUALCHAP" : "ONEWAYCHAP");
		quoted(json_is_string(user) && *json_string_value(user) ? json_string_value(user)
			: iqn                                           ? iqn
									: "");
		printf(" -ChapSecret $secret");
	}
	printf("%s -IsPersistent $true\n", paths ? " -IsMultipathEnabled $true" : "");
}

int windows_print(const struct invocation *in, const json_t *host)
{
	json_t *status = ctl_call(in, "status", NULL);
	const json_t *array = json_object_get(status, "array");
	const char *target = text_of(array, "target_name");
	struct portals p = {.count = 0};

	if (!status)
		return CTL_FAILED;
	find_portals(&p, array);
	bool paths = p.count > 1;
	printf("\n# On %s, in PowerShell as administrator:\n", text_of(host, "name"));
	printf("Set-Service MSiSCSI -StartupType Automatic; Start-Service MSiSCSI\n");
	if (paths)
		printf("Install-WindowsFeature Multipath-IO      # once; restart the server if it says so, and go on here\n"
		       "New-MSDSMSupportedHW -VendorId '%s' -ProductId '%s'; Update-MPIOClaimedHW -Confirm:$false\n",
			UP_VENDOR, UP_PRODUCT);
	for (size_t i = 0; i < p.count; i++)
		printf("New-IscsiTargetPortal -TargetPortalAddress %s -TargetPortalPortNumber %lld\n",
			p.address[i], (long long)p.port[i]);
	if (json_is_true(json_object_get(host, "chap")))
		printf("$secret = Read-Host 'the CHAP secret that you gave to umbractl'\n");
	if (json_is_true(json_object_get(host, "mutual_chap")))
		printf("Set-IscsiChapSecret -ChapSecret (Read-Host 'the secret of the array')\n");
	for (size_t i = 0; i < p.count; i++)
		print_connect(&p, i, target, host, paths);
	printf("Update-HostStorageCache; Get-Disk | Where-Object FriendlyName -like 'UMBRADEV*'\n"
	       "msiexec /i umbra-vss.msi /qn; & \"$env:ProgramFiles\\Umbra\\umbra-vss.exe\" check\n");
	json_decref(status);
	return CTL_OK;
}
