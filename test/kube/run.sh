#!/usr/bin/env bash
# Applies deploy/k8s to a real Kubernetes and runs one job over three agent pods, while one of them is deleted and
# another one's node is drained: every item ends once, in order, and nothing is struck.
#
#   test/kube/run.sh            brings up a one-node cluster with ../shared/ci-kube.sh, and takes it down again
#   KUBECONFIG=... test/kube/run.sh    uses that cluster; images must be where its nodes find them
#
# Needs a Docker engine for the images. CI runs it with EVERYCORE_KUBE=1.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
readonly script=${CI_KUBE:-../shared/ci-kube.sh}
readonly items=900
work=$(mktemp -d)
forward=
own=
reached=

say() { printf '\n--- %s\n' "$*"; }
kube() { if [ -n "$own" ]; then "$script" kubectl "$@"; else kubectl "$@"; fi; }
everycore() { node packages/cli/bin/everycore.js "$@"; }

finish() {
  local code=$?
  [ -z "$forward" ] || kill "$forward" 2>/dev/null || true
  if [ -n "$reached" ]; then
    [ "$code" = 0 ] || kube -n everycore get pods -o wide || true
    [ "$code" = 0 ] || kube -n everycore logs deployment/everycore-coordinator --tail 20 || true
    kube delete namespace everycore --wait=false >/dev/null 2>&1 || true
  fi
  [ -z "$own" ] || "$script" down >/dev/null 2>&1 || true
  rm -rf "$work"
  exit "$code"
}
trap finish EXIT

say images
for role in coordinator agent; do
  DOCKER_BUILDKIT=0 docker build -q -f "deploy/docker/$role.Dockerfile" -t "everycore/$role:0.1.0" .
done

if [ -z "${KUBECONFIG:-}" ]; then
  own=yes
  say cluster
  "$script" build
  "$script" up
  "$script" load everycore/coordinator:0.1.0 everycore/agent:0.1.0 nats:2-alpine
fi

reached=yes
say apply
(umask 077 && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$work/secret")
kube apply -f deploy/k8s/namespace.yaml
kube -n everycore create secret generic everycore --from-file=secret="$work/secret" --dry-run=client -o yaml | kube apply -f -
kube apply -k test/kube
kube -n everycore rollout status statefulset/everycore-nats --timeout=180s
kube -n everycore rollout status deployment/everycore-coordinator --timeout=180s
kube -n everycore rollout status deployment/everycore-agent --timeout=180s
kube -n everycore get pods

say "a job, while one pod is deleted and another node is drained"
kube -n everycore port-forward service/everycore-coordinator :7070 >"$work/forward" 2>&1 &
forward=$!
for _ in $(seq 100); do
  port=$(sed -n 's/^Forwarding from 127.0.0.1:\([0-9]*\) .*/\1/p' "$work/forward")
  [ -z "$port" ] || break
  sleep 0.1
done
[ -n "$port" ] || { cat "$work/forward"; exit 1; }
export EVERYCORE_ADDRESS=127.0.0.1:$port EVERYCORE_SECRET_FILE=$work/secret
everycore node list
cat >"$work/task.ts" <<'TASK'
/** 60 ms of work, and where it was done. */
export default function work(n: number): { n: number; pod: string } {
  const end = performance.now() + 60;
  while (performance.now() < end);
  return { n, pod: process.env["HOSTNAME"] ?? "" };
}
TASK
job=$(everycore map "$work/task.ts" --range "1-$items" --detach)
everycore job results "$job" >"$work/results" &
reader=$!
half() { [ "$(wc -l <"$work/results")" -ge $((items / 4)) ]; }
for _ in $(seq 600); do half && break; sleep 0.1; done
half || { echo "no quarter of the results within a minute"; exit 1; }
mapfile -t pods < <(kube -n everycore get pods -l app.kubernetes.io/name=everycore-agent -o name)
kube -n everycore delete "${pods[0]}" --wait=false
everycore node drain "${pods[1]#pod/}"
wait "$reader"
everycore job get "$job"
everycore job audit "$job"
everycore node list
kube -n everycore get pods

say checks
# shellcheck disable=SC2016  # JavaScript, not shell
node -e '
const lines = require("node:fs").readFileSync(process.argv[1], "utf8").trim().split("\n").map(JSON.parse);
const items = Number(process.argv[2]);
const wrong = lines.findIndex((line, at) => line.index !== at || line.value?.n !== at + 1);
if (lines.length !== items || wrong >= 0) throw new Error(`${lines.length} results of ${items}, wrong at ${wrong}`);
const pods = new Map();
for (const { value } of lines) pods.set(value.pod, (pods.get(value.pod) ?? 0) + 1);
if (pods.size < 3) throw new Error("fewer than three pods had a share");
for (const [pod, count] of pods) console.log(pod, count);
' "$work/results" "$items"
everycore job audit "$job" -o json | node -e '
const audit = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
if (!audit.closed || audit.strikes !== 0 || audit.duplicate !== 0) throw new Error(JSON.stringify(audit));
'
echo "kubernetes: every item once, nothing struck"
