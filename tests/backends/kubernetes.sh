#!/bin/bash
# A Kubernetes cluster of the tests' own, of one node, real and on loopback: etcd, API server, controller manager,
# scheduler and kubelet, with its containers in the daemon of docker.sh.
#
#     kubernetes.sh start       the cluster; $K8SLAB/kubeconfig is how to get in
#     kubernetes.sh smoke       a command in a pod, a job
#     kubernetes.sh restart     ends the API server and starts another one
#     kubernetes.sh stop        ends everything, and removes the directory
#
# K8SLAB names the directory (made, and removed by stop), K8SLAB_ADDRESS a loopback address that nothing else uses.
# The programs of Kubernetes 1.20 (the last version whose kubelet speaks to a plain dockerd) are in no package: they come
# from WARMSHELL_K8S_BINARIES, a directory or an archive of them, or from shared/backends beside or above this checkout.
#
# There is no network of pods: they need `hostNetwork: true`, and images are never pulled. Nothing of the machine is
# changed: what kubelet writes into /proc/sys goes into files of the lab, and it makes no control groups of its own.
set -euo pipefail
HERE=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
LAB=${K8SLAB:-${TMPDIR:-/tmp}/warmshell-k8slab}
ADDRESS=${K8SLAB_ADDRESS:-127.0.0.1}
export DOCKERLAB=$LAB/docker KUBECONFIG=$LAB/kubeconfig
export DOCKER_HOST=unix://$DOCKERLAB/docker.sock
PATH=$PATH:/usr/sbin:/sbin

cannot() { echo "kubernetes.sh: $*" >&2; exit 3; }

need() {
    [ "$(uname -s)" = Linux ] || cannot "this runs on Linux only"
    [ "$(id -u)" = 0 ] || cannot "only root can start a kubelet"
    for program in etcd kubectl openssl unshare dockerd docker busybox; do
        command -v "$program" >/dev/null || cannot "there is no $program"
    done
    [ -x "$LAB/bin/kubelet" ] || binaries
}

# The programs, as $LAB/bin.
binaries() {
    local found=${WARMSHELL_K8S_BINARIES:-} place
    for place in "$HERE"/../../../shared "$HERE"/../../../../shared; do
        [ -n "$found" ] || found=$(compgen -G "$place/backends/k8s-bin-*.tar.*" | tail -n 1 || true)
    done
    [ -n "$found" ] || cannot "no programs of Kubernetes: name them in WARMSHELL_K8S_BINARIES"
    mkdir -p "$LAB"
    if [ -d "$found" ]; then ln -sfn "$(readlink -f "$found")" "$LAB/bin"; else
        mkdir -p "$LAB/bin" && tar -C "$LAB/bin" -xf "$found" || cannot "$found cannot be unpacked"
    fi
    for program in kube-apiserver kube-controller-manager kube-scheduler kubelet; do
        [ -x "$LAB/bin/$program" ] || cannot "there is no $program in $found"
    done
}

alive() { [ -s "$LAB/$1.pid" ] && kill -0 "$(cat "$LAB/$1.pid")" 2>/dev/null; }

spawn() {
    local name=$1
    shift
    alive "$name" && return
    # Nothing of the caller's environment: it would be taken for the tests' own.
    env -i PATH="$PATH" DOCKER_HOST="$DOCKER_HOST" setsid "$@" </dev/null >"$LAB/$name.log" 2>&1 &
    echo $! >"$LAB/$name.pid"
}

# until NAME WHAT…: waits for WHAT to succeed while NAME is alive, at most a minute.
until_works() {
    local name=$1
    shift
    for _ in $(seq 600); do
        ! "$@" >/dev/null 2>&1 || return 0
        alive "$name" || break
        sleep 0.1
    done
    cannot "$name does not work: $(tail -n 3 "$LAB/$name.log")"
}

