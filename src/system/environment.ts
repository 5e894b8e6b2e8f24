import { homedir } from 'node:os';

/** What Holdfast asks of its surroundings. Everything else takes it as a value, so that a test can hand in another. */
export interface Environment {
  readonly variables: Readonly<Record<string, string | undefined>>;
  readonly platform: NodeJS.Platform;
  readonly homeDirectory: string;
  /** The user id that must own our files; `undefined` on Windows, where access lists take that place. */
  readonly uid: number | undefined;
}

/** The surroundings of this process, as they are now. Nothing else in Holdfast reads `process.env`. */
export function processEnvironment(): Environment {
  return {
    variables: ownVariables(process.env, process.platform),
    platform: process.platform,
    homeDirectory: homeOf(),
    uid: process.geteuid?.(),
  };
}

/**
 * A frozen copy without a prototype. `process.env` inherits from `Object.prototype`, so a parser that can be made to write
 * there would set variables, some of which name a command to run.
 */
export function ownVariables(
  variables: Readonly<Record<string, string | undefined>>,
  platform: NodeJS.Platform,
): Readonly<Record<string, string | undefined>> {
  const copy = Object.create(null) as Record<string, string | undefined>;
  for (const name of Object.keys(variables)) copy[name] = variables[name];
  if (platform === 'win32') {
    // Windows has `Path` and `windir`, and finds them in any case; a child process still gets each once.
    for (const name of Object.keys(copy)) {
      const upper = name.toUpperCase();
      if (copy[upper] === undefined) Object.defineProperty(copy, upper, { value: copy[name] });
    }
  }
  return Object.freeze(copy);
}

/** Empty where there is none: without HOME, for a user id that is no user's, as containers have them. */
function homeOf(): string {
  try {
    return homedir();
  } catch {
    return '';
  }
}
