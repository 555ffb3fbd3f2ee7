#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# pki.sh DIR: an Ed25519 authority, a server's and a client's certificate from it, and a second authority with a server of its own.
set -eu
cd "$1"
key() { openssl genpkey -quiet -algorithm ed25519 -out "$1.key" 2>/dev/null || openssl genpkey -algorithm ed25519 -out "$1.key"; }
authority() {
	key "$1"
	openssl req -x509 -new -key "$1.key" -out "$1.crt" -subj "/CN=$1" -days 2
}
# certificate NAME AUTHORITY EXTENSIONS
certificate() {
	key "$1"
	openssl req -new -key "$1.key" -subj "/CN=$1" |
		openssl x509 -req -CA "$2.crt" -CAkey "$2.key" -CAcreateserial -days 2 -extfile <(printf '%s\n' "$3") -out "$1.crt" 2>/dev/null
}
authority ca
authority ca2
certificate server ca "subjectAltName=IP:127.0.0.1,DNS:kube.test"
certificate server2 ca2 "subjectAltName=DNS:only.test,IP:127.0.0.1"
certificate client ca "extendedKeyUsage=clientAuth"
