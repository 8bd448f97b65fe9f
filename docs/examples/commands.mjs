// Your own commands: COMMANDS_MODULE=docs/examples/commands.mjs npm start
//
//   curl -X POST http://127.0.0.1:3000/api/control -H 'Content-Type: application/json' \
//     -d '{"command": "set-light", "args": {"signal": "N7", "colour": "green"}}'

export default {
  'set-light': {
    // One sentence, shown by GET /api/control and the dashboard.
    description: 'Sets a signal to red, yellow or green.',
    // A JSON Schema for `args`. Invalid arguments are refused before the handler is called.
    schema: {
      type: 'object',
      required: ['signal', 'colour'],
      additionalProperties: false,
      properties: {
        signal: { type: 'string', maxLength: 20 },
        colour: { enum: ['red', 'yellow', 'green'] }
      }
    },
    // The return value is the result. An error makes the command `failed`, with the error's message.
    // The second argument has the command's id, `identity` (who runs it: subject, grants), and `publish` for events: with
    // `publish(events, identity)` it publishes only where the caller may.
    async handler ({ signal, colour }, { id, publish }) {
      await publish([{ type: 'light', room: 'plant-1', key: signal, data: { colour, by: id } }])
      return { signal, colour }
    }
  }
}
