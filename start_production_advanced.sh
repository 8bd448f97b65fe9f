#!/bin/sh
# Starts several workers that share a Redis (Linux, macOS, WSL). Needs REDIS_URL. WORKERS is their number; if it is not set,
# one per core, at least 2. Both may be set in the environment or in .env in this folder.
# Everything else is done by start_production.sh.

set -u
CDPATH='' cd -- "$(dirname -- "$0")" || exit 1

if [ $# -gt 0 ]; then
  echo 'start_production_advanced.sh takes no arguments; settings come from the environment and from .env (see .env.example).' >&2
  exit 2
fi

sh ./start_production.sh --prepare || exit

# .env has its own quoting rules, and the environment overrides it: the gateway itself lists the effective settings.
check () {
  listing=$("$@" --enable-source-maps dist/launcher.js check 2>&1) || {
    code=$?
    printf '%s\n' "$listing" >&2
    exit "$code"
  }
}
# Each line of the listing has a name, a value and, last, its source: `default` if it is not set.
is_set () {
  case $(printf '%s\n' "$listing" | awk -v name="$1" '$1 == name { print $NF }') in
    '' | default) return 1
  esac
}

# WORKERS=1 for this check: more of them without REDIS_URL would be refused before anything is listed.
check env WORKERS=1 node
if ! is_set REDIS_URL; then
  echo 'start_production_advanced.sh runs several workers, which need a Redis to share: set REDIS_URL in the environment or in .env, for example REDIS_URL=redis://127.0.0.1:6379 (one worker needs none: start_production.sh).' >&2
  exit 78
fi

check node
if ! is_set WORKERS; then
  # Node has this on every system, and counts only the cores that this process may use.
  WORKERS=$(node -p 'Math.max(2, os.availableParallelism())') || exit 1
  export WORKERS
  echo "$WORKERS workers: WORKERS is not set: one per core, at least 2." >&2
fi

exec sh ./start_production.sh --workers-as-set
