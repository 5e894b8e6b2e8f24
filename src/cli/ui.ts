import { HoldfastError, type HoldfastErrorCode } from '../errors.ts';

/*
 * The rules of output.
 * - Data goes to stdout, and nothing else does: `holdfast token URL | …` must always be safe.
 * - Everything else goes to stderr: notes, progress, warnings, errors. `--quiet` leaves the errors, and what a person must
 *   see to go on.
 * - Errors say what happened and why on one line, and what to do next on the second.
 * - With `--json` stderr is JSON too, one object a line: `{"error": …}`, `{"warning": …}`, `{"authorize": …}`; notes and
 *   progress are left out.
 * - With `--log json`, on commands that run for long, all of stderr is a log: one object a line, each with `time` and `level`.
 * - Colours only on a terminal, and never with NO_COLOR or TERM=dumb.
 * - No stack traces unless HOLDFAST_DEBUG is set.
 * - A token is printed by `token`, `headers` and `export --reveal`, by nothing else.
 */

/** The part of a stream that is needed to write to it. */
export interface Output {
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
  write(text: string): unknown;
}

export interface UiOptions {
  /** Asked for when first written to: Node opens each stream at a cost of milliseconds. */
  readonly stdout: () => Output;
  readonly stderr: () => Output;
  readonly json: boolean;
  readonly quiet: boolean;
  /** Everything on stderr is a line of a log. */
  readonly log?: boolean | undefined;
  readonly variables: Readonly<Record<string, string | undefined>>;
}

const STYLES = { bold: [1, 22], dim: [2, 22], red: [31, 39], green: [32, 39], yellow: [33, 39] } as const;

export class Ui {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly #options: UiOptions;

  constructor(options: UiOptions) {
    this.json = options.json;
    this.quiet = options.quiet;
    this.#options = options;
  }

  /** The answer, as text. */
  data(text: string): void {
    this.#options.stdout().write(`${text}\n`);
  }

  /** The answer, as JSON. */
  dataJson(value: unknown): void {
    this.data(JSON.stringify(value, null, 2));
  }

  /** Something worth knowing. `fields` are for logs alone. */
  note(text: string, fields: LogFields = {}): void {
    if (this.quiet) return;
    if (this.#options.log === true) this.#log('info', { ...fields, message: text });
    else if (!this.json) this.#toStderr(text);
  }

  /** What the person, or with `--json` the program, must see to go on, even with `--quiet`. */
  say(text: string, json: Readonly<Record<string, unknown>>): void {
    if (this.#options.log === true) this.#log('info', { ...json, message: text });
    else this.#toStderr(this.json ? JSON.stringify(json) : text);
  }

  /** A step that may take a while has begun. */
  progress(text: string): void {
    this.note(this.#options.log === true ? text : this.style('dim', `${text} …`));
  }

  warn(message: string, hint?: string, fields: LogFields = {}): void {
    if (this.quiet) return;
    if (this.#options.log === true) {
      this.#log('warning', { ...fields, message, hint });
      return;
    }
    this.#toStderr(
      this.json
        ? JSON.stringify({ warning: { message, hint } })
        : `${this.style('yellow', 'warning:')} ${message}${indented(hint)}`,
    );
  }

  error(error: unknown): void {
    this.fail(describe(error), this.#options.variables['HOLDFAST_DEBUG'] ? stackOf(error) : undefined);
  }

  /** As `error`, for a failure that nobody threw. */
  fail(failure: Failure, stack?: string): void {
    const { message, hint } = failure;
    if (this.#options.log === true) {
      this.#log('error', { ...failure, stack });
      return;
    }
    this.#toStderr(
      this.json
        ? JSON.stringify({ error: { ...failure, stack } })
        : `${this.style('red', 'error:')} ${message}${indented(hint)}${stack === undefined ? '' : `\n${stack}`}`,
    );
  }

  style(style: keyof typeof STYLES, text: string, stream: 'stdout' | 'stderr' = 'stderr'): string {
    const { variables } = this.#options;
    const [on, off] = STYLES[style];
    const coloured =
      this.#options[stream]().isTTY === true && !variables['NO_COLOR'] && variables['TERM'] !== 'dumb';
    return coloured ? `\u001b[${on}m${text}\u001b[${off}m` : text;
  }

  /** How many characters a line of stdout holds; `undefined` where it is no terminal, and lines have no end. */
  get columns(): number | undefined {
    const stdout = this.#options.stdout();
    return stdout.isTTY === true ? stdout.columns : undefined;
  }

  #log(level: 'info' | 'warning' | 'error', fields: LogFields): void {
    this.#toStderr(JSON.stringify({ time: new Date().toISOString(), level, ...fields }));
  }

  #toStderr(text: string): void {
    this.#options.stderr().write(`${text}\n`);
  }
}

/** What a line of a log says besides its sentence: never a secret. */
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

/** Where the error and its causes came from. */
function stackOf(error: unknown): string | undefined {
  const stacks: string[] = [];
  for (let at = error; at instanceof Error && stacks.length < 5; at = at.cause) {
    stacks.push(`${stacks.length === 0 ? '' : 'caused by '}${at.stack ?? at.message}`);
  }
  return stacks.length === 0 ? undefined : stacks.join('\n');
}

function indented(hint: string | undefined): string {
  return hint ? `\n  ${hint}` : '';
}
