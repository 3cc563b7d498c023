/* SPDX-License-Identifier: Apache-2.0 */
/* See record.h. */
#include "lab/coordinator/record.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <wchar.h>

#define TEXT_MAX 1024

bool record_begin(struct record *r)
{
	memset(r, 0, sizeof *r);
	QueryPerformanceFrequency(&r->frequency);
	QueryPerformanceCounter(&r->zero);
	r->result = CoTaskMemAlloc(sizeof *r->result);
	if (!r->result)
		return false;
	memset(r->result, 0, sizeof *r->result);
	r->result->hold_us = -1;
	r->result->commit_us = -1;
	r->result->percent = -1;
	return true;
}

int64_t record_now_us(const struct record *r)
{
	LARGE_INTEGER now;
	QueryPerformanceCounter(&now);
	return (now.QuadPart - r->zero.QuadPart) * 1000000 / r->frequency.QuadPart;
}

/* Room for one more of `size` bytes behind *array; a zeroed slot, or NULL. */
static void *grow(struct record *r, void **array, ULONG *count, size_t *cap, size_t size)
{
	if (*count == *cap) {
		size_t more = *cap ? *cap * 2 : 512;
		void *grown = CoTaskMemRealloc(*array, more * size);
		if (!grown) {
			r->out_of_memory = true;
			return NULL;
		}
		*array = grown;
		*cap = more;
	}
	void *slot = (char *)*array + (size_t)*count * size;
	memset(slot, 0, size);
	(*count)++;
	return slot;
}

static wchar_t *format_text(const wchar_t *format, va_list args)
{
	wchar_t text[TEXT_MAX];
	_vsnwprintf(text, TEXT_MAX, format, args);
	text[TEXT_MAX - 1] = 0;
	return record_text(text);
}

ULONG record_call_begin(struct record *r, const wchar_t *method, const wchar_t *format, ...)
{
	LAB_RESULT *res = r->result;
	LAB_CALL *c = grow(r, (void **)&res->calls, &res->call_count, &r->call_cap, sizeof *c);
	if (!c)
		return ~0u;
	va_list args;
	va_start(args, format);
	c->arguments = format_text(format, args);
	va_end(args);
	c->method = record_text(method);
	c->hr = E_PENDING;
	c->start_us = record_now_us(r);
	return res->call_count - 1;
}

HRESULT record_call_end(struct record *r, ULONG index, HRESULT hr)
{
	if (index < r->result->call_count) {
		LAB_CALL *c = &r->result->calls[index];
		c->us = record_now_us(r) - c->start_us;
		c->hr = hr;
	}
	return hr;
}

ULONG record_phase_begin(struct record *r, const wchar_t *name)
{
	LAB_RESULT *res = r->result;
	LAB_PHASE *p = grow(r, (void **)&res->phases, &res->phase_count, &r->phase_cap, sizeof *p);
	if (!p)
		return ~0u;
	p->name = record_text(name);
	p->hr = E_PENDING;
	p->start_us = record_now_us(r);
	return res->phase_count - 1;
}

HRESULT record_phase_end(struct record *r, ULONG index, HRESULT hr)
{
	if (index < r->result->phase_count) {
		LAB_PHASE *p = &r->result->phases[index];
		p->us = record_now_us(r) - p->start_us;
		p->hr = hr;
	}
	return hr;
}

LAB_LUN *record_add_lun(struct record *r)
{
	return grow(r, (void **)&r->result->luns, &r->result->lun_count, &r->lun_cap, sizeof(LAB_LUN));
}

LAB_SET *record_add_set(struct record *r)
{
	return grow(r, (void **)&r->result->sets, &r->result->set_count, &r->set_cap, sizeof(LAB_SET));
}

LAB_SNAPSHOT *record_add_snapshot(struct record *r)
{
	return grow(r, (void **)&r->result->snapshots, &r->result->snapshot_count, &r->snapshot_cap,
		sizeof(LAB_SNAPSHOT));
}

wchar_t *record_text(const wchar_t *text)
{
	size_t bytes = (wcslen(text ? text : L"") + 1) * sizeof *text;
	wchar_t *out = CoTaskMemAlloc(bytes);
	if (out)
		memcpy(out, text ? text : L"", bytes);
	return out;
}

wchar_t *record_utf8(const char *text, int len)
{
	if (!text)
		return record_text(L"");
	if (len < 0)
		len = (int)strlen(text);
	int wide = len ? MultiByteToWideChar(CP_UTF8, 0, text, len, NULL, 0) : 0;
	wchar_t *out = CoTaskMemAlloc(((size_t)wide + 1) * sizeof *out);
	if (!out)
		return NULL;
	if (wide)
		MultiByteToWideChar(CP_UTF8, 0, text, len, out, wide);
	out[wide] = 0;
	return out;
}

HRESULT record_fail(struct record *r, HRESULT hr, const wchar_t *format, ...)
{
	if (r->result->message)
		return hr;
	va_list args;
	va_start(args, format);
	r->result->message = format_text(format, args);
	va_end(args);
	r->result->hr = hr;
	return hr;
}

HRESULT record_take_failure(struct record *r, LAB_STRING *why)
{
	HRESULT hr = r->result->hr;
	*why = r->result->message;
	r->result->message = NULL;
	r->result->hr = S_OK;
	return hr;
}

struct record_mark record_mark(const struct record *r)
{
	return (struct record_mark){r->result->call_count, r->result->phase_count, r->result->lun_count};
}

void record_rewind(struct record *r, struct record_mark mark)
{
	LAB_RESULT *res = r->result;
	while (res->call_count > mark.calls) {
		LAB_CALL *c = &res->calls[--res->call_count];
		CoTaskMemFree(c->method);
		CoTaskMemFree(c->arguments);
	}
	while (res->phase_count > mark.phases)
		CoTaskMemFree(res->phases[--res->phase_count].name);
	res->lun_count = mark.luns; /* their texts stay: nothing that is rewound has any yet */
	CoTaskMemFree(res->message);
	res->message = NULL;
	res->hr = S_OK;
	res->hold_us = res->commit_us = -1;
	res->writers = 0;
}

void record_drop(struct record *r)
{
	if (!r->result)
		return;
	record_rewind(r, (struct record_mark){0});
	CoTaskMemFree(r->result->calls);
	CoTaskMemFree(r->result->phases);
	CoTaskMemFree(r->result);
	memset(r, 0, sizeof *r);
}

HRESULT record_finish(struct record *r, LAB_RESULT **result)
{
	if (r->out_of_memory && SUCCEEDED(r->result->hr))
		record_fail(r, E_OUTOFMEMORY, L"the coordinator ran out of memory while recording");
	*result = r->result;
	r->result = NULL;
	return S_OK;
}
