import type { Environment } from '../system/environment.ts';
import type { Ui } from './ui.ts';

/** One option, as help, parsing and completion read it. */
export interface Option {
  readonly type: 'string' | 'boolean';
  readonly short?: string | undefined;
  /** What stands for the value in help. */
  readonly value?: string | undefined;
  /** Values that completion offers; others may be good too. */
  readonly choices?: readonly string[] | undefined;
  /** May be given several times; otherwise the last one counts. */
  readonly repeats?: boolean | undefined;
  readonly summary: string;
}

/** The one positional argument of a command. */
export interface Argument {
  /** What stands for it in help; `URL` is an MCP server, and completed from the logins that are here. */
  readonly name: string;
  readonly required: boolean;
  readonly choices?: readonly string[] | undefined;
}

/** What may follow `--`: another command, which is not looked at. */
export interface Rest {
  /** What stands for it in help. */
  readonly name: string;
}

/** What a command is given: its arguments checked and named. */
export interface Invocation {
  /** The positional argument; present when the command declares one that is required. */
  readonly argument: string | undefined;
  /** What followed `--`; at least one word where the command declares it. */
  readonly rest: readonly string[];
  /** The second positional argument, where the command declares one. */
  readonly second: string | undefined;
  text(option: string): string | undefined;
  /** Every value of an option that repeats. */
  texts(option: string): readonly string[];
  flag(option: string): boolean;
  /** A whole number within the bounds, if given. Throws InvalidArgumentError. */
  number(option: string, bounds: { min: number; max: number }): number | undefined;
  /** The whole table, for what describes it. */
  readonly table: readonly Command[];
  readonly ui: Ui;
  readonly environment: Environment;
  /** Aborts on Ctrl-C and on SIGTERM. */
  readonly signal: AbortSignal;
}

/** A command of the table. `load` brings its code, and nothing loads that before. */
export interface Command {
  readonly name: string;
  readonly argument?: Argument | undefined;
  readonly second?: Argument | undefined;
  readonly rest?: Rest | undefined;
  readonly summary: string;
  /** What help says below the usage line. */
  readonly description: string;
  readonly options: Readonly<Record<string, Option>>;
  readonly examples: readonly (readonly [command: string, what: string])[];
  /** Answers the exit code. */
  readonly load: () => Promise<{ readonly run: (invocation: Invocation) => Promise<number> }>;
}
