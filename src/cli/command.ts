import type { Environment } from '../system/environment.ts';
import type { Ui } from './output/ui.ts';

/** One option; help, parser and completion read it. */
export interface Option {
  readonly type: 'string' | 'boolean';
  readonly short?: string | undefined;
  /** The value's placeholder in help. */
  readonly value?: string | undefined;
  /** Values that completion offers; other values may be valid too. */
  readonly choices?: readonly string[] | undefined;
  /** May be given several times; otherwise the last value counts. */
  readonly repeats?: boolean | undefined;
  readonly summary: string;
}

/** A command's positional argument. */
export interface Argument {
  /** The placeholder in help. `URL` is an MCP server; completion offers the stored logins for it. */
  readonly name: string;
  readonly required: boolean;
  readonly choices?: readonly string[] | undefined;
}

/** The words after `--`: another command, which is not parsed. */
export interface Rest {
  /** The placeholder in help. */
  readonly name: string;
}

/** A command's input: its checked and named arguments. */
export interface Invocation {
  /** The positional argument; set if the command requires one. */
  readonly argument: string | undefined;
  /** The words after `--`; at least one if the command declares them. */
  readonly rest: readonly string[];
  /** The second positional argument, if the command declares one. */
  readonly second: string | undefined;
  text(option: string): string | undefined;
  /** Every value of a repeatable option. */
  texts(option: string): readonly string[];
  flag(option: string): boolean;
  /**
   * A whole number within the bounds, if given.
   *
   * @throws InvalidArgumentError
   */
  number(option: string, bounds: { min: number; max: number }): number | undefined;
  /** All commands, for commands that describe them. */
  readonly table: () => Promise<readonly Command[]>;
  readonly ui: Ui;
  /** Standard output, for the command that owns it while it runs (`proxy`). */
  readonly output: () => NodeJS.WriteStream;
  readonly environment: Environment;
  /** Aborts on Ctrl-C and on SIGTERM. */
  readonly signal: AbortSignal;
}

/** A command's declaration. `load` imports its code, and nothing else imports it earlier. */
export interface Command {
  readonly name: string;
  readonly argument?: Argument | undefined;
  readonly second?: Argument | undefined;
  readonly rest?: Rest | undefined;
  readonly summary: string;
  /** The text below the usage line in help. */
  readonly description: string;
  readonly options: Readonly<Record<string, Option>>;
  readonly examples: readonly (readonly [command: string, what: string])[];
  /** `run` resolves with the exit code. */
  readonly load: () => Promise<{ readonly run: (invocation: Invocation) => Promise<number> }>;
}
