#!/bin/bash
# Keys, certificates and kubeconfigs of one control plane, under /etc/kubernetes.
# Elliptic keys: a cluster's worth of RSA keys takes seconds to make.
set -eu
. /usr/local/lib/lab/env

mkdir -p /etc/kubernetes/pki
cd /etc/kubernetes/pki

# openssl's own configuration would make every certificate one of an authority.
config=$(mktemp)
said=$(mktemp) # it draws a line for every key
trap 'rm "$config" "$said"' EXIT
printf '[req]\ndistinguished_name=dn\n[dn]\n' >"$config"

# certificate NAME SUBJECT EXTENSION..: one process each, since starting openssl
# costs more than what it computes.
certificate() {
	local name=$1 subject=$2 signer=(-CA ca.crt -CAkey ca.key) extension
	shift 2
	[ "$name" != ca ] || signer=()
	for extension; do signer+=(-addext "$extension"); done
	openssl req -x509 -config "$config" -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 3650 \
		-keyout "$name.key" -out "$name.crt" -subj "$subject" "${signer[@]}" 2>"$said" || { cat "$said" >&2; exit 1; }
}

certificate ca "/CN=$NODE-ca" basicConstraints=critical,CA:TRUE keyUsage=critical,keyCertSign,cRLSign,digitalSignature
client=extendedKeyUsage=clientAuth
certificate apiserver /CN=kube-apiserver \
	"subjectAltName=DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,DNS:localhost,DNS:$NODE,IP:127.0.0.1,IP:$NODE_IP,IP:$API_SERVICE_IP"
certificate admin /O=system:masters/CN=admin "$client"
certificate apiserver-kubelet /O=system:masters/CN=kube-apiserver-kubelet-client "$client"
certificate kcm /CN=system:kube-controller-manager "$client"
certificate scheduler /CN=system:kube-scheduler "$client"
certificate kube-proxy /CN=system:kube-proxy "$client"
certificate front-proxy /CN=front-proxy "$client"
certificate kubelet "/O=system:nodes/CN=system:node:$NODE" \
	extendedKeyUsage=clientAuth,serverAuth "subjectAltName=DNS:$NODE,IP:$NODE_IP"
openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out sa.key
openssl pkey -in sa.key -pubout -out sa.pub

# kubeconfig NAME SERVER: everything inline, so that the file can be carried away.
kubeconfig() {
	cat <<X
apiVersion: v1
kind: Config
clusters:
- name: $NODE
  cluster:
    server: $2
    certificate-authority-data: $(base64 -w0 ca.crt)
users:
- name: $1
  user:
    client-certificate-data: $(base64 -w0 "$1.crt")
    client-key-data: $(base64 -w0 "$1.key")
contexts:
- name: $NODE
  context: {cluster: $NODE, user: $1}
current-context: $NODE
X
}

umask 077
for who in admin kcm scheduler kube-proxy kubelet; do
	kubeconfig $who "https://$NODE_IP:6443" >"/etc/kubernetes/$who.conf"
done
