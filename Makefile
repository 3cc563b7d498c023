# SPDX-License-Identifier: Apache-2.0
# The commands of the README. Meson does the building; this file only names what people type.
#   make            build both machines; the programs end up in build/bin/
#   make demo       the main job, end to end; report in build/demo/. STORE=rbd: in a Ceph cluster
#   make test       the unit tests, in a minute or two
#   make check      every test, and a line as each ends
#   make requesters the unmodified restic.exe, built from Debian's source, backs up in the lab; report in build/requesters/
#   make bench      side-by-side benchmarks
#   make soak       long campaigns, SOAK_SECONDS each (default 600)
#   make msi        the provider's package: build/bin/umbra-vss.msi; SIGN=CERTIFICATE.p12 signs it and what is in it
#   make deb        Debian packages: build/bin/umbra_VERSION_ARCHITECTURE.deb, umbra-rbd_…, the store in Ceph, where librbd is
#                   here, and cockpit-umbra_VERSION_all.deb, the page
#   make install    install the Linux programs (DESTDIR, PREFIX)
SHELL := /bin/sh
PREFIX ?= /usr/local
export PREFIX
SOAK_SECONDS ?= 600

.PHONY: all bootstrap linux windows demo test check requesters bench soak msi deb install format clean

all: linux windows

bootstrap:
	@[ -n "$(SKIP_BOOTSTRAP)" ] || scripts/bootstrap

linux: bootstrap
	@scripts/build linux

windows: bootstrap
	@scripts/build windows

demo: all
	@lab/demo/demo $(if $(STORE),--store $(STORE))

test: bootstrap
	@scripts/check unit

check: bootstrap
	@scripts/check

requesters: all
	@scripts/requesters

bench: linux
	@bench/run

soak: bootstrap
	@scripts/soak $(SOAK_SECONDS)

msi: windows
	@packaging/msi/make-msi build/windows build/bin $(SIGN)

deb: linux
	@packaging/deb/make-package build/linux build/bin

install: linux
	@meson install -C build/linux --no-rebuild --destdir "$(DESTDIR)"

format:
	@git ls-files '*.c' '*.h' | xargs clang-format -i

clean:
	@rm -rf build
