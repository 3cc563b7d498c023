/* SPDX-License-Identifier: Apache-2.0 */
/* What umbra-lab-requester prints of a LAB_RESULT: JSON for programs, lines for people. UTF-8 on stdout. */
#ifndef LAB_REQUESTER_OUTPUT_H
#define LAB_REQUESTER_OUTPUT_H

#include <stdbool.h>
#include <windows.h>
#include "lab_requester.h"

/* "VSS_E_PROVIDER_VETO", or NULL when the code has no name here. */
const char *hresult_name(HRESULT hr);

void output_json(const char *verb, const LAB_RESULT *res, const wchar_t *document_path);
void output_text(const char *verb, const LAB_RESULT *res, bool with_calls, const wchar_t *document_path);

/* UTF-8, malloc'ed; NULL text: "". */
char *utf8_of(const wchar_t *text);

#endif
