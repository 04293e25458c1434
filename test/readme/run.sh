#!/usr/bin/env bash
# Runs the commands that README.md shows in its ```console blocks, in order and in one shell, so that they stay true.
# A command in the background (up) is waited for until it answers. Nothing of the user's own folders is touched.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

scratch=$(mktemp -d)
export XDG_STATE_HOME=$scratch/state XDG_RUNTIME_DIR=$scratch/run XDG_CONFIG_HOME=$scratch/config
mkdir -p "$XDG_STATE_HOME" "$XDG_RUNTIME_DIR" "$XDG_CONFIG_HOME"
chmod 700 "$XDG_RUNTIME_DIR"

finish() {
  local code=$?
  # npx does not always hand signals on: the cluster that stays is ended by the id that it wrote down.
  local up=$XDG_RUNTIME_DIR/everycore/up.json pid
  if pid=$(node -p 'JSON.parse(fs.readFileSync(process.argv[1], "utf8")).pid' "$up" 2>/dev/null); then
    kill -TERM "$pid" 2>/dev/null || true
    for _ in $(seq 150); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
  fi
  for job in $(jobs -p); do kill -TERM "$job" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$scratch"
  exit "$code"
}
trap finish EXIT

answers() {
  for _ in $(seq 120); do
    npx everycore status >/dev/null 2>&1 && return 0
    sleep 0.5
  done
  echo "the cluster of the README did not answer within 60 s" >&2
  return 1
}

count=0
while IFS= read -r line; do
  printf '$ %s\n' "$line"
  eval "$line"
  case $line in *'&') answers ;; esac
  count=$((count + 1))
done < <(awk '/^```console/ { on = 1; next } /^```/ { on = 0 } on && /^\$ / { sub(/^\$ /, ""); print }' README.md)

[ "$count" -ge 10 ] || { echo "only $count commands found in README.md" >&2; exit 1; }
echo "$count commands of README.md ran"
