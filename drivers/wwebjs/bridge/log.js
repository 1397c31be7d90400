/** The ordinary log: JSON lines on stderr, without phones, texts or the words of an exception. */
export function log(event, fields = {}) {
  const line = { at: new Date().toISOString(), event, ...fields };
  process.stderr.write(`${JSON.stringify(line)}\n`);
}

/** The name of an error; its words may quote what must not be logged. */
export function nameOf(error) {
  return error instanceof Error ? (error.code ?? error.constructor.name) : typeof error;
}
