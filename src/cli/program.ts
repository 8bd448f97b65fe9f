// The verbs, their options and their help: one table. What carries a verb out is imported only when it is called, so that
// help comes at once.

import { Command, Option } from 'commander'
import { styleText } from 'node:util'
import type { Gateway, GatewayOptions } from './gateway.ts'
import { paintTalk } from './terminal.ts'
import { eventId, json, jsonObject, names, profile, seconds } from './values.ts'

/** What the starter does, not the command line. */
export interface Starter {
  /** Runs a gateway in this process, or in several. */
  start (demo: boolean): Promise<void>
  /** Prints the settings. @throws if they are wrong */
  check (): Promise<void>
  /** Of the package. */
  readonly version: string
  /** The folder of the package. */
  readonly root: string
}

export interface ProgramOptions extends Starter {
  /** The gateway of a verb, whose work Ctrl-C ends. */
  readonly gatewayFor: (options: GatewayOptions) => Promise<Gateway>
}

// Never a default value: help would print a token of the environment.
const URL_OPTION = new Option('--url <address>', "the gateway's address (default: SIGNALBOX_URL, or http://127.0.0.1:3000)")
const TOKEN_OPTION = new Option('--token <token>', 'the token (default: SIGNALBOX_TOKEN, which other users of this machine cannot see)')

/** What was written behind an unknown option may be a token. */
const VALUE = /(unknown option '--?[\w-]+)=[^\n]*(?=')/

const bold = (text: string): string => styleText('bold', text)

