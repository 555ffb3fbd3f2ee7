#!/bin/bash
# Configuration files of a node: container network, containerd, kubelet, kube-proxy.
set -eu
. /usr/local/lib/lab/env

mkdir -p /etc/cni/net.d /etc/containerd/conf.d /etc/kubernetes /var/log/lab /etc/kubernetes/manifests

cat >/etc/hosts <<X
127.0.0.1 localhost
$NODE_IP $NODE
X
# No name server here; with an empty file programs in pods fail at once instead
# of waiting for one that does not answer.
echo '# no DNS in the lab' >/etc/resolv.conf

# Pods keep their own address on the way to the other cluster (no masquerading):
# with Liqo's networking off, that is what makes a pod reachable at status.podIP.
cat >/etc/cni/net.d/10-pods.conflist <<X
{
  "cniVersion": "1.0.0",
  "name": "pods",
  "plugins": [
    {
      "type": "bridge",
      "bridge": "cni0",
      "isGateway": true,
      "ipMasq": false,
      "hairpinMode": true,
      "ipam": {
        "type": "host-local",
        "ranges": [[{"subnet": "$POD_CIDR"}]],
        "routes": [{"dst": "0.0.0.0/0"}]
      }
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
X

# conf.d is left empty: what the product needs there, an operator installs.
# restrict_oom_score_adj: without CAP_SYS_RESOURCE the score cannot be lowered.
systemd_driver=false
[ "$CGROUP_DRIVER" != systemd ] || systemd_driver=true
# Before 2.0 containerd reads no newer syntax than version 2, in which things have other names.
if [[ $(containerd --version) == *" v1."* ]]; then
	cat >/etc/containerd/config.toml <<X
version = 2
imports = ["/etc/containerd/conf.d/*.toml"]

[plugins.'io.containerd.grpc.v1.cri']
  sandbox_image = "localhost/lab/pause:1"
  enable_unprivileged_ports = true
  restrict_oom_score_adj = true
  [plugins.'io.containerd.grpc.v1.cri'.cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/etc/cni/net.d"
  [plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc.options]
      SystemdCgroup = $systemd_driver
X
else
	cat >/etc/containerd/config.toml <<X
version = 3
imports = ["/etc/containerd/conf.d/*.toml"]

[plugins.'io.containerd.cri.v1.images']
  snapshotter = "overlayfs"
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = "localhost/lab/pause:1"

[plugins.'io.containerd.cri.v1.runtime']
  enable_unprivileged_ports = true
  restrict_oom_score_adj = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["/usr/lib/cni"]
    conf_dir = "/etc/cni/net.d"
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      SystemdCgroup = $systemd_driver
X
fi

# The machine shares the host's disk and memory: kubelet must not evict because
# of what else lies there.
cat >/etc/kubernetes/kubelet.yaml <<X
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failSwapOn: false
failCgroupV1: false
cgroupDriver: $CGROUP_DRIVER
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: /etc/kubernetes/pki/ca.crt}
authorization: {mode: Webhook}
tlsCertFile: /etc/kubernetes/pki/kubelet.crt
tlsPrivateKeyFile: /etc/kubernetes/pki/kubelet.key
clusterDomain: cluster.local
resolvConf: /etc/resolv.conf
evictionHard:
  memory.available: 1Mi
  nodefs.available: 0%
  nodefs.inodesFree: 0%
  imagefs.available: 0%
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
localStorageCapacityIsolation: false
makeIPTablesUtilChains: false
X

cat >/etc/kubernetes/kube-proxy.yaml <<X
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {kubeconfig: /etc/kubernetes/kube-proxy.conf}
clusterCIDR: $POD_CIDR
# these are settings of the whole host, not of the machine: hands off
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
X
