#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# clang and its libFuzzer from Debian, when something is missing.  Only the fuzzers need them: everything else is built without.
set -eu
works() {
	echo 'int LLVMFuzzerTestOneInput(const unsigned char *d, unsigned long n); int LLVMFuzzerTestOneInput(const unsigned char *d, unsigned long n) { return d && n ? 0 : 0; }' |
		clang -x c -fsanitize=fuzzer,address,undefined -o /dev/null - 2>/dev/null
}
works && exit 0
[ "$(id -u)" = 0 ] || { echo "fuzz: not root; install clang and libclang-rt-VERSION-dev" >&2; exit 1; }
export DEBIAN_FRONTEND=noninteractive
echo "fuzz: installing clang"
apt-get update -qq
apt-get install -y -qq --no-install-recommends clang >/dev/null
# The sanitizers' libraries are a package of their own, named after the compiler's version.
version=$(clang -dumpversion)
apt-get install -y -qq --no-install-recommends "libclang-rt-${version%%.*}-dev" >/dev/null
works || { echo "fuzz: clang cannot link a fuzzer" >&2; exit 1; }
