#!/bin/sh
# Starts the gateway on a server (Linux, macOS, WSL): one worker, on the embedded store unless REDIS_URL is set.
# Settings come from the environment and from .env in this folder; relative paths in them are relative to this folder.
# Ends as the gateway does: 0 after a clean drain, 78 where the settings are wrong, 1 for everything else.
#
# Whatever is said before the gateway runs goes to stderr: stdout is the gateway's log and nothing else.
#
# For start_production_advanced.sh: --prepare does all but the start, --workers-as-set leaves WORKERS alone.

set -u
CDPATH='' cd -- "$(dirname -- "$0")" || exit 1

say () { printf '%s\n' "$*" >&2; }
fail () { say "$*"; exit 1; }

case $#:${1-} in
  0: | 1:--prepare | 1:--workers-as-set) ;;
  *)
    say 'start_production.sh takes no arguments; settings come from the environment and from .env (see .env.example).'
    exit 78
esac

command -v node >/dev/null 2>&1 || fail 'Signalbox needs Node.js 20.19 or newer; there is no node in the PATH.'
version=$(node --version)
number=${version#v}
major=${number%%.*}
minor=${number#*.}
minor=${minor%%.*}
# What is not a number at all is false here too, and is shown below.
if ! { [ "$major" -gt 20 ] || { [ "$major" -eq 20 ] && [ "$minor" -ge 19 ]; }; } 2>/dev/null; then
  fail "Signalbox needs Node.js 20.19 or newer; this is ${number:-one that does not run}."
fi

# npm writes the first of these last, when everything is installed; tsc the second, when everything is built.
installed=node_modules/.package-lock.json
built=dist/tsconfig.tsbuildinfo

npm_or_fail () {
  command -v npm >/dev/null 2>&1 || fail 'There is no npm in the PATH; it comes with Node.js, and is needed to install and to build.'
  # tsc writes its files even where it finds errors: without this the next start would run them.
  npm "$@" >&2 || { rm -f "$built"; fail "npm $* did not work, see above; nothing was started."; }
}

is_built () {
  # What tsconfig.json includes, and itself.
  [ -e dist/launcher.js ] && [ -e "$built" ] &&
    [ -z "$(find launcher.ts config src profiles tsconfig.json \( -name '*.ts' -o -name tsconfig.json \) -newer "$built")" ]
}

# The build needs typescript, a devDependency, which npm leaves out where NODE_ENV=production or omit=dev is set.
# `npm ci` builds by itself (the script `prepare`), unless npm is told to ignore scripts: hence two questions, not one.
if [ ! -e "$installed" ] || [ -n "$(find package-lock.json -newer "$installed")" ]; then
  say 'Installing what package-lock.json lists.'
  npm_or_fail ci --include=dev
fi
if ! is_built; then
  say 'Building.'
  # tsc does not miss files that were deleted from dist as long as this one says that all is built.
  [ -e dist/launcher.js ] || rm -f "$built"
  # `npm prune --omit=dev` took the compiler away, and then the sources changed.
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
node --enable-source-maps dist/launcher.js --check >&2 || exit

# In place of this shell: signals reach the gateway itself, and its exit code is this script's.
exec node --enable-source-maps dist/launcher.js
