// Commands of one's own: COMMANDS_MODULE=docs/examples/commands.mjs npm start
//
//   curl -X POST http://127.0.0.1:3000/api/control -H 'Content-Type: application/json' \
//     -d '{"command": "set-light", "args": {"signal": "N7", "colour": "green"}}'

export default {
  'set-light': {
    // One sentence for GET /api/control and whoever reads it.
    description: 'Sets a signal to red, yellow or green.',
    // A JSON Schema for `args`. What does not fit is refused before the handler is called.
    schema: {
      type: 'object',
      required: ['signal', 'colour'],
      additionalProperties: false,
      properties: {
        signal: { type: 'string', maxLength: 20 },
        colour: { enum: ['red', 'yellow', 'green'] }
      }
    },
    // What it returns is the result; what it throws makes the command `failed`, with the error's message.
    // `context` brings the command's id, its caller, and `publish` for events of its own.
    async handler ({ signal, colour }, { id, publish }) {
      await publish([{ type: 'light', room: 'plant-1', key: signal, data: { colour, by: id } }])
      return { signal, colour }
    }
  }
}
