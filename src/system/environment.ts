import { homedir } from 'node:os';

/**
 * Everything that Holdfast reads from its environment. All other code takes it as a parameter, so a test can pass
 * another.
 */
export interface Environment {
  readonly variables: Readonly<Record<string, string | undefined>>;
  readonly platform: NodeJS.Platform;
  readonly homeDirectory: string;
  /** The user id that must own Holdfast's files; `undefined` on Windows, where access lists control access instead. */
  readonly uid: number | undefined;
}

/** Reads the current environment of this process. No other code in Holdfast reads `process.env`. */
export function processEnvironment(): Environment {
  return {
    variables: ownVariables(process.env, process.platform),
    platform: process.platform,
    homeDirectory: homeOf(),
    uid: process.geteuid?.(),
  };
}

/**
 * Returns a frozen copy without a prototype. `process.env` inherits from `Object.prototype`. A parser that an attacker
 * makes write to that prototype would set variables, and some variables name a command to run.
 */
export function ownVariables(
  variables: Readonly<Record<string, string | undefined>>,
  platform: NodeJS.Platform,
): Readonly<Record<string, string | undefined>> {
  const copy = Object.create(null) as Record<string, string | undefined>;
  for (const name of Object.keys(variables)) copy[name] = variables[name];
  if (platform === 'win32') {
    // Windows has `Path` and `windir`, and finds variables in any case. The upper-case copies are not enumerable, so a
    // child process still gets each variable once.
    for (const name of Object.keys(copy)) {
      const upper = name.toUpperCase();
      if (copy[upper] === undefined) Object.defineProperty(copy, upper, { value: copy[name] });
    }
  }
  return Object.freeze(copy);
}

/** Returns an empty string without HOME for a user id that has no passwd entry, as in containers. */
function homeOf(): string {
  try {
    return homedir();
  } catch {
    return '';
  }
}
