/* SPDX-License-Identifier: Apache-2.0 */
/* The one place where the GUIDs of ids.h and of the VSS headers get their storage. */
#include <windows.h>
#include <ole2.h>
#include <initguid.h>
#include <vss.h>
#include <vsprov.h>
#include <vsadmin.h>
#include <vswriter.h>
#include <vsbackup.h>
#include "provider/ids.h"
