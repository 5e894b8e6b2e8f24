import { withDisplayUrls } from '../../display-url.ts';
import { HoldfastError, type HoldfastErrorCode, RecordDamagedError } from '../../errors.ts';
import { isPrintable, printable, printableJson, printableLines } from '../../quote.ts';

/*
 * The rules of output. All that Holdfast writes to stdout and stderr goes through this class. A test forbids the rest
 * of `cli/` to write to them.
 * - Every line is escaped here, from any source. This covers all unprintable text: controls but line feeds, format and
 *   bidi characters, lone surrogates. The escape is `\u{1b}` in text and `\u001b` in JSON. Styles are added after that.
 *   So `quote()` in a message is only for looks, and keeps text on one line.
 * - Data that a program takes byte for byte is checked, not escaped: `dataLine` writes a token or a header unchanged or
 *   not at all; `dataExact` is for Holdfast's own output.
 * - URLs can be secrets (a key in the path or the query), so notes, warnings, errors and logs show them shortened
 *   (`displayUrl`). Tables shorten them cell by cell. Whole URLs appear only if a user must open them (`say`,
 *   `showUrl`), and as `resource` in JSON data, which programs need.
 * - Only data goes to stdout: `holdfast token URL | …` must always be safe.
 * - Everything else goes to stderr: notes, progress, warnings, errors. `--quiet` leaves the errors, and the text that a
 *   user needs to go on.
 * - Errors say what happened and why on one line, and what to do next on the second.
 * - With `--json` stderr is JSON too, one object a line: `{"error": …}`, `{"warning": …}`, `{"authorize": …}`; notes
 *   and progress are left out.
 * - With `--log json`, on long-running commands, all of stderr is a log: one object a line, each with `time` and
 *   `level`.
 * - Colours only on a terminal, and never with NO_COLOR or TERM=dumb.
 * - No stack traces unless HOLDFAST_DEBUG is set.
 * - Only `token`, `headers` and `export --reveal` print a token.
 * - The one other writer is `proxy`: it owns stdout while it runs, and writes the MCP protocol there.
 */

/** The part of a stream that writing needs. */
export interface Output {
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
  write(text: string, done?: (error?: Error | null) => void): unknown;
  once?(event: 'error', listener: (error: Error) => void): unknown;
  off?(event: 'error', listener: (error: Error) => void): unknown;
}

export interface UiOptions {
  /** Called at the first write: Node needs milliseconds to open each stream. */
  readonly stdout: () => Output;
  readonly stderr: () => Output;
  readonly json: boolean;
  readonly quiet: boolean;
  /** Every line on stderr is a log line. */
  readonly log?: boolean | undefined;
  readonly variables: Readonly<Record<string, string | undefined>>;
}

const STYLES = { bold: [1, 22], dim: [2, 22], red: [31, 39], green: [32, 39], yellow: [33, 39] } as const;

export class Ui {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly #options: UiOptions;
  /** Stands for a style until its line has been escaped. Random, so that no foreign text can contain it. */
  #mark: string | undefined;

  constructor(options: UiOptions) {
    this.json = options.json;
    this.quiet = options.quiet;
    this.#options = options;
  }

