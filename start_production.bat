@echo off
rem Starts the gateway on Windows: one worker, on the embedded store unless REDIS_URL is set.
rem Settings come from the environment and from .env in this folder; relative paths in them are relative to this folder.
rem Exit codes are those of the gateway: 0 after a clean drain, 2 for wrong arguments, 78 for invalid settings, 1 for everything else.
rem
rem Stop it with Ctrl-C. Windows asks "Terminate batch job (Y/N)?" after the gateway has drained: either answer works.
rem Output before the gateway runs goes to stderr: stdout is only for the gateway's log.

setlocal EnableExtensions DisableDelayedExpansion
cd /d "%~dp0"
if not exist package-lock.json (
  >&2 echo start_production.bat must be in the folder of Signalbox, on a drive with a letter.
  exit /b 1
)

if not "%~1"=="" (
  >&2 echo start_production.bat takes no arguments; settings come from the environment and from .env, see .env.example.
  exit /b 2
)

where node >nul 2>nul
if %ERRORLEVEL% neq 0 (
  >&2 echo Signalbox needs Node.js 20.19 or newer; there is no node in the PATH.
  exit /b 1
)
node -e "const [major, minor] = process.versions.node.split('.').map(Number); if (major < 20 || (major === 20 && minor < 19)) { console.error('Signalbox needs Node.js 20.19 or newer; this is ' + process.versions.node + '.'); process.exit(1) }"
if %ERRORLEVEL% neq 0 exit /b 1

rem The build needs typescript, a devDependency, which npm leaves out if NODE_ENV=production or omit=dev is set.
rem npm writes node_modules/.package-lock.json last, when everything is installed; tsc its .tsbuildinfo, when all is built.
rem npm is a batch file itself: without "call" this one would end with it.
node -e "const fs = require('fs'); const at = file => { try { return fs.statSync(file).mtimeMs } catch { return -1 } }; process.exit(at('package-lock.json') > at('node_modules/.package-lock.json') ? 1 : 0)"
if %ERRORLEVEL% equ 0 goto installed
>&2 echo Installing the packages of package-lock.json.
call npm ci --include=dev 1>&2
if %ERRORLEVEL% neq 0 goto failed
:installed

rem The files that tsconfig.json includes, and tsconfig.json.
node -e "const fs = require('fs'); const newest = path => fs.statSync(path).isDirectory() ? Math.max(0, ...fs.readdirSync(path).map(name => newest(path + '/' + name))) : path.endsWith('.ts') || path === 'tsconfig.json' ? fs.statSync(path).mtimeMs : 0; const done = 'dist/tsconfig.tsbuildinfo'; const built = fs.existsSync('dist/launcher.js') && fs.existsSync(done) ? fs.statSync(done).mtimeMs : 0; process.exit(['launcher.ts', 'config', 'src', 'profiles', 'tsconfig.json'].some(path => newest(path) > built) ? 1 : 0)"
if %ERRORLEVEL% equ 0 goto built
>&2 echo Building.
rem tsc does not rebuild files deleted from dist while this file says that everything is built.
if not exist dist\launcher.js if exist dist\tsconfig.tsbuildinfo del /q dist\tsconfig.tsbuildinfo
if exist node_modules\typescript goto compile
rem "npm prune --omit=dev" removed the compiler, and then the sources changed.
call npm ci --include=dev 1>&2
if %ERRORLEVEL% neq 0 goto failed
:compile
call npm run build 1>&2
if %ERRORLEVEL% neq 0 goto failed
:built

set "WORKERS=1"
>&2 echo One worker: WORKERS=1 is set by start_production.bat.
>&2 echo The settings in effect:
>&2 echo.
node --enable-source-maps dist/launcher.js check 1>&2
if %ERRORLEVEL% neq 0 exit /b %ERRORLEVEL%

node --enable-source-maps dist/launcher.js
exit /b %ERRORLEVEL%

:failed
rem tsc writes its output even if it finds errors: without this the next start would run it.
if exist dist\tsconfig.tsbuildinfo del /q dist\tsconfig.tsbuildinfo
>&2 echo npm failed, see above; nothing was started.
exit /b 1