certificates() {
    [ ! -f "$LAB/admin.crt" ] || return 0
    cd "$LAB"
    openssl genrsa -out sa.key 2048 2>/dev/null
    openssl rsa -in sa.key -pubout -out sa.pub 2>/dev/null
    openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 30 -subj /CN=warmshell-lab \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
    signed api "/CN=kube-apiserver" "subjectAltName=IP:$ADDRESS,DNS:kubernetes.default.svc"
    signed admin "/O=system:masters/CN=admin" "extendedKeyUsage=clientAuth"
    cat >tokens.csv <<END
admin-token,admin-by-token,1,"system:masters"
nobody-token,nobody,2,"nobodies"
END
}

signed() {
    openssl req -newkey rsa:2048 -nodes -keyout "$1.key" -out "$1.csr" -subj "$2" 2>/dev/null
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -out "$1.crt" -days 30 \
        -extfile <(echo "$3") 2>/dev/null
}

kubeconfigs() {
    local server=https://$ADDRESS:6443
    cat >"$KUBECONFIG" <<END
apiVersion: v1
kind: Config
current-context: lab
clusters:
- {name: lab, cluster: {server: "$server", certificate-authority: ca.crt}}
- {name: unchecked, cluster: {server: "$server", insecure-skip-tls-verify: true}}
users:
- {name: admin, user: {client-certificate: admin.crt, client-key: admin.key}}
- {name: token, user: {token: admin-token}}
- {name: nobody, user: {token: nobody-token}}
- {name: expired, user: {token: expired-token}}
contexts:
- {name: lab, context: {cluster: lab, user: admin}}
- {name: token, context: {cluster: unchecked, user: token, namespace: default}}
- {name: nobody, context: {cluster: lab, user: nobody}}
- {name: expired, context: {cluster: lab, user: expired}}
END
}

apiserver() {
    spawn apiserver "$LAB/bin/kube-apiserver" --etcd-servers="http://$ADDRESS:2379" --bind-address="$ADDRESS" \
        --secure-port=6443 --insecure-port=0 --cert-dir="$LAB/certs" --tls-cert-file="$LAB/api.crt" \
        --tls-private-key-file="$LAB/api.key" --client-ca-file="$LAB/ca.crt" --token-auth-file="$LAB/tokens.csv" \
        --service-cluster-ip-range=10.96.0.0/16 --service-account-issuer=https://kubernetes.default.svc \
        --service-account-signing-key-file="$LAB/sa.key" --service-account-key-file="$LAB/sa.pub" \
        --authorization-mode=RBAC --disable-admission-plugins=ServiceAccount --endpoint-reconciler-type=none \
        --kubelet-preferred-address-types=Hostname --anonymous-auth=true
}

controllers() {
    spawn controllers "$LAB/bin/kube-controller-manager" --kubeconfig="$KUBECONFIG" --leader-elect=false --port=0 \
        --secure-port=0 --service-account-private-key-file="$LAB/sa.key" --cert-dir="$LAB/certs" \
        --concurrent-gc-syncs=2 --kube-api-qps=100 --kube-api-burst=100
    spawn scheduler "$LAB/bin/kube-scheduler" --kubeconfig="$KUBECONFIG" --leader-elect=false --port=0 --secure-port=0 \
        --cert-dir="$LAB/certs"
}

