/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every command, by the file that has it, for the table. A command's `execute` ends in exactly one scsi_task_finish(),
 * perhaps from inside.
 */
#ifndef UMBRA_SCSI_COMMANDS_H
#define UMBRA_SCSI_COMMANDS_H

#include "array/scsi/scsi.h"

/* basic.c */
void scsi_test_unit_ready(struct scsi_task *task);
void scsi_request_sense(struct scsi_task *task);
bool scsi_start_stop_parse(struct scsi_task *task);
void scsi_start_stop(struct scsi_task *task);
void scsi_prevent_allow(struct scsi_task *task);
void scsi_send_diagnostic(struct scsi_task *task);
void scsi_read_defects(struct scsi_task *task);
/* access.c */
void scsi_report_target_port_groups(struct scsi_task *task);
/* inquiry.c */
bool scsi_inquiry_parse(struct scsi_task *task);
void scsi_inquiry(struct scsi_task *task);
/* report.c */
bool scsi_report_luns_parse(struct scsi_task *task);
void scsi_report_luns(struct scsi_task *task);
void scsi_report_opcodes(struct scsi_task *task);
void scsi_report_tmfs(struct scsi_task *task);
/* capacity.c */
void scsi_read_capacity10(struct scsi_task *task);
void scsi_read_capacity16(struct scsi_task *task);
void scsi_log_sense(struct scsi_task *task);
/* mode.c */
void scsi_mode_sense(struct scsi_task *task);
void scsi_mode_select(struct scsi_task *task);
/* block.c */
void scsi_read(struct scsi_task *task);
void scsi_write(struct scsi_task *task);
void scsi_synchronize(struct scsi_task *task);
void scsi_prefetch(struct scsi_task *task);
bool scsi_compare_write_parse(struct scsi_task *task);
void scsi_compare_write(struct scsi_task *task);
/* orwrite.c */
void scsi_orwrite(struct scsi_task *task);
/* verify.c */
bool scsi_verify_parse(struct scsi_task *task);
void scsi_verify(struct scsi_task *task);
bool scsi_write_verify_parse(struct scsi_task *task);
void scsi_write_verify(struct scsi_task *task);
/* thin.c */
void scsi_unmap(struct scsi_task *task);
bool scsi_write_same_parse(struct scsi_task *task);
void scsi_write_same(struct scsi_task *task);
void scsi_get_lba_status(struct scsi_task *task);
/* copy_extended.c, odx.c, copy_status.c */
void scsi_extended_copy(struct scsi_task *task);
void scsi_populate_token(struct scsi_task *task);
void scsi_write_using_token(struct scsi_task *task);
void scsi_copy_abort_command(struct scsi_task *task);
void scsi_receive_copy_status1(struct scsi_task *task);
void scsi_receive_copy_parameters(struct scsi_task *task);
void scsi_receive_copy_failure(struct scsi_task *task);
void scsi_receive_copy_status4(struct scsi_task *task);
void scsi_receive_token_information(struct scsi_task *task);
/* sanitize.c */
bool scsi_sanitize_parse(struct scsi_task *task);
void scsi_sanitize(struct scsi_task *task);
void scsi_sanitize_exit(struct scsi_task *task);
/* security.c */
bool scsi_security_parse(struct scsi_task *task);
void scsi_security_in(struct scsi_task *task);
void scsi_security_out(struct scsi_task *task);
/* reserve.c, reserve_out.c, reserve_in.c */
void scsi_legacy_reserve(struct scsi_task *task);
void scsi_legacy_release(struct scsi_task *task);
void scsi_pr_out(struct scsi_task *task);
void scsi_pr_in_keys(struct scsi_task *task);
void scsi_pr_in_reservation(struct scsi_task *task);
void scsi_pr_in_capabilities(struct scsi_task *task);
void scsi_pr_in_full_status(struct scsi_task *task);

#endif
