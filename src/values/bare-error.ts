/*
 * Limits what a foreign error may contribute as the `cause` of ours, because a logger prints the cause. Node's HTTP
 * parser puts the whole packet into its error. Clients of engines add the command with its password, cloud libraries
 * add the request with its token, and JSON.parse adds its input.
 */

/** The codes of Node's own messages, which name a step, a code and an address or a path, and never quote data. */
const SPEAKS_OF_NO_DATA =
  /^(E[A-Z0-9]+|HPE_\w+|CERT_\w+|DEPTH_ZERO_\w+|SELF_SIGNED_\w+|UNABLE_TO_\w+|ERR_(TLS|SSL|SOCKET|STREAM|DLOPEN)_\w+)$/;

const LONGEST_MESSAGE = 300;

/** Makes a new error with the name, code and stack of the given one, and with its message if Node wrote it. */
export function bareError(thrown: unknown): Error {
  if (!(thrown instanceof Error)) return named(new Error('What was thrown is no error.'), typeof thrown);
  // Node tried several addresses; the first error gives the reason.
  const [first] = thrown instanceof AggregateError ? (thrown.errors as unknown[]) : [];
  const source = thrown.message === '' && first instanceof Error ? first : thrown;
  const code = word('code' in source ? source.code : undefined, /^[A-Z0-9][A-Z0-9_]{0,49}$/);
  const bare = named(
    new Error(messageOf(source, code)),
    word(source.name, /^[A-Z][A-Za-z]{0,49}$/) ?? 'Error',
  );
  if (code !== undefined) Object.assign(bare, { code });
  bare.stack = [String(bare), ...framesOf(thrown)].join('\n');
  return bare;
}

function messageOf({ message }: Error, code: string | undefined): string {
  if (code === undefined || !SPEAKS_OF_NO_DATA.test(code)) return code ?? 'Its message is not kept.';
  return message.slice(0, LONGEST_MESSAGE).replace(/[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]/gu, ' ');
}

/** Returns the text if it has the form of a name or a code; other text may contain anything. */
function word(value: unknown, form: RegExp): string | undefined {
  return typeof value === 'string' && form.test(value) ? value : undefined;
}

function named(error: Error, name: string): Error {
  Object.defineProperty(error, 'name', { value: name, configurable: true, writable: true });
  return error;
}

/** The stack frames: the lines after the message, which may have several lines of its own. */
function framesOf({ stack = '', message }: Error): string[] {
  const end = stack.indexOf(message);
  const frames = end === -1 ? '' : stack.slice(end + message.length);
  return frames.split('\n').filter((line) => /^\s+at /.test(line));
}
