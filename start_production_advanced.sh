#!/bin/sh
# Starts several workers that share a Redis (Linux, macOS, WSL). Needs REDIS_URL. WORKERS says how many; where it is
# not set there is one for each core, and at least 2. Both from the environment or from .env in this folder.
# All the rest is as in start_production.sh, which does it.

set -u
CDPATH='' cd -- "$(dirname -- "$0")" || exit 1

sh ./start_production.sh --prepare || exit

# .env has its own rules of quoting, and the environment goes before it: the gateway is asked what it reads there.
check () {
  listing=$("$@" --enable-source-maps dist/launcher.js --check 2>&1) || {
    code=$?
    printf '%s\n' "$listing" >&2
    exit "$code"
  }
}
# Each line of the listing is a name, a value and, last, where that comes from: `default` where it is not set.
is_set () {
  case $(printf '%s\n' "$listing" | awk -v name="$1" '$1 == name { print $NF }') in
    '' | default) return 1
  esac
}

# With 1, because more without REDIS_URL is refused before anything is listed.
check env WORKERS=1 node
if ! is_set REDIS_URL; then
  echo 'start_production_advanced.sh runs several workers, which need a Redis to share: set REDIS_URL in the environment or in .env, for example REDIS_URL=redis://127.0.0.1:6379 (one worker needs none: start_production.sh).' >&2
  exit 78
fi

check node
if ! is_set WORKERS; then
  # Node knows on every system, and counts only the cores this process may use.
  WORKERS=$(node -p 'Math.max(2, os.availableParallelism())') || exit 1
  export WORKERS
  echo "$WORKERS workers: WORKERS is not set, so there is one for each core, and at least 2." >&2
fi

exec sh ./start_production.sh --workers-as-set
