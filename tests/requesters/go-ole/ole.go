// SPDX-License-Identifier: Apache-2.0

// Package ole stands in for github.com/go-ole/go-ole, which Debian does not have: the few names that restic uses of it, so
// that restic's own source is built as it is. For 64-bit Windows.
package ole

import (
	"syscall"
	"unicode/utf16"
	"unsafe"
)

const COINIT_MULTITHREADED = 0

type GUID struct {
	Data1 uint32
	Data2 uint16
	Data3 uint16
	Data4 [8]byte
}

var IID_NULL = &GUID{}

var (
	ole32           = syscall.NewLazyDLL("ole32.dll")
	coInitializeEx  = ole32.NewProc("CoInitializeEx")
	clsidFromString = ole32.NewProc("CLSIDFromString")
)

// NewGUID takes "{xxxxxxxx-…}"; nil when it is none.
func NewGUID(text string) *GUID {
	chars, err := syscall.UTF16PtrFromString(text)
	guid := &GUID{}
	if err != nil {
		return nil
	}
	if hr, _, _ := clsidFromString.Call(uintptr(unsafe.Pointer(chars)), uintptr(unsafe.Pointer(guid))); hr != 0 {
		return nil
	}
	return guid
}

type IUnknown struct {
	RawVTable *interface{}
}

type IUnknownVtbl struct {
	QueryInterface uintptr
	AddRef         uintptr
	Release        uintptr
}

func (v *IUnknown) VTable() *IUnknownVtbl {
	return (*IUnknownVtbl)(unsafe.Pointer(v.RawVTable))
}

func (v *IUnknown) Release() int32 {
	left, _, _ := syscall.Syscall(v.VTable().Release, 1, uintptr(unsafe.Pointer(v)), 0, 0)
	return int32(left)
}

func CoInitializeEx(reserved uintptr, model uint32) error {
	if hr, _, _ := coInitializeEx.Call(reserved, uintptr(model)); hr != 0 {
		return syscall.Errno(hr)
	}
	return nil
}

func UTF16PtrToString(text *uint16) string {
	if text == nil {
		return ""
	}
	var chars []uint16
	for p := unsafe.Pointer(text); *(*uint16)(p) != 0; p = unsafe.Add(p, 2) {
		chars = append(chars, *(*uint16)(p))
	}
	return string(utf16.Decode(chars))
}