  /** The answer, as text for the user. */
  data(text: string): void {
    this.dataExact(this.#printable(text));
  }

  /** The answer, as JSON. */
  dataJson(value: unknown): void {
    this.dataExact(printableJson(JSON.stringify(value, null, 2)));
  }

  /**
   * The answer that a program takes unchanged: one line of printable text.
   *
   * @throws RecordDamagedError, and writes nothing, if the text is not printable
   */
  dataLine(text: string): void {
    checkPrintable(text);
    this.dataExact(text);
  }

  /** The answer byte for byte: Holdfast's own text, such as a script. */
  dataExact(text: string): void {
    this.#options.stdout().write(`${text}\n`);
  }

  /**
   * As `dataLine`, for lines that must not be lost: resolves when the reader has taken them.
   *
   * @throws RecordDamagedError, and writes nothing, if a line is not printable
   */
  async dataTaken(text: string): Promise<void> {
    for (const line of text.split('\n')) checkPrintable(line);
    const stdout = this.#options.stdout();
    await new Promise<void>((done, failed) => {
      stdout.once?.('error', failed);
      stdout.write(`${text}\n`, (error) => {
        if (error) return;
        stdout.off?.('error', failed);
        done();
      });
    });
  }

  /** A note for the user. `fields` appear only in logs. */
  note(text: string, fields: LogFields = {}): void {
    this.#note(withDisplayUrls(text), fields);
  }

  /** As `note`, with a whole URL for the user to open. */
  showUrl(text: string): void {
    this.#note(text, {});
  }

  /** Text that the user needs to go on (with `--json`, the program), even with `--quiet`. URLs stay whole. */
  say(text: string, json: Readonly<Record<string, unknown>>): void {
    if (this.#options.log === true) this.#log('info', { ...json, message: text });
    else if (this.json) this.#jsonToStderr(json);
    else this.#toStderr(text);
  }

  /** Reports the start of a step that may take a while. */
  progress(text: string): void {
    this.note(this.#options.log === true ? text : this.style('dim', `${text} …`));
  }

  warn(text: string, advice?: string, fields: LogFields = {}): void {
    if (this.quiet) return;
    const message = withDisplayUrls(text);
    const hint = advice && withDisplayUrls(advice);
    if (this.#options.log === true) this.#log('warning', { ...fields, message, hint });
    else if (this.json) this.#jsonToStderr({ warning: { message, hint } });
    else this.#toStderr(`${this.style('yellow', 'warning:')} ${printable(message)}${indented(hint)}`);
  }

  error(error: unknown): void {
    this.fail(describe(error), this.#options.variables['HOLDFAST_DEBUG'] ? stackOf(error) : undefined);
  }

  /** As `error`, for a failure without a thrown error. */
  fail(failure: Failure, trace?: string): void {
    const message = withDisplayUrls(failure.message);
    const hint = failure.hint && withDisplayUrls(failure.hint);
    const stack = trace && withDisplayUrls(trace);
    const told = { ...failure, message, hint, stack };
    if (this.#options.log === true) this.#log('error', told);
    else if (this.json) this.#jsonToStderr({ error: told });
    else {
      this.#toStderr(
        `${this.style('red', 'error:')} ${printable(message)}${indented(hint)}${stack === undefined ? '' : `\n${stack}`}`,
      );
    }
  }

  /** Text in a style, for a line that this object writes. */
  style(style: keyof typeof STYLES, text: string, stream: 'stdout' | 'stderr' = 'stderr'): string {
    const { variables } = this.#options;
    const [on, off] = STYLES[style];
    const coloured =
      this.#options[stream]().isTTY === true && !variables['NO_COLOR'] && variables['TERM'] !== 'dumb';
    if (!coloured) return text;
    this.#mark ??= crypto.randomUUID();
    return `${this.#mark}${on}m${text}${this.#mark}${off}m`;
  }

  /** Number of characters in a line of stdout; `undefined` if it is not a terminal. */
  get columns(): number | undefined {
    const stdout = this.#options.stdout();
    return stdout.isTTY === true ? stdout.columns : undefined;
  }

  /** Tells whether a user sees the answer. */
  get isTerminal(): boolean {
    return this.#options.stdout().isTTY === true;
  }

  #note(text: string, fields: LogFields): void {
    if (this.quiet) return;
    if (this.#options.log === true) this.#log('info', { ...fields, message: text });
    else if (!this.json) this.#toStderr(text);
  }

  #log(level: 'info' | 'warning' | 'error', fields: LogFields): void {
    this.#jsonToStderr({ time: new Date().toISOString(), level, ...fields });
  }

  #jsonToStderr(value: object): void {
    this.#write(printableJson(JSON.stringify(value)));
  }

  #toStderr(text: string): void {
    this.#write(this.#printable(text));
  }

  #write(text: string): void {
    this.#options.stderr().write(`${text}\n`);
  }

  /** The text without terminal controls, and with the styles in place of their marks. */
  #printable(text: string): string {
    if (this.#mark === undefined) return printableLines(text);
    const [first = '', ...rest] = text.split(this.#mark);
    return [
      printableLines(first),
      ...rest.map(
        (part) =>
          `\u001b[${part.slice(0, part.indexOf('m') + 1)}${printableLines(part.slice(part.indexOf('m') + 1))}`,
      ),
    ].join('');
  }
}

/** A log line's fields beside its message: never a secret. */
export type LogFields = Readonly<Record<string, unknown>>;

export interface Failure {
  readonly code: HoldfastErrorCode | 'unexpected';
  readonly message: string;
  readonly hint: string | undefined;
  readonly retryable: boolean;
}

function describe(error: unknown): Failure {
  if (error instanceof HoldfastError) {
    return { code: error.code, message: error.message, hint: error.hint, retryable: error.retryable };
  }
  return {
    code: 'unexpected',
    message: error instanceof Error ? error.message : String(error),
    hint: 'This is a defect of Holdfast. Set HOLDFAST_DEBUG=1 to see where.',
    retryable: false,
  };
}

/** The stack traces of the error and its causes. */
function stackOf(error: unknown): string | undefined {
  const stacks: string[] = [];
  for (let at = error; at instanceof Error && stacks.length < 5; at = at.cause) {
    stacks.push(`${stacks.length === 0 ? '' : 'caused by '}${at.stack ?? at.message}`);
  }
  return stacks.length === 0 ? undefined : stacks.join('\n');
}

function checkPrintable(line: string): void {
  if (isPrintable(line)) return;
  throw new RecordDamagedError(
    'The stored login holds characters that no token or header can have, so nothing was printed.',
    { hint: 'Log in again: holdfast login URL' },
  );
}

/** A command with a shortened URL does not work; it needs the whole URL. */
const SHORTENED_COMMAND = /\bholdfast [a-z]+ '?https?:\/\/[^\s']*…/;

function indented(hint: string | undefined): string {
  if (!hint) return '';
  const shortened = SHORTENED_COMMAND.test(hint)
    ? '\n  Give the whole URL: … hides what may be a key in it.'
    : '';
  return `\n  ${hint}${shortened}`;
}