kubelet() {
    local sysctl hidden=
    mkdir -p "$LAB/sysctl"
    for sysctl in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys \
        kernel/keys/root_maxbytes; do
        [ -e "/proc/sys/$sysctl" ] || continue
        cat "/proc/sys/$sysctl" >"$LAB/sysctl/${sysctl//\//.}"
        hidden+="mount --bind '$LAB/sysctl/${sysctl//\//.}' /proc/sys/$sysctl; "
    done
    # The node has the address as its name, and so the API server finds it there.
    spawn kubelet unshare --mount --propagation private sh -ec "$hidden"'exec "$@"' sh "$LAB/bin/kubelet" \
        --kubeconfig="$KUBECONFIG" --hostname-override="$ADDRESS" --address="$ADDRESS" --port=10250 --read-only-port=0 \
        --healthz-port=0 --root-dir="$LAB/kubelet" --cert-dir="$LAB/certs" --container-runtime=docker \
        --docker-endpoint="$DOCKER_HOST" --pod-infra-container-image=warm/pause:1 --image-gc-high-threshold=100 \
        --cgroup-driver="$(docker info --format '{{.CgroupDriver}}')" --cgroups-per-qos=false \
        --enforce-node-allocatable= --kubelet-cgroups= --runtime-cgroups= --fail-swap-on=false --oom-score-adj=0 \
        --anonymous-auth=true --authorization-mode=AlwaysAllow --eviction-hard= --cluster-dns= --resolv-conf= \
        --sync-frequency=2s --make-iptables-util-chains=false --max-pods=200 --node-status-update-frequency=2s \
        --kube-api-qps=50 --kube-api-burst=50 --serialize-image-pulls=false
}

pause_image() {
    docker image inspect warm/pause:1 >/dev/null 2>&1 && return
    local id
    id=$(docker create --network none warm/busybox:1)
    docker commit -c 'CMD ["sh", "-c", "trap \"exit 0\" TERM INT; while :; do sleep 3600 & wait $!; done"]' \
        "$id" warm/pause:1 >/dev/null
    docker rm "$id" >/dev/null
}

ready() { kubectl get node "$ADDRESS" | grep -qw Ready; }

start() {
    need
    mkdir -p "$LAB"
    "$HERE/docker.sh" start >"$LAB/docker.said" 2>&1 &
    local docker=$!
    certificates
    kubeconfigs
    spawn etcd etcd --name lab --data-dir "$LAB/etcd" --listen-client-urls "http://$ADDRESS:2379" \
        --advertise-client-urls "http://$ADDRESS:2379" --listen-peer-urls "http://$ADDRESS:2380" \
        --initial-advertise-peer-urls "http://$ADDRESS:2380" --initial-cluster "lab=http://$ADDRESS:2380" \
        --unsafe-no-fsync --log-level=error
    apiserver
    wait "$docker" || cannot "$(cat "$LAB/docker.said")"
    pause_image
    until_works apiserver kubectl get --raw /readyz
    controllers
    kubelet
    until_works kubelet ready
}

restart() {
    kill -9 "$(cat "$LAB/apiserver.pid")"
    for _ in $(seq 100); do
        alive apiserver || break
        sleep 0.05
    done
    apiserver
    until_works apiserver kubectl get --raw /readyz
}

smoke() {
    kubectl get nodes -o wide
    kubectl apply -f - <<'END'
apiVersion: v1
kind: Pod
metadata: {name: smoke}
spec:
  hostNetwork: true
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: "warm/busybox:1", imagePullPolicy: Never, command: [sleep, "3600"]}]
---
apiVersion: batch/v1
kind: Job
metadata: {name: smoke}
spec:
  backoffLimit: 0
  template:
    spec:
      hostNetwork: true
      automountServiceAccountToken: false
      restartPolicy: Never
      containers: [{name: c, image: "warm/busybox:1", imagePullPolicy: Never, command: [echo, the job says hi]}]
END
    kubectl wait --for=condition=Ready pod/smoke --timeout=60s
    echo hi | kubectl exec -i smoke -- sh -c 'cat; echo "in $(hostname)"; exit 7' || echo "status $?"
    kubectl wait --for=condition=Complete job/smoke --timeout=60s
    kubectl logs job/smoke
    kubectl delete pod,job smoke
}

stop() {
    local name
    # There is nothing that any of them would have to keep.
    for name in kubelet scheduler controllers apiserver etcd; do
        ! alive "$name" || kill -9 "$(cat "$LAB/$name.pid")" 2>/dev/null || true
    done
    [ ! -S "$DOCKERLAB/docker.sock" ] || docker ps --all --quiet | xargs -r docker rm --force >/dev/null 2>&1 || true
    "$HERE/docker.sh" stop
    rm -rf "$LAB"
}

"$@"
