import { homedir } from 'node:os';

/** What Holdfast asks of its surroundings. Everything else takes it as a value, so that a test can hand in another. */
export interface Environment {
  readonly variables: Readonly<Record<string, string | undefined>>;
  readonly platform: NodeJS.Platform;
  readonly homeDirectory: string;
  /** The user id that must own our files; `undefined` on Windows, where access lists take that place. */
  readonly uid: number | undefined;
}

/** The surroundings of this process. */
export function processEnvironment(): Environment {
  return {
    variables: process.env,
    platform: process.platform,
    homeDirectory: homeOf(),
    uid: process.geteuid?.(),
  };
}

/** Empty where there is none: without HOME, for a user id that is no user's, as containers have them. */
function homeOf(): string {
  try {
    return homedir();
  } catch {
    return '';
  }
}
