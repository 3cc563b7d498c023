// SPDX-License-Identifier: Apache-2.0
// Where the page finds umbrad and umbractl. The socket is what the configuration names, else the default here.
export const settings = {
    configuration: '/etc/umbra/umbrad.conf',
    socket: '/run/umbra/umbrad.sock',
    umbractl: 'umbractl',
};
