import { HoldfastError } from '../errors.ts';

/*
 * The rules of output.
 * - Data goes to stdout, and nothing else does: `holdfast token URL | …` must always be safe.
 * - Everything else goes to stderr: notes, progress, warnings, errors. `--quiet` leaves the errors.
 * - Errors say what happened and why on one line, and what to do next on the second.
 * - `--json` makes data and errors JSON; an error is one object on stderr.
 * - Colours only where stderr is a terminal, and never with NO_COLOR.
 * - No stack traces unless HOLDFAST_DEBUG is set.
 * - A token is printed by `token` and `headers`, by nothing else.
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
  readonly variables: Readonly<Record<string, string | undefined>>;
}

const STYLES = { bold: [1, 22], dim: [2, 22], red: [31, 39], green: [32, 39], yellow: [33, 39] } as const;

export class Ui {
  readonly json: boolean;
  readonly #options: UiOptions;

  constructor(options: UiOptions) {
    this.json = options.json;
    this.#options = options;
  }

  /** The answer, as text. */
  data(text: string): void {
    this.#options.stdout().write(`${text}\n`);
  }

  /** The answer, as JSON. */
  dataJson(value: unknown): void {
    this.#options.stdout().write(`${JSON.stringify(value, null, 2)}\n`);
  }

  /** Something worth knowing. */
  note(text: string): void {
    if (!this.#options.quiet) this.#options.stderr().write(`${text}\n`);
  }

  /** What the person must see to go on, even with `--quiet`. */
  say(text: string): void {
    this.#options.stderr().write(`${text}\n`);
  }

  /** A step that may take a while has begun. */
  progress(text: string): void {
    this.note(this.style('dim', `${text} …`));
  }

  warn(text: string, hint?: string): void {
    if (this.#options.quiet) return;
    this.#options.stderr().write(`${this.style('yellow', 'warning:')} ${text}\n${indent(hint)}`);
  }

  error(error: unknown): void {
    if (this.json) {
      this.#options.stderr().write(`${JSON.stringify({ error: errorJson(error) })}\n`);
    } else {
      const message = error instanceof HoldfastError ? error.message : unexpected(error);
      const hint =
        error instanceof HoldfastError
          ? error.hint
          : 'This is a defect of Holdfast. Set HOLDFAST_DEBUG=1 to see where.';
      this.#options.stderr().write(`${this.style('red', 'error:')} ${message}\n${indent(hint)}`);
    }
    if (this.#options.variables['HOLDFAST_DEBUG'] && error instanceof Error) {
      this.#options
        .stderr()
        .write(
          `${error.stack ?? ''}\n${error.cause instanceof Error ? `cause: ${error.cause.stack}\n` : ''}`,
        );
    }
  }

  style(style: keyof typeof STYLES, text: string): string {
    const [on, off] = STYLES[style];
    const coloured = this.#options.stderr().isTTY === true && !this.#options.variables['NO_COLOR'];
    return coloured ? `\u001b[${on}m${text}\u001b[${off}m` : text;
  }
}

function errorJson(error: unknown): Record<string, unknown> {
  if (error instanceof HoldfastError) {
    return { code: error.code, message: error.message, hint: error.hint, retryable: error.retryable };
  }
  return { code: 'unexpected', message: unexpected(error), retryable: false };
}

function unexpected(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function indent(text: string | undefined): string {
  return text === undefined ? '' : `  ${text}\n`;
}
