#!/bin/sh
# Starts the gateway on a server (Linux, macOS, WSL): one worker, on the embedded store unless REDIS_URL is set.
# Settings come from the environment and from .env in this folder; relative paths in them are relative to this folder.
# Exit codes are those of the gateway: 0 after a clean drain, 2 for wrong arguments, 78 for invalid settings, 1 for everything else.
#
# Output before the gateway runs goes to stderr: stdout is only for the gateway's log.
#
# For start_production_advanced.sh: --prepare does everything but the start, --workers-as-set does not change WORKERS.

set -u
CDPATH='' cd -- "$(dirname -- "$0")" || exit 1

say () { printf '%s\n' "$*" >&2; }
fail () { say "$*"; exit 1; }

case $#:${1-} in
  0: | 1:--prepare | 1:--workers-as-set) ;;
  *)
    say 'start_production.sh takes no arguments; settings come from the environment and from .env (see .env.example).'
    exit 2
esac

command -v node >/dev/null 2>&1 || fail 'Signalbox needs Node.js 20.19 or newer; there is no node in the PATH.'
version=$(node --version)
number=${version#v}
major=${number%%.*}
minor=${number#*.}
minor=${minor%%.*}
# A version that is not a number fails this test too, and is shown below.
if ! { [ "$major" -gt 20 ] || { [ "$major" -eq 20 ] && [ "$minor" -ge 19 ]; }; } 2>/dev/null; then
  fail "Signalbox needs Node.js 20.19 or newer; this is ${number:-one that does not run}."
fi

# npm writes the first of these last, when everything is installed; tsc the second, when everything is built.
installed=node_modules/.package-lock.json
built=dist/tsconfig.tsbuildinfo

npm_or_fail () {
  command -v npm >/dev/null 2>&1 || fail 'There is no npm in the PATH; it is part of Node.js, and is needed to install and build.'
  # tsc writes its output even if it finds errors: without this the next start would run it.
  npm "$@" >&2 || { rm -f "$built"; fail "npm $* failed, see above; nothing was started."; }
}

is_built () {
  # The files that tsconfig.json includes, and tsconfig.json.
  [ -e dist/launcher.js ] && [ -e "$built" ] &&
    [ -z "$(find launcher.ts config src profiles tsconfig.json \( -name '*.ts' -o -name tsconfig.json \) -newer "$built")" ]
}

# The build needs typescript, a devDependency, which npm leaves out if NODE_ENV=production or omit=dev is set.
if [ ! -e "$installed" ] || [ -n "$(find package-lock.json -newer "$installed")" ]; then
  say 'Installing the packages of package-lock.json.'
  npm_or_fail ci --include=dev
fi
if ! is_built; then
  say 'Building.'
  # tsc does not rebuild files deleted from dist while this file says that everything is built.
  [ -e dist/launcher.js ] || rm -f "$built"
  # `npm prune --omit=dev` removed the compiler, and then the sources changed.
  [ -e node_modules/typescript ] || npm_or_fail ci --include=dev
  npm_or_fail run build
fi

case ${1-} in
  --prepare) exit 0 ;;
  --workers-as-set) ;;
  *)
    say 'One worker (WORKERS=1, set by start_production.sh; start_production_advanced.sh runs several).'
    export WORKERS=1
esac

say 'The settings in effect:'
say
node --enable-source-maps dist/launcher.js check >&2 || exit

# Replaces this shell: signals reach the gateway itself, and its exit code is that of this script.
exec node --enable-source-maps dist/launcher.js