export function programOf ({ start, check, version, root, gatewayFor }: ProgramOptions): Command {
  const program = new Command('signalbox')
    .description('Event gateway over SSE or WebSocket: starts one, and talks to one that runs.')
    .usage('[verb] [options]')
    .version(version, '-v, --version', 'print the version')
    .helpOption('-h, --help', 'show help; of one verb: signalbox <verb> --help')
    .helpCommand(false)
    .commandsGroup('Verbs:')
    .configureHelp({ styleTitle: bold, subcommandTerm: verb => [verb.name(), ...verb.registeredArguments.map(argument => argument.required ? `<${argument.name()}>` : `[${argument.name()}]`)].join(' ') })
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error:/, paintTalk('red', 'error:')).replace(VALUE, '$1')) })
    .showHelpAfterError('(signalbox --help shows what there is)')
    .addHelpText('after', `
Without a verb: start.

${bold('Environment:')}
  SIGNALBOX_URL    the gateway's address, with its path behind a proxy (default: http://127.0.0.1:3000)
  SIGNALBOX_TOKEN  the token, where the gateway asks for one
  Settings of start, check and token come from the environment and from .env; .env.example lists them all.

${bold('Exit codes:')} 0 done, 1 refused or failed, 2 wrong use, 78 wrong settings, 130 Ctrl-C`)

  const verb = (name: string, what: string, examples: readonly string[]): Command => program.command(name)
    .summary(what.split('. ', 1)[0]?.replace(/\.$/, '') as string)
    .description(what)
    .helpOption('-h, --help', 'show this')
    .showHelpAfterError(`(signalbox ${name} --help shows what there is)`)
    .addHelpText('after', `\n${bold('Examples:')}\n${examples.map(example => `  ${example}`).join('\n')}`)
  verb('start', 'Start the gateway, with the settings of the environment and of .env. The default.', [
    'signalbox',
    'signalbox start --demo',
    'APP_PROFILE=WEBSOCKET PORT=8080 signalbox start'
  ]).option('--demo', "publish this machine's own metrics, unless anything is configured")
    // Its name before there were verbs.
    .addOption(new Option('--check', 'the verb check').hideHelp())
    .action(async ({ demo = false, check: checks = false }: { demo?: boolean, check?: boolean }) => { await (checks ? check() : start(demo)) })

  verb('check', 'Print the settings that start would use, and where each comes from. Exits with 78 and all problems if any is wrong.', [
    'signalbox check',
    'APP_PROFILE=WEBSOCKET signalbox check'
  ]).action(check)

  verb('publish', 'Publish NDJSON from a file or a pipe, or one event given by options. Prints the ids.', [
    "signalbox publish --type cpu --room plant-1 --key host-7 --data '{\"percent\": 42}'",
    'signalbox publish --type cpu --room plant-1 --key host-7 --data null      # deletes the key',
    'signalbox publish events.ndjson',
    'my-sensors | signalbox publish -                                          # as the lines come'
  ]).argument('[file]', 'one event per line, as JSON; - is standard input, the default in a pipe')
    .option('--type <type>', 'type of the event')
    .option('--room <room>', 'its room (default: the public feed)')
    .option('--key <key>', 'its key: the newest value of a key counts (default: a fact, which everybody gets)')
    .option('--data <json>', 'its data', json)
    .option('--ttl <time>', 'the value ends after 90 (seconds), 30m, 1h or 7d; with --key only', seconds)
    .option('--idempotency-key <key>', 'what is sent twice under one key is published once (default: a new key)')
    .addOption(URL_OPTION).addOption(TOKEN_OPTION)
    .action(async (file: string | undefined, { url, token, ...event }) => {
      const { publish } = await import('./publish.ts')
      await publish(await gatewayFor({ url, token }), file, event)
    })

  verb('tail', 'Print the present values, then all that follows, until Ctrl-C. Goes on over restarts of the gateway and changes of its profile.', [
    'signalbox tail --rooms plant-1,plant-2',
    'signalbox tail --rooms plant-1 --types cpu --json | jq .data.percent',
    'signalbox tail --since 0-0 --json                                         # all that history holds'
  ]).option('--rooms <names>', 'rooms, with commas between them (default: the public feed)', names)
    .option('--types <names>', 'only these types', names)
    .option('--json', 'one event per line, as JSON')
    .option('--since <cursor>', 'go on behind this cursor, or from the beginning: 0-0')
    .addOption(URL_OPTION).addOption(TOKEN_OPTION)
    .action(async ({ url, token, ...options }) => {
      const { tail } = await import('./tail.ts')
      await tail(await gatewayFor({ url, token }), options)
    })

  verb('get', 'Print the present values of a room: the newest of each key.', [
    'signalbox get plant-1',
    'signalbox get plant-1 --types cpu --json | jq .data',
    'signalbox get @public'
  ]).argument('<room>', 'name of the room; @public is the public feed')
    .option('--types <names>', 'only these types, with commas between them', names)
    .option('--json', 'one event per line, as JSON')
    .addOption(URL_OPTION).addOption(TOKEN_OPTION)
    .action(async (room: string, { url, token, ...options }) => {
      const { get } = await import('./get.ts')
      await get(await gatewayFor({ url, token }), room, options)
    })

  verb('control', 'Run a command and print its result. GET /api/control lists the commands.', [
    'signalbox control ping',
    'signalbox control whoami                                                  # what the token is good for',
    "signalbox control pause '{\"room\": \"plant-1\"}'",
    "signalbox control tune '{\"LOG_LEVEL\": \"debug\"}'"
  ]).argument('<name>', 'name of the command')
    .argument('[json]', 'its arguments, as a JSON object', jsonObject)
    .option('--idempotency-key <key>', 'a command sent twice under one key runs once (default: a new key)')
    .addOption(URL_OPTION).addOption(TOKEN_OPTION)
    .action(async (name: string, args: object | undefined, { url, token, ...options }) => {
      const { control } = await import('./control.ts')
      await control(await gatewayFor({ url, token }), name, args ?? {}, options)
    })

  verb('explain', 'Tell what became of an event at each session: delivered, folded into a newer value, pending, not heard. Ends with 1 if the event is not known.', [
    'signalbox explain 1763770000000-0',
    'signalbox explain 1763770000000-0 --session CVgSlJCcTAt1',
    'signalbox explain --idempotency-key order-7'
  ]).argument('[event]', 'id of the event, as publishing answered it', eventId)
    .option('--idempotency-key <key>', 'the key that you published it with, in place of its id')
    .option('--session <id>', 'only this session; its client has the id from hello')
    .option('--json', 'the whole answer, as JSON')
    .addOption(URL_OPTION).addOption(TOKEN_OPTION)
    .action(async (event: string | undefined, { url, token, ...options }) => {
      const { explain } = await import('./explain.ts')
      await explain(await gatewayFor({ url, token }), event, options)
    })

  verb('switch', 'Change the profile while the gateway runs, in all of its processes. Clients return over the other one and miss nothing.', [
    'signalbox switch WEBSOCKET',
    'signalbox switch SSE --worker 2'
  ]).argument('<profile>', 'SSE or WEBSOCKET', profile)
    .option('--worker <id>', 'only this process: its number, or its name on the dashboard')
    .addOption(URL_OPTION).addOption(TOKEN_OPTION)
    .action(async (profile: string, { url, token, worker }: GatewayOptions & { worker?: string }) => {
      const { control } = await import('./control.ts')
      await control(await gatewayFor({ url, token }), 'switch', { profile, worker }, {})
    })

  verb('token', 'Sign a token with AUTH_JWT_SECRET of the environment, of .env, or of the file that AUTH_JWT_SECRET_FILE names. Prints only the token.', [
    "signalbox token --sub dashboard --subscribe 'plant-*'",
    'signalbox token --sub sensor-7 --publish plant-1 --ttl 30d',
    "export SIGNALBOX_TOKEN=$(signalbox token --sub me --subscribe '*' --control ping,stats)"
  ]).option('--sub <name>', 'whose token it is')
    .option('--subscribe <patterns>', 'rooms it may hear, with commas between them; * stands for any characters, @public for the public feed', names)
    .option('--publish <patterns>', 'rooms it may publish to', names)
    .option('--control <patterns>', 'commands it may run', names)
    .addOption(new Option('--ttl <time>', 'how long it is valid: 90 (seconds), 30m, 1h or 7d').argParser(seconds).default(3600, '1h'))
    .action(async options => { await (await import('./token.ts')).token(options) })

  verb('validate', 'Measure latency, CPU and losses against the targets, here or at a deployed gateway.', [])
    // All options are those of the bench, and so is its help.
    .helpOption(false).allowUnknownOption().allowExcessArguments().argument('[options...]')
    .action(async (options: readonly string[]) => { await (await import('./validate.ts')).validate(root, options) })

  return program
}
