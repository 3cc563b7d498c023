// SPDX-License-Identifier: Apache-2.0
// What forms offer for choice: the hosts and LUNs that there are.
const named = (entry, value = entry.name) => ({ value, label: entry.name });

export const hostChoices = data => (data.hosts || []).map(host => named(host));
export const lunChoices = data => (data.luns || []).map(lun => named(lun));
export const lunIdChoices = data => (data.luns || []).map(lun => named(lun, lun.id));
