// SPDX-License-Identifier: Apache-2.0
// All actions, by name. An action has
//   title, submit    the dialog's title, and its button
//   intro            what it does, and what to know before
//   danger           the button warns: it takes something away, or cannot be taken back
//   confirm          (subject, values, data) -> the text to be typed before it is done; '': none
//   fields           (data, subject) -> what to ask; `covers`: the options of umbractl's verb that a field stands for
//   covers           options of umbractl's verb that the action stands for as a whole
//   run              (values, subject, job) -> { message, result | output, failed, go }; throws Wrong or RpcError.
//                    job: { say(text), onCancel(stop) }, for what takes long
import { configActions } from './config.js';
import { controllerActions } from './controller.js';
import { hostActions } from './host.js';
import { imageActions } from './image.js';
import { lunActions } from './lun.js';
import { policyActions } from './policy.js';
import { poolActions } from './pool.js';
import { setActions } from './set.js';
import { shadowActions } from './shadow.js';

export const actions = {
    ...poolActions, ...lunActions, ...imageActions, ...hostActions, ...setActions, ...shadowActions, ...policyActions, ...configActions,
    ...controllerActions,
};
